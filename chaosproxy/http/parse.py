"""Read the bytes of one head: return the head and the framing of its body, or raise Unframed with the reason.

httptools (llhttp) is the parser. It is strict, and bytes that it refuses are never interpreted.
This module also refuses heads that two implementations may read differently (RFC 9112 §6.3,
§11.2): a first line not in the strict spelling of HTTP/1.0 or 1.1, a transfer coding in an
HTTP/1.0 message, a transfer coding other than `chunked`, and any head that ends in another place
for httptools than for the framer.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import ClassVar, TypeAlias

import httptools

from chaosproxy.http.head import Fields, RequestHead, ResponseHead

__all__ = [
    "REQUEST_START", "STATUS_LINE", "Body", "HeadParser", "RequestParser", "ResponseParser", "Unframed", "Unsized",
]  # fmt: skip

REQUEST_START = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+")
"""Method and target."""
_REQUEST_LINE = re.compile(REQUEST_START.pattern + rb" HTTP/1\.[01]\r\n")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?")
_STATUS_LINE = re.compile(STATUS_LINE.pattern + rb"\r\n")


class Unframed(Exception):
    """The bytes are not an HTTP/1 message, or an ambiguous one; the text of the exception is the reason."""


class Unsized(Enum):
    """The end of a body whose length its head does not give."""

    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"
    TUNNEL = "tunnel"
    """No body, and no more messages: the following bytes belong to another protocol, in both directions."""


Body: TypeAlias = int | Unsized
"""The length of a body in bytes, or the way in which its end is recognised."""

_NO_BODY = {204, 304}


_FRAMING = {"content-length", "transfer-encoding"}


class _Seen:
    """The values from httptools' callbacks. It does not refer to the parser, so that the two are not cyclic garbage."""

    __slots__ = ("fields", "first_line", "is_whole")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.first_line: list[bytes] = []
        """Pieces of the target of a request, or of the reason of a response."""
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
    """The parser of one head, which is fed piece by piece."""

    __slots__ = ("_any_parser", "_begun", "_seen", "is_upgrade")

    first_line: ClassVar[re.Pattern[bytes]]

    def __init__(self, seen: _Seen, parser: httptools.HttpRequestParser | httptools.HttpResponseParser) -> None:
        self._seen = seen
        self._any_parser = parser
        self._begun: bytearray | None = bytearray()
        """The beginning of the first line; None once that line is complete and accepted."""
        self.is_upgrade = False
        """True if the following bytes are another protocol, or may be after the response (RFC 9110 §7.8, §9.3.6)."""

    def feed(self, data: bytes) -> None:
        """Read a piece of the head, which must not extend beyond the head's end.

        :raises Unframed: the piece cannot belong to a head.
        """
        try:
            self._any_parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_upgrade = True
        except httptools.HttpParserError as error:
            if not self._seen.is_whole:
                raise Unframed(_in_words(error)) from None
        if self._begun is not None:
            self._check_first_line(data, self._begun)

    def _check_first_line(self, data: bytes, begun: bytearray) -> None:
        if not begun:
            data = data.lstrip(b"\r\n")
        end = data.find(b"\n") + 1
        if not end:
            begun += data
        elif not self.first_line.fullmatch(bytes(begun) + data[:end]):
            raise Unframed("a first line that is not HTTP/1.0 or 1.1")
        else:
            self._begun = None

    def _read(self) -> tuple[str, Fields]:
        """Return the text of the first line, and the fields.

        :raises Unframed: the head is not complete.
        """
        seen = self._seen
        if not seen.is_whole:
            raise Unframed("a head that does not end where its empty line is")
        fields = tuple([(name.decode("latin-1"), value.strip(b" \t").decode("latin-1")) for name, value in seen.fields])
        return b"".join(seen.first_line).decode("latin-1"), fields

    def _length(self, fields: Fields) -> int | Unsized | None:
        """Return the length of the body as the fields give it; None if they do not.

        :raises Unframed: the length is ambiguous.
        """
        framing = [(name.lower(), value) for name, value in fields if name.lower() in _FRAMING]
        length: int | Unsized | None = None
        for name, value in framing:
            if name == "content-length":
                length = int(value)
            elif self._any_parser.get_http_version() != "1.1":
                raise Unframed("a transfer coding in an HTTP/1.0 message")
            elif len(framing) > 1 or value.lower() != "chunked":
                raise Unframed("a transfer coding other than chunked")
            else:
                length = Unsized.CHUNKED
        return length


class RequestParser(HeadParser):
    """The parser of a request's head."""

    __slots__ = ("_parser",)
    first_line = _REQUEST_LINE

    def __init__(self) -> None:
        seen = _Seen()
        self._parser = httptools.HttpRequestParser(seen)
        super().__init__(seen, self._parser)

    def finish(self) -> tuple[RequestHead, Body]:
        """Return the complete head, and how its body is framed.

        :raises Unframed: the head is incomplete or ambiguous.
        """
        target, fields = self._read()
        method = self._parser.get_method().decode("latin-1")
        return RequestHead(method, target, self._parser.get_http_version(), fields), self._length(fields) or 0


class ResponseParser(HeadParser):
    """The parser of a response's head."""

    __slots__ = ("_parser",)
    first_line = _STATUS_LINE

    def __init__(self) -> None:
        seen = _Seen()
        self._parser = httptools.HttpResponseParser(seen)
        super().__init__(seen, self._parser)

    def finish(self, method: str) -> tuple[ResponseHead, Body]:
        """Return the complete head, and how the body of a response to that method is framed (RFC 9112 §6.3).

        :raises Unframed: the head is incomplete or ambiguous.
        """
        reason, fields = self._read()
        status = self._parser.get_status_code()
        head = ResponseHead(status, reason, self._parser.get_http_version(), fields)
        if status == 101 or (method == "CONNECT" and 200 <= status < 300):
            return head, Unsized.TUNNEL
        if method == "HEAD" or status < 200 or status in _NO_BODY:
            return head, 0
        length = self._length(fields)
        return head, Unsized.UNTIL_CLOSE if length is None else length


def _in_words(error: httptools.HttpParserError) -> str:
    message = str(error).strip().rstrip(".")
    return message[:1].lower() + message[1:] if message else "not HTTP/1"
