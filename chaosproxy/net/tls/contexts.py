"""PEM files become SSLContexts, or everything that is wrong with them, by field; and renewed files are seen.

Files are read when a proxy is made or changed, before anything is applied. After that a new
connection looks at their dates, at most once per second: what was renewed counts from then
on, and what cannot be used is logged once while the last good files go on serving.
"""

from __future__ import annotations

import logging
import math
import os
import re
import ssl
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from chaosproxy.errors import ChaosproxyError, InvalidInput, Problem
from chaosproxy.model.tls import ListenTls, UpstreamTls

__all__ = ["LOOK_EVERY", "Renewed", "client_context", "server_context"]

LOOK_EVERY = 1.0
"""Seconds between two looks at the files' dates."""
_LARGEST = 4 * 2**20
"""Bytes: bundles of all CAs of the world have some 200 KiB."""

_BAD_FILE = {
    "KEY_VALUES_MISMATCH": ("key", "is not the key of cert"),
    "KEY_TYPE_MISMATCH": ("key", "is not the key of cert"),
    "EE_KEY_TOO_SMALL": ("cert", "has a key that is too small for this OpenSSL; make one of 2048 bits or more"),
    "CA_MD_TOO_WEAK": ("cert", "is signed in a way that is too weak for this OpenSSL; make one with SHA-256"),
    "BAD_DECRYPT": ("key", "is protected by a passphrase; give one without"),
}
_CERTIFICATE = re.compile(rb"-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----")
_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z ]+ )?PRIVATE KEY-----")
_PROTECTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED")

logger = logging.getLogger(__name__)
T = TypeVar("T")


def server_context(tls: ListenTls, *, with_pair: bool = True) -> ssl.SSLContext:
    """What a proxy shakes hands with as a server; without its pair, one that somebody else gives a certificate.

    :raises InvalidInput: with the fields whose files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    problems = [*_check_pair(tls.cert, tls.key)]
    if tls.client_ca is not None:
        problems += _trust(context, "client_ca", tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if tls.require_client_cert else ssl.CERT_OPTIONAL
    if with_pair and not problems:
        problems += _use_pair(context, tls.cert, tls.key)
    if problems:
        raise InvalidInput(problems)
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    return context


def client_context(tls: UpstreamTls, alpn: Iterable[str] = ()) -> ssl.SSLContext:
    """What a proxy shakes hands with as a client.

    :raises InvalidInput: with the fields whose files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_RENEGOTIATION
    problems: list[Problem] = []
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.ca is not None:
        problems += _trust(context, "ca", tls.ca)
    if tls.cert is not None and tls.key is not None:
        pair = _check_pair(tls.cert, tls.key)
        problems += pair or _use_pair(context, tls.cert, tls.key)
    if problems:
        raise InvalidInput(problems)
    if offered := list(alpn):
        context.set_alpn_protocols(offered)
    return context


class Renewed(Generic[T]):
    """Something made from files, made anew when they change."""

    def __init__(self, make: Callable[[], T], files: Iterable[str | None], what: str) -> None:
        """`what` names it in the log. The first `get` looks at the files, since they may be older than it by then.

        :raises InvalidInput: as `make` does.
        """
        self._make = make
        self._files = [name for name in files if name is not None]
        self._what = what
        self._dates = self._look()
        self._looked_at = -math.inf
        self._made = make()

    def get(self, now: float) -> T:
        """The last that could be made of the files."""
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            if (dates := self._look()) != self._dates:
                self._dates = dates
                self._renew()
        return self._made

    def look_now(self) -> None:
        """Have the next `get` look at the files, however shortly after the last."""
        self._looked_at = -math.inf

    def _renew(self) -> None:
        try:
            self._made = self._make()
        except (ChaosproxyError, OSError, ValueError) as error:  # the latter: a file changes while it is looked at
            reason = str(error)  # a record that is kept must not keep the traceback's frames
            logger.warning("%s: the renewed files cannot be used, the last good ones go on: %s", self._what, reason)
        else:
            logger.info("%s: renewed files are in use", self._what)

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_dates_of(name) for name in self._files]


