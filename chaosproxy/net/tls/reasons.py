"""Why TLS failed, in words for people who do not know OpenSSL. Pure."""

from __future__ import annotations

import ssl

__all__ = ["reason_of"]

_ALERT = "_ALERT_"
_REJECTIONS = {
    "unknown ca": "does not trust our certificate",
    "bad certificate": "rejects our certificate",
    "certificate unknown": "rejects our certificate",
    "certificate expired": "says our certificate has expired",
    "certificate revoked": "says our certificate is revoked",
    "unsupported certificate": "rejects our certificate",
    "certificate required": "wants a certificate of ours",
    "protocol version": "speaks no TLS version that we offer",
    "unrecognized name": "does not know the name we ask for",
    "no application protocol": "speaks no application protocol that we offer",
    "handshake failure": "finds nothing we have in common",
    "insufficient security": "finds our ciphers too weak",
}
"""What a peer means by an alert (RFC 8446 §6)."""
_OTHERS = {
    "HTTP_REQUEST": "{peer} speaks HTTP, not TLS",
    "HTTPS_PROXY_REQUEST": "{peer} asks for an HTTP proxy, and speaks no TLS",
    "WRONG_VERSION_NUMBER": "{peer} does not speak TLS",
    "UNKNOWN_PROTOCOL": "{peer} does not speak TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "{peer} gave no certificate, and one is required",
    "UNSUPPORTED_PROTOCOL": "{peer} speaks no TLS version that we allow",
    "NO_SHARED_CIPHER": "{peer} offers no cipher that we allow",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "{peer} allows no signature that our key can make",
    "UNEXPECTED_EOF_WHILE_READING": "{peer} closed the connection during the TLS handshake",
}


def reason_of(error: ssl.SSLError, peer: str) -> str:
    """What went wrong with `peer`, which is `client` or `server`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = str(error.verify_message or "unknown reason").rstrip(".")
        return f"certificate verify failed: {message[:1].lower()}{message[1:]}"
    code = error.reason or ""
    if _ALERT in code:
        alert = code.partition(_ALERT)[2].replace("_", " ").lower()
        return f"{peer} {_REJECTIONS.get(alert, 'broke off')} (alert {alert})"
    if code in _OTHERS:
        return _OTHERS[code].format(peer=peer)
    return f"TLS with the {peer} failed: {code.replace('_', ' ').lower() or error}"
