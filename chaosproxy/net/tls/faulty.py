"""The certificates of the `tls_handshake` fault: right in everything but the one thing that is tested."""

from __future__ import annotations

import ssl
import tempfile
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from chaosproxy.errors import InvalidInput, Problem, Unsupported
from chaosproxy.faults.base import Handshake
from chaosproxy.model.tls import ListenTls
from chaosproxy.net.tls.contexts import server_context

if TYPE_CHECKING:
    from cryptography import x509

    from chaosproxy.certs import Authority, Leaf

__all__ = ["WRONG_NAME", "faulty_context"]

WRONG_NAME = "wrong-host.invalid"
"""Whom the certificate of `wrong_host` is for: a name that nobody has (RFC 6761 §6.4)."""


def faulty_context(tls: ListenTls, how: Handshake) -> ssl.SSLContext:
    """What to shake hands with; made once per fault, since it makes a key.

    :raises InvalidInput: a file of `tls` cannot be used.
    :raises Unsupported: the authority's key is not there, or this OpenSSL does not do it.
    """
    context = server_context(tls, with_pair=how == "old_version")
    if how == "old_version":
        _allow_old(context)
        return context
    from cryptography import x509  # loaded late: few proxies have this fault

    from chaosproxy.certs import Authority

    right = x509.load_pem_x509_certificates(Path(tls.cert).read_bytes())[0]
    names = _names_of(right, tls.cert)
    now = datetime.now(UTC)
    begins, ends = now - timedelta(hours=1), right.not_valid_after_utc
    match how:
        case "unknown_ca":
            stranger = Authority.new("chaosproxy: nobody trusts this CA", now)
            _use(context, stranger.issue(names, begins, ends))
        case "wrong_host":
            _use(context, _authority_of(right, tls.cert, how).issue([x509.DNSName(WRONG_NAME)], begins, ends))
        case "expired_cert":
            ended = now - timedelta(days=1)
            _use(context, _authority_of(right, tls.cert, how).issue(names, ended - timedelta(days=30), ended))
        case _:
            raise AssertionError(f"{how} shakes no hands")
    return context


def _names_of(cert: x509.Certificate, path: str) -> list[x509.GeneralName]:
    from cryptography import x509

    try:
        return list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        message = f"{path} is for no name (it has no subjectAltName); renew it with one"
        raise InvalidInput([Problem(("cert",), "bad-certificate", message)]) from None


def _authority_of(cert: x509.Certificate, path: str, how: Handshake) -> Authority:
    """Who signed the certificate that clients trust."""
    from chaosproxy.certs import ca_beside, read_authority

    files = ca_beside(path)
    needs = f"tls_handshake with how: {how} needs the key of the CA that signed {path}, to sign another with"
    does = "`chaosproxy certs` puts both there, and how: unknown_ca needs neither"
    try:
        authority = read_authority(files)
    except OSError as error:
        raise Unsupported(f"{needs}: cannot read {error.filename} ({error.strerror}); {does}") from None
    except (ValueError, TypeError) as error:
        raise Unsupported(f"{needs}: {files.cert} and {files.key} cannot be used ({error}); {does}") from None
    if not authority.signed(cert):
        raise Unsupported(f"{needs}: {files.cert} is not that CA; {does}")
    return authority


def _use(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Give the context this certificate; Python takes it from a file alone."""
    with tempfile.NamedTemporaryFile(prefix="chaosproxy-") as file:  # 0600, and gone at once
        file.write(leaf.key + leaf.cert)
        file.flush()
        context.load_cert_chain(file.name)


def _allow_old(context: ssl.SSLContext) -> None:
    """TLS 1.1 at most, which no client should take (RFC 8996)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        try:
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        except (ValueError, ssl.SSLError) as error:
            lacking = f"{ssl.OPENSSL_VERSION} does not do TLS 1.1 ({error})"
            raise Unsupported(f"tls_handshake with how: old_version cannot be had: {lacking}") from None
