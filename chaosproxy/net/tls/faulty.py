"""The contexts of the `tls_handshake` fault: correct in everything except the one thing that a client should check."""

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
"""The name in the certificate of `wrong_host`; it never resolves (RFC 6761 §6.4)."""


def faulty_context(tls: ListenTls, how: Handshake) -> ssl.SSLContext:
    """Return a context whose handshakes fail as `how` says; slow, since it generates a key.

    :raises InvalidInput: a file of `tls` is unusable.
    :raises Unsupported: the key of the CA is missing, or this OpenSSL does not support it.
    """
    context = server_context(tls, with_pair=how == "old_version")
    if how == "old_version":
        _allow_old_versions_only(context)
        return context
    from cryptography import x509  # imported late: few proxies have this fault

    from chaosproxy.certs import Authority

    right = x509.load_pem_x509_certificates(Path(tls.cert).read_bytes())[0]
    names = _names_of(right, tls.cert)
    now = datetime.now(UTC)
    begins, ends = now - timedelta(hours=1), right.not_valid_after_utc
    match how:
        case "unknown_ca":
            unknown = Authority.new("chaosproxy: no client trusts this CA", now)
            _load_pair(context, unknown.issue(names, begins, ends))
        case "wrong_host":
            _load_pair(context, _authority_of(right, tls.cert, how).issue([x509.DNSName(WRONG_NAME)], begins, ends))
        case "expired_cert":
            ended = now - timedelta(days=1)
            _load_pair(context, _authority_of(right, tls.cert, how).issue(names, ended - timedelta(days=30), ended))
        case _:
            raise AssertionError(f"{how} has no handshake")
    return context


def _names_of(cert: x509.Certificate, path: str) -> list[x509.GeneralName]:
    from cryptography import x509

    try:
        return list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        message = f"{path} has no subjectAltName, so it is valid for no host; renew it with one"
        raise InvalidInput([Problem(("cert",), "bad-certificate", message)]) from None


def _authority_of(cert: x509.Certificate, path: str, how: Handshake) -> Authority:
    """Return the CA that signed the proxy's certificate, from the files next to it."""
    from chaosproxy.certs import ca_beside, read_authority

    files = ca_beside(path)
    needs = f"tls_handshake with how: {how} needs the key of the CA that signed {path}, to sign another certificate"
    remedy = "create the files with `chaosproxy certs`, or use how: unknown_ca, which needs no CA"
    try:
        authority = read_authority(files)
    except OSError as error:
        raise Unsupported(f"{needs}: cannot read {error.filename} ({error.strerror}); {remedy}") from None
    except (ValueError, TypeError) as error:
        raise Unsupported(f"{needs}: {files.cert} and {files.key} are unusable ({error}); {remedy}") from None
    if not authority.signed(cert):
        raise Unsupported(f"{needs}: {files.cert} is not that CA; {remedy}")
    return authority


def _load_pair(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Load a certificate and its key into the context; Python can do this from a file only."""
    with tempfile.NamedTemporaryFile(prefix="chaosproxy-") as file:  # mode 0600, deleted at the end of the block
        file.write(leaf.key + leaf.cert)
        file.flush()
        context.load_cert_chain(file.name)


def _allow_old_versions_only(context: ssl.SSLContext) -> None:
    """Allow TLS 1.0 and 1.1 only, which no client should accept (RFC 8996)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # deprecated versions are the purpose of this fault
        try:
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        except (ValueError, ssl.SSLError) as error:
            lacking = f"{ssl.OPENSSL_VERSION} has no TLS 1.1 ({error})"
            raise Unsupported(f"tls_handshake with how: old_version is not supported: {lacking}") from None
