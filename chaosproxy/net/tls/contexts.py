"""Make SSLContexts from PEM files, and make them again when the files change.

`server_context` and `client_context` read the files of one proxy and return a context, or raise
InvalidInput with a problem for each field whose file is unusable. `ReloadedOnChange` keeps the result of
such a function. `net.tls.endpoint` holds one per context and gets the context from it for each
new connection.

- Files are read when a proxy is created or changed, before anything is applied: an unusable file
  fails the change.
- After that, `ReloadedOnChange.refresh` has a thread compare the modification times of the files, at
  most once per CHECK_EVERY. Renewed files apply to new connections, which wait for the thread, but not
  longer than PATIENCE: a file system may not respond. If the files are unusable, this is logged once
  and the last valid context stays in use: a renewal never takes a proxy down.
- A context does not change after it was returned; open connections keep theirs.
"""

from __future__ import annotations

import asyncio
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
from chaosproxy.tasks import in_thread

__all__ = ["CHECK_EVERY", "PATIENCE", "ReloadedOnChange", "client_context", "server_context"]

CHECK_EVERY = 1.0
"""Seconds between two checks of the files' modification times."""
PATIENCE = 0.5
"""Seconds that a new connection waits for such a check."""
_LARGEST = 4 * 2**20
"""Bytes of a PEM file; a bundle of all public CAs has about 200 KiB."""

_BAD_FILE = {
    "KEY_VALUES_MISMATCH": ("key", "does not belong to cert; give the private key of that certificate"),
    "KEY_TYPE_MISMATCH": ("key", "does not belong to cert; give the private key of that certificate"),
    "EE_KEY_TOO_SMALL": ("cert", "has a key that is too small for this OpenSSL; make one of 2048 bits or more"),
    "CA_MD_TOO_WEAK": ("cert", "has a signature that is too weak for this OpenSSL; make one with SHA-256"),
    "BAD_DECRYPT": ("key", "is protected by a passphrase; give a key without one"),
}
"""Error codes of OpenSSL: the field that is wrong, and the message."""
_CERTIFICATE = re.compile(rb"-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----")
_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z ]+ )?PRIVATE KEY-----")
_PROTECTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED")

logger = logging.getLogger(__name__)
T = TypeVar("T")


def server_context(tls: ListenTls, *, with_pair: bool = True) -> ssl.SSLContext:
    """Return the context for handshakes with clients; without `with_pair` the caller loads a certificate into it.

    :raises InvalidInput: with the fields whose files are unusable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    problems = [*_check_pair(tls.cert, tls.key)]
    if tls.client_ca is not None:
        problems += _load_ca(context, "client_ca", tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if tls.require_client_cert else ssl.CERT_OPTIONAL
    if with_pair and not problems:
        problems += _load_pair(context, tls.cert, tls.key)
    if problems:
        raise InvalidInput(problems)
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    return context


def client_context(tls: UpstreamTls, alpn: Iterable[str] = ()) -> ssl.SSLContext:
    """Return the context for handshakes with a server, which is offered the application protocols `alpn`.

    :raises InvalidInput: with the fields whose files are unusable.
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
        problems += _load_ca(context, "ca", tls.ca)
    if tls.cert is not None and tls.key is not None:
        pair = _check_pair(tls.cert, tls.key)
        problems += pair or _load_pair(context, tls.cert, tls.key)
    if problems:
        raise InvalidInput(problems)
    if offered := list(alpn):
        context.set_alpn_protocols(offered)
    return context


