"""Certificates for tests: a private CA (the authority), and certificates that it signs (the leaves).

A directory holds ca.pem and ca.key, and NAME.pem and NAME.key for each name. `make_certs`
writes all of them: it reads the authority of the directory, or makes one if there is none,
and issues a leaf for each name. The authority is kept when leaves are renewed, so that
clients which trust it need no change.

`Authority` also issues the wrong certificates of the fault `tls_handshake`, without files.
Two rules hold: everything is validated before the first file is written, and each file is
replaced in one step, private keys with mode 0600.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "Authority", "BadName", "CertFiles", "Leaf", "Made", "ca_beside", "file_stem", "make_certs", "read_authority",
]  # fmt: skip

_CA_DAYS = 3650
_SKEW = timedelta(hours=1)
"""Certificates are valid from this long before now: clocks differ."""
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_CURVE = ec.SECP256R1
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_CA_NAME = "ca"


class BadName(ValueError):
    """A certificate cannot have this name; the message says which names are allowed."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate and its key."""

    cert: bytes
    """PEM, without the authority: a client that trusts the authority has it already."""
    key: bytes
    """PEM."""


@dataclass(frozen=True, slots=True)
class CertFiles:
    """The paths of a certificate and its key."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Made:
    """The files that `make_certs` has written."""

    ca: CertFiles
    ca_is_new: bool
    leaves: dict[str, CertFiles]
    """By name."""
    expires: datetime
    """The time at which the leaves expire."""


class Authority:
    """A CA: a certificate that signs others, and its key."""

    def __init__(self, cert: x509.Certificate, key: _Key) -> None:
        self.cert = cert
        self._key = key

    @classmethod
    def new(cls, common_name: str, now: datetime | None = None) -> Authority:
        """Make an authority that no client trusts yet."""
        now = now or datetime.now(UTC)
        key = ec.generate_private_key(_CURVE())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        public = key.public_key()
        cert = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + timedelta(days=_CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_others=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(cert, key)

    @property
    def cert_pem(self) -> bytes:
        return self.cert.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return _key_pem(self._key)

    def signed(self, cert: x509.Certificate) -> bool:
        """Return whether this authority signed `cert`."""
        try:
            cert.verify_directly_issued_by(self.cert)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True

    def issue(self, names: Sequence[x509.GeneralName], not_before: datetime, not_after: datetime) -> Leaf:
        """Issue a certificate for servers and clients with these names."""
        key = ec.generate_private_key(_CURVE())
        public = key.public_key()
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        common = str(names[0].value)[:64]
        signer = x509.SubjectKeyIdentifier.from_public_key(self.cert.public_key())
        cert = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
            .issuer_name(self.cert.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_others=False), critical=True)
            .add_extension(purposes, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return Leaf(cert.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def read_authority(files: CertFiles) -> Authority:
    """Read an authority from its files.

    :raises OSError: a file cannot be read.
    :raises ValueError: a file is not PEM, or the key does not belong to the certificate.
    """
    cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    if key.public_key() != cert.public_key():
        raise ValueError(f"{files.key} is not the key of {files.cert}; use the matching pair, or another directory")
    if not isinstance(key, _Key):
        raise ValueError(f"{files.key} is neither an RSA nor an EC key; use one of these")
    return Authority(cert, key)


def ca_beside(path: str) -> CertFiles:
    """Return the paths of the authority of a leaf: in the same directory."""
    directory = Path(path).parent
    return CertFiles(directory / f"{_CA_NAME}.pem", directory / f"{_CA_NAME}.key")


def general_names(name: str) -> list[x509.GeneralName]:
    """Return the names for a certificate: of a host, a wildcard or an IP address; `localhost` with its addresses.

    :raises BadName: the name is none of these.
    """
    try:
        return [x509.IPAddress(ipaddress.ip_address(name))]
    except ValueError:
        pass
    labels = name.split(".")
    checked = labels[1:] if labels[0] == "*" and len(labels) > 2 else labels
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in checked):
        message = f"{name[:60]!r} cannot be in a certificate; use a host name, *.wildcard.name or IP address, in ASCII"
        raise BadName(message)
    loopback = ("127.0.0.1", "::1") if name.lower() == "localhost" else ()
    return [x509.DNSName(name.lower()), *(x509.IPAddress(ipaddress.ip_address(one)) for one in loopback)]


def file_stem(name: str) -> str:
    """Return the file name for a name, without suffix: `_wildcard.example.org` for `*.example.org`, `__1` for `::1`."""
    return name.lower().replace("*", "_wildcard").replace(":", "_")


def make_certs(directory: Path, names: Iterable[str], days: int) -> Made:
    """Write leaves for `names` into `directory`, and an authority if it has none.

    :raises BadName: a certificate cannot have one of the names; nothing is written.
    :raises ValueError: the authority in the directory cannot be used; nothing is written.
    :raises OSError: the directory cannot be created, or written to.
    """
    wanted = {name: general_names(name) for name in dict.fromkeys(names)}
    for name in wanted:
        if file_stem(name) == _CA_NAME:
            raise BadName(f"{name!r} would overwrite the files of the authority; use another name")
    now = datetime.now(UTC)
    expires = now + timedelta(days=days)
    directory.mkdir(parents=True, exist_ok=True)
    files = CertFiles(directory / f"{_CA_NAME}.pem", directory / f"{_CA_NAME}.key")
    is_new = not files.cert.exists() and not files.key.exists()
    authority = Authority.new(f"chaosproxy test CA {os.urandom(4).hex()}", now) if is_new else read_authority(files)
    if is_new:
        _write(files.key, authority.key_pem, 0o600)
        _write(files.cert, authority.cert_pem, 0o644)
    elif authority.cert.not_valid_after_utc < expires:
        raise ValueError(f"{files.cert} expires sooner than that; use fewer --days, or another directory")
    leaves = {}
    for name, generals in wanted.items():
        leaf = authority.issue(generals, now - _SKEW, expires)
        stem = file_stem(name)
        leaves[name] = CertFiles(directory / f"{stem}.pem", directory / f"{stem}.key")
        _write(leaves[name].key, leaf.key, 0o600)
        _write(leaves[name].cert, leaf.cert, 0o644)
    return Made(files, is_new, leaves, expires)


def _usage(*, signs_others: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs_others, crl_sign=signs_others, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace the file in one step: a reader sees the whole old file or the whole new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
