"""Describe a TLS error in words for users who do not know OpenSSL. Pure."""

from __future__ import annotations

import re
import ssl

from chaosproxy.endings import How

__all__ = ["how_left", "reason_of"]

_ALERT = "_ALERT_"
_SOURCE = re.compile(r" \(_ssl\.c:\d+\)$")
"""The place in Python's source that ends its messages."""
_REJECTIONS = {
    "unknown ca": "does not trust the proxy's certificate",
    "bad certificate": "rejects the proxy's certificate",
    "certificate unknown": "rejects the proxy's certificate",
    "certificate expired": "reports the proxy's certificate as expired",
    "certificate revoked": "reports the proxy's certificate as revoked",
    "unsupported certificate": "rejects the proxy's certificate",
    "certificate required": "requires a client certificate",
    "protocol version": "supports none of the offered TLS versions",
    "unrecognized name": "does not know the requested server name",
    "no application protocol": "supports none of the offered application protocols",
    "handshake failure": "supports none of the offered parameters",
    "insufficient security": "rejects the offered ciphers as too weak",
}
"""The meaning of the alerts that a peer sends (RFC 8446 §6)."""
_OTHERS = {
    "HTTP_REQUEST": "{peer} speaks HTTP, not TLS",
    "HTTPS_PROXY_REQUEST": "{peer} sends a request for an HTTP proxy, not TLS",
    "WRONG_VERSION_NUMBER": "{peer} does not speak TLS",
    "UNKNOWN_PROTOCOL": "{peer} does not speak TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "{peer} sent no certificate, and one is required",
    "UNSUPPORTED_PROTOCOL": "{peer} offers no TLS version that the proxy allows",
    "NO_SHARED_CIPHER": "{peer} offers no cipher that the proxy allows",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "{peer} accepts no signature algorithm of the proxy's key",
    "UNEXPECTED_EOF_WHILE_READING": "{peer} closed the connection during the TLS handshake",
}
"""OpenSSL's codes for errors that it finds itself; `{peer}` is `client` or `server`."""


def how_left(error: ssl.SSLError) -> How | None:
    """Return how the peer ended a handshake: with close_notify or an alert; None if the end is on this side."""
    if isinstance(error, ssl.SSLZeroReturnError):
        return "fin"
    return "tls" if _ALERT in (error.reason or "") else None


def reason_of(error: ssl.SSLError, peer: str) -> str:
    """Return the reason why TLS with `peer`, which is `client` or `server`, failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = str(error.verify_message or "unknown reason").rstrip(".")
        return f"certificate verify failed: {message[:1].lower()}{message[1:]}"
    code = "UNEXPECTED_EOF_WHILE_READING" if isinstance(error, ssl.SSLZeroReturnError) else error.reason or ""
    if _ALERT in code:
        alert = code.partition(_ALERT)[2].replace("_", " ").lower()
        return f"{peer} {_REJECTIONS.get(alert, 'ended TLS')} (alert {alert})"
    if code in _OTHERS:
        return _OTHERS[code].format(peer=peer)
    return f"TLS with the {peer} failed: {code.replace('_', ' ').lower() or _SOURCE.sub('', str(error))}"