class ReloadedOnChange(Generic[T]):
    """A value made from files, and made again when a file changes."""

    def __init__(self, make: Callable[[], T], files: Iterable[str | None], what: str) -> None:
        """`make` reads `files` and returns the value; `what` names the value in the log.

        The first `refresh` checks the files, which may have changed since then.

        :raises InvalidInput: from `make`.
        """
        self._make = make
        self._files = [name for name in files if name is not None]
        self._what = what
        self._versions = self._read_versions()
        self._checked_at = -math.inf
        self._checking: asyncio.Future[None] | None = None
        """The check that has been started last."""
        self._hangs = False
        """True if that check takes longer than PATIENCE."""
        self.value = make()
        """The value made from the last valid files."""

    async def refresh(self, now: float) -> None:
        """Make the value again if a file has changed; this waits for a file system, but no longer than PATIENCE."""
        checking = self._checking
        if checking is None or checking.done():
            if now - self._checked_at < CHECK_EVERY:
                return
            self._checked_at, self._hangs = now, False
            checking = self._checking = in_thread(self._check)
        if not self._hangs:
            _, late = await asyncio.wait((checking,), timeout=PATIENCE)
            self._hangs = bool(late)

    def _check(self) -> None:
        if (versions := self._read_versions()) != self._versions:
            self._versions = versions
            self._reload()

    def _reload(self) -> None:
        try:
            self.value = self._make()
        except (ChaosproxyError, OSError, ValueError) as error:  # the last two: a file changed while it was read
            reason = str(error)  # a log record that is kept must not keep the frames of the traceback
            logger.warning("%s: renewed files are unusable; the last valid ones stay in use: %s", self._what, reason)
        else:
            logger.info("%s: renewed files are in use", self._what)

    def _read_versions(self) -> list[tuple[int, int, int] | None]:
        return [_version_of(name) for name in self._files]


def _version_of(name: str) -> tuple[int, int, int] | None:
    """Return numbers that change with the file; None where it does not exist."""
    try:
        found = os.stat(name)
    except (OSError, ValueError):  # ValueError: the name is not a path
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _check_pair(cert: str, key: str) -> list[Problem]:
    """Check a certificate and a key without OpenSSL, whose error messages say little."""
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
    from cryptography import x509  # imported late: few proxies use TLS themselves

    if not _CERTIFICATE.search(data):
        return [_no_certificate(field, name)]
    try:
        leaf = x509.load_pem_x509_certificates(data)[0]
        begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    except ValueError as error:
        message = f"{name} is not a valid certificate ({str(error)[:100]}); make it again"
        return [Problem((field,), "bad-certificate", message)]
    now = datetime.now(UTC)
    if ends < now:
        message = f"{name} expired on {ends:%Y-%m-%d %H:%M} UTC; renew it"
        return [Problem((field,), "expired-certificate", message)]
    if begins > now:
        message = f"{name} is not valid before {begins:%Y-%m-%d %H:%M} UTC; check the clock"
        return [Problem((field,), "expired-certificate", message)]
    return []


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> list[Problem]:
    try:
        context.load_cert_chain(cert, key, password=lambda: b"")  # without it OpenSSL prompts on the terminal
    except (ssl.SSLError, OSError, ValueError) as error:
        code = getattr(error, "reason", None) or ""
        field, message = _BAD_FILE.get(code, ("cert", f"cannot be loaded together with key ({code or error})"))
        if field == "key":
            return [_bad_key(f"{key} {message}")]
        return [Problem((field,), "bad-certificate", f"{cert} {message}")]
    return []


def _load_ca(context: ssl.SSLContext, field: str, name: str) -> list[Problem]:
    data, problems = _read(field, name)
    if problems:
        return problems
    if not _CERTIFICATE.search(data):
        return [_no_certificate(field, name)]
    try:
        context.load_verify_locations(cafile=name)
    except (ssl.SSLError, OSError) as error:
        message = f"{name} is not a valid certificate ({error}); make it again"
        return [Problem((field,), "bad-certificate", message)]
    return []


def _no_certificate(field: str, name: str) -> Problem:
    message = f"{name} holds no certificate in PEM format; give one: -----BEGIN CERTIFICATE-----"
    return Problem((field,), "bad-certificate", message)


def _bad_key(message: str) -> Problem:
    return Problem(("key",), "bad-key", message)


def _read(field: str, name: str) -> tuple[bytes, list[Problem]]:
    try:
        found = os.stat(name)
        if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device might never end
            return b"", [_unreadable(field, f"{name} is not a file; give the path of a PEM file")]
        if found.st_size > _LARGEST:
            return b"", [Problem((field,), "too-large", f"{name} is too large for PEM; give a file of at most 4 MiB")]
        return Path(name).read_bytes(), []
    except OSError as error:
        return b"", [_unreadable(field, f"cannot read {name}: {error.strerror or error}")]
    except ValueError as error:  # such as a null byte
        return b"", [_unreadable(field, f"{name!r} is not a path ({error}); give the path of a PEM file")]


def _unreadable(field: str, message: str) -> Problem:
    return Problem((field,), "unreadable-file", message)
