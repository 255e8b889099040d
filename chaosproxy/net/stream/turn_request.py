"""The request of a turn in HTTP mode, as far as it tells whether two turns ask the same. Pure.

The first READ bytes are kept and make the identity, by which failed turns are found. The body behind them tells
requests apart that begin equally, such as those of an exporter of telemetry. It is not kept but digested as it comes,
and only in times in which requests fail, or may: digesting 64 KiB takes 60 µs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["BODY", "READ", "Identity", "Read", "Request"]

READ = 4096
"""The first bytes of a request, in which it is recognised."""
BODY = 64 * 1024
"""The first bytes of the body that are digested."""
_LAST_CHUNK = b"0\r\n\r\n"


class Identity(NamedTuple):
    """The part of a request that tells it from others."""

    same: bytes
    """Equal for equal requests."""
    name: str
    """Such as `POST /orders`."""
    is_partial: bool = False
    """True if more bytes could change this."""
    body_at: int = 0
    """The place at which the body begins; 0 if it has not begun."""
    length: int | None = 0
    """The length of the body; None if it is sent in chunks."""


Read = Callable[[bytes], tuple[bytes, str, bool, int, int | None]]
"""Returns the fields of the identity of a request, given its first bytes."""


class Request:
    """The request of the latest turn of a connection, kept after its answer: it may be one that failed."""

    __slots__ = ("_body", "_read", "begin")

    def __init__(self, read: Read) -> None:
        self._read = read
        self.begin = b""
        """The first READ bytes."""
        self._body: _Body | None = None
        """None if the body is not digested."""

    def start(self, data: bytes) -> None:
        """Note the first bytes of the next request."""
        self.begin = data[:READ]
        self._body = None

    def digest(self, data: bytes) -> None:
        """Digest the body of the request from these first bytes on."""
        self._body = _Body()
        self._feed(data)

    def add(self, data: bytes) -> bool:
        """Note more bytes of the request; return True if they may tell more about it."""
        tells = len(self.begin) < READ
        if tells:
            self.begin += data[: READ - len(self.begin)]
        if self._body is not None and not self._body.is_whole:
            self._feed(data)
            tells = tells or self._body.is_whole
        return tells

    @property
    def identity(self) -> Identity | None:
        """The identity of the request by its first bytes; None before the first."""
        if not self.begin:
            return None
        identity = Identity(*self._read(self.begin))
        return identity if len(self.begin) < READ else identity._replace(is_partial=False)

    @property
    def is_known(self) -> bool:
        """True if no more bytes of the body are to be digested."""
        return self._body is None or self._body.is_whole

    @property
    def body(self) -> str:
        """The digest of the body, up to BODY bytes; empty if it is not known."""
        return "" if self._body is None else self._body.result

    def _feed(self, data: bytes) -> None:
        body = self._body
        assert body is not None
        if not body.has_begun:
            identity = Identity(*self._read(self.begin))
            if identity.body_at:
                body.start(identity.body_at, identity.length)
            elif len(self.begin) >= READ:
                self._body = None  # the head is too long
                return
        body.feed(data)


class _Body:
    """The digest of a body, fed with all bytes of the request."""

    __slots__ = ("_at", "_digest", "_left", "_seen", "_tail", "has_begun", "is_whole")

    def __init__(self) -> None:
        self.has_begun = self.is_whole = False
        self._digest = hashlib.blake2b(digest_size=8)
        self._seen = self._at = self._left = 0
        """The bytes of the request so far; the place of the body; the bytes of it that are still to be digested."""
        self._tail: bytes | None = None
        """The last bytes of a body in chunks."""

    def start(self, at: int, length: int | None) -> None:
        """Begin at a place in the bytes that come next; `length` is that of the body, None in chunks."""
        self.has_begun, self._at = True, at
        self._left = BODY if length is None else min(length, BODY)
        self._tail = b"" if length is None else None

    def feed(self, data: bytes) -> None:
        """Digest the bytes of the body among the next ones of the request."""
        before, self._seen = self._seen, self._seen + len(data)
        if not self.has_begun:
            return
        part = memoryview(data)[max(0, self._at - before) :][: self._left]
        self._digest.update(part)
        self._left -= len(part)
        if self._tail is not None:
            self._tail = (self._tail + bytes(part[-len(_LAST_CHUNK) :]))[-len(_LAST_CHUNK) :]
        self.is_whole = self._left <= 0 or self._tail == _LAST_CHUNK

    @property
    def result(self) -> str:
        """The digest; empty if the body is not whole."""
        return self._digest.hexdigest() if self.is_whole else ""
