"""The bytes of one head become a head and the framing of its body, or the reason why they do not.

httptools (llhttp) reads; it is strict, and what it refuses is never guessed at. Beyond it,
refused as framing that two parties may read differently (RFC 9112 §6.3, §11.2): a transfer
coding in an HTTP/1.0 message, and any head whose end httptools sees elsewhere than we do.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import httptools

from chaosproxy.http.head import Fields, RequestHead, ResponseHead

__all__ = ["Body", "HeadParser", "RequestParser", "ResponseParser", "Unframed", "Unsized"]


class Unframed(Exception):
    """These bytes are no HTTP/1 message, or one that can be read in two ways; the message is the reason."""


class Unsized(Enum):
    """A body whose length its head does not give."""

    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"
    TUNNEL = "tunnel"
    """No body and no message any more: what follows, both ways, is something else."""


Body: TypeAlias = int | Unsized
"""The length of a body in bytes, or how its end is known."""

_NO_BODY = {204, 304}


_FRAMING = {"content-length", "transfer-encoding"}


class _Seen:
    """What httptools has called back with. It knows nothing of the parser, so that neither is cyclic garbage."""

    __slots__ = ("fields", "first_line", "is_whole")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.first_line: list[bytes] = []
        """Pieces of the target, or of the reason."""
        self.is_whole = False

    def on_url(self, url: bytes) -> None:
        self.first_line.append(url)

    def on_status(self, reason: bytes) -> None:
        self.first_line.append(reason)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_whole = True


class HeadParser:
    """Reads one head, piece by piece."""

    __slots__ = ("_any_parser", "_seen", "is_upgrade")

    def __init__(self, seen: _Seen, parser: httptools.HttpRequestParser | httptools.HttpResponseParser) -> None:
        self._seen = seen
        self._any_parser = parser
        self.is_upgrade = False
        """What follows is another protocol, or depends on the answer (RFC 9110 §7.8, §9.3.6)."""

    def feed(self, data: bytes) -> None:
        """Read a piece that does not go beyond the head's end.

        :raises Unframed: it cannot be the beginning of a head.
        """
        try:
            self._any_parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_upgrade = True
        except httptools.HttpParserError as error:
            if not self._seen.is_whole:
                raise Unframed(_in_words(error)) from None

    def _read(self) -> tuple[str, Fields, int | Unsized | None]:
        """The first line's text, the fields, and what they say of the body's length; None where nothing.

        :raises Unframed: the head is not whole, or can be read in two ways.
        """
        seen = self._seen
        if not seen.is_whole:
            raise Unframed("a head that does not end where its empty line is")
        fields = tuple([(name.decode("latin-1"), value.strip(b" \t").decode("latin-1")) for name, value in seen.fields])
        framing = {name.lower(): value for name, value in fields if name.lower() in _FRAMING}
        length: int | Unsized | None = None
        if codings := framing.get("transfer-encoding"):
            if self._any_parser.get_http_version() != "1.1":
                raise Unframed("a transfer coding in an HTTP/1.0 message")
            is_chunked = codings.rpartition(",")[2].strip(" \t").lower() == "chunked"
            length = Unsized.CHUNKED if is_chunked else Unsized.UNTIL_CLOSE
        elif lengths := framing.get("content-length"):
            length = int(lengths)
        return b"".join(seen.first_line).decode("latin-1"), fields, length


class RequestParser(HeadParser):
    """Reads the head of a request."""

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        seen = _Seen()
        self._parser = httptools.HttpRequestParser(seen)
        super().__init__(seen, self._parser)

    def finish(self) -> tuple[RequestHead, Body]:
        """The whole head, and how its body is framed.

        :raises Unframed: it can be read in two ways.
        """
        target, fields, length = self._read()
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise Unframed(f"HTTP/{version}")
        if length is Unsized.UNTIL_CLOSE:
            raise Unframed("a request whose transfer coding does not end with chunked")
        return RequestHead(self._parser.get_method().decode("latin-1"), target, version, fields), length or 0


class ResponseParser(HeadParser):
    """Reads the head of a response."""

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        seen = _Seen()
        self._parser = httptools.HttpResponseParser(seen)
        super().__init__(seen, self._parser)

    def finish(self, method: str) -> tuple[ResponseHead, Body]:
        """The whole head, and how the body of this answer to a request with that method is framed (RFC 9112 §6.3).

        :raises Unframed: it can be read in two ways.
        """
        reason, fields, length = self._read()
        status = self._parser.get_status_code()
        head = ResponseHead(status, reason, self._parser.get_http_version(), fields)
        if status == 101 or (method == "CONNECT" and 200 <= status < 300):
            return head, Unsized.TUNNEL
        if method == "HEAD" or status < 200 or status in _NO_BODY:
            return head, 0
        return head, Unsized.UNTIL_CLOSE if length is None else length


def _in_words(error: httptools.HttpParserError) -> str:
    message = str(error).strip().rstrip(".")
    return message[:1].lower() + message[1:] if message else "not HTTP/1"