def _dates_of(name: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(name)
    except (OSError, ValueError):  # it is not there, or no path at all
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _check_pair(cert: str, key: str) -> list[Problem]:
    """What can be told of a certificate and a key before OpenSSL is asked, which says little."""
    data, problems = _read("cert", cert)
    if not problems:
        problems += _check_certificate("cert", cert, data)
    data, unread = _read("key", key)
    problems += unread
    if not unread and _PROTECTED.search(data):
        problems.append(_bad_key(f"{key} is protected by a passphrase; give a key without one"))
    elif not unread and not _PRIVATE_KEY.search(data):
        problems.append(_bad_key(f"{key} holds no private key in PEM; give one: -----BEGIN PRIVATE KEY-----"))
    return problems


def _check_certificate(field: str, name: str, data: bytes) -> list[Problem]:
    from cryptography import x509  # loaded late: few proxies speak TLS themselves

    if not _CERTIFICATE.search(data):
        return [_no_certificate(field, name)]
    try:
        leaf = x509.load_pem_x509_certificates(data)[0]
        begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    except ValueError as error:
        message = f"{name} is not a certificate that can be read ({str(error)[:100]})"
        return [Problem((field,), "bad-certificate", message)]
    now = datetime.now(UTC)
    if ends < now:
        message = f"{name} expired on {ends:%Y-%m-%d %H:%M} UTC; renew it"
        return [Problem((field,), "expired-certificate", message)]
    if begins > now:
        message = f"{name} is not valid before {begins:%Y-%m-%d %H:%M} UTC; is the clock right?"
        return [Problem((field,), "expired-certificate", message)]
    return []


def _use_pair(context: ssl.SSLContext, cert: str, key: str) -> list[Problem]:
    try:
        context.load_cert_chain(cert, key, password=lambda: b"")  # or OpenSSL asks on the terminal
    except (ssl.SSLError, OSError, ValueError) as error:
        code = getattr(error, "reason", None) or ""
        field, message = _BAD_FILE.get(code, ("cert", f"cannot be used with key ({code or error})"))
        if field == "key":
            return [_bad_key(f"{key} {message}")]
        return [Problem((field,), "bad-certificate", f"{cert} {message}")]
    return []


def _trust(context: ssl.SSLContext, field: str, name: str) -> list[Problem]:
    data, problems = _read(field, name)
    if problems:
        return problems
    if not _CERTIFICATE.search(data):
        return [_no_certificate(field, name)]
    try:
        context.load_verify_locations(cafile=name)
    except (ssl.SSLError, OSError) as error:
        message = f"{name} is not a certificate that can be read ({error})"
        return [Problem((field,), "bad-certificate", message)]
    return []


def _no_certificate(field: str, name: str) -> Problem:
    message = f"{name} holds no certificate in PEM; give one: -----BEGIN CERTIFICATE-----"
    return Problem((field,), "bad-certificate", message)


def _bad_key(message: str) -> Problem:
    return Problem(("key",), "bad-key", message)


def _read(field: str, name: str) -> tuple[bytes, list[Problem]]:
    try:
        found = os.stat(name)
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device might never end
            return b"", [_unreadable(field, f"{name} is not a file; give the path of a PEM file")]
        if found.st_size > _LARGEST:
            return b"", [Problem((field,), "too-large", f"{name} is too large for PEM; give a file of at most 4 MiB")]
        return Path(name).read_bytes(), []
    except OSError as error:
        return b"", [_unreadable(field, f"cannot read {name}: {error.strerror or error}")]
    except ValueError as error:  # such as a null byte
        return b"", [_unreadable(field, f"{name!r} is no path ({error})")]


def _unreadable(field: str, message: str) -> Problem:
    return Problem((field,), "unreadable-file", message)
