"""Parse the ClientHello, a TLS client's first message, without taking part in TLS (RFC 8446 §4.1.2, RFC 6066 §3). Pure.

The result for any bytes is one of three: a Hello; None, if the bytes are not TLS or not a valid
ClientHello; or MORE, if they may be the beginning of one. MORE is never the result for LONGEST bytes or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["LONGEST", "MORE", "Hello", "More", "read_hello"]

LONGEST = 64 * 1024
"""Bytes of records within which a ClientHello must be complete; real ones have 200 to 2 000."""
_HANDSHAKE, _CLIENT_HELLO, _LONGEST_RECORD = 22, 1, 16 * 1024 + 256
_SERVER_NAME, _ALPN = 0, 16


class More:
    """The type of MORE: the bytes so far are the beginning of a ClientHello."""

    def __repr__(self) -> str:
        return "MORE"


MORE: Final = More()


@dataclass(frozen=True, slots=True)
class Hello:
    """The parts of a ClientHello that faults and events use."""

    sni: str | None
    """The server name that the client requests, in lower case; None without one."""
    alpn: tuple[str, ...]
    """The application protocols that the client offers, in its order of preference."""


def read_hello(data: bytes) -> Hello | More | None:
    """Parse the ClientHello at the beginning of a stream of which `data` has arrived."""
    message = bytearray()
    at = 0
    while True:
        head = data[at : at + 5]
        if head and (head[0] != _HANDSHAKE or head[1:2] not in (b"", b"\x03")):
            return None
        if len(head) < 5:
            return _more(data)
        size = int.from_bytes(head[3:5])
        if not 0 < size <= _LONGEST_RECORD:
            return None
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if message and message[0] != _CLIENT_HELLO:
            return None
        if len(message) >= 4:
            end = 4 + int.from_bytes(message[1:4])
            if end > LONGEST:
                return None
            if len(message) >= end:
                return _read_message(bytes(message[4:end]))
        if at > len(data):
            return _more(data)


def _more(data: bytes) -> More | None:
    return MORE if len(data) < LONGEST else None


class _Malformed(Exception):
    pass


class _Reader:
    """Reads the fields of a message, first to last."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _Malformed
        found = self._data[self._at : end]
        self._at = end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        """Read a length of `size` bytes, and as many bytes as it says."""
        return self.take(self.number(size))

    @property
    def done(self) -> bool:
        return self._at == len(self._data)


def _read_message(body: bytes) -> Hello | None:
    try:
        hello = _Reader(body)
        hello.take(2 + 32)  # version, random
        hello.vector(1)  # session
        hello.vector(2)  # ciphers
        hello.vector(1)  # compression
        extensions = {} if hello.done else dict(_extensions(hello.vector(2)))
        sni = _server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else None
        alpn = _protocols(extensions[_ALPN]) if _ALPN in extensions else ()
    except _Malformed:
        return None
    return Hello(sni, alpn)


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    reader = _Reader(data)
    while not reader.done:
        yield reader.number(2), reader.vector(2)


def _server_name(data: bytes) -> str | None:
    names = _Reader(_Reader(data).vector(2))
    while not names.done:
        kind, name = names.number(1), names.vector(2)
        if kind == 0:
            text = name.decode("ascii", "replace").lower()
            return text if text.isprintable() and text.isascii() and text else None
    return None


def _protocols(data: bytes) -> tuple[str, ...]:
    reader = _Reader(_Reader(data).vector(2))
    found = []
    while not reader.done:
        found.append(reader.vector(1).decode("latin-1"))
    return tuple(found)
