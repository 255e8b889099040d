"""The bytes of one head become a head and the framing of its body, or the reason why they do not.

httptools (llhttp) reads; it is strict, and what it refuses is never guessed at. Beyond it,
refused as what two parties may read differently (RFC 9112 §6.3, §11.2): a first line that
is not spelled as HTTP/1.0 or 1.1 spells it, a transfer coding in an HTTP/1.0 message, one
other than `chunked`, and any head whose end httptools sees elsewhere than we do.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import ClassVar, TypeAlias

import httptools

from chaosproxy.http.head import Fields, RequestHead, ResponseHead, values

__all__ = [
    "REQUEST_START", "STATUS_LINE", "Body", "HeadParser", "RequestParser", "ResponseParser", "Unframed", "Unsized",
]  # fmt: skip

REQUEST_START = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+")
"""Method and target."""
STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?")
_REQUEST_LINE = re.compile(REQUEST_START.pattern + rb" HTTP/1\.[01]\r\n")
_RESPONSE_LINE = re.compile(STATUS_LINE.pattern + rb"\r\n")


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


class HeadParser:
    """Reads one head, piece by piece. The names of its callbacks are httptools'."""

    first_line: ClassVar[re.Pattern[bytes]]

    def __init__(self) -> None:
        self._begun: bytearray | None = bytearray()
        """The beginning of its first line; None once that is whole and well."""
        self._fields: list[tuple[str, str]] = []
        self._is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._is_whole = True

    def feed(self, data: bytes) -> None:
        """Read a piece that does not go beyond the head's end.

        :raises Unframed: it cannot be the beginning of a head.
        """
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            pass  # the head is whole, and what follows is not ours to read
        except httptools.HttpParserError as error:
            if not self._is_whole:
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
            raise Unframed("a first line that is none of HTTP/1.0 or 1.1")
        else:
            self._begun = None

    def _feed(self, data: bytes) -> None:
        raise NotImplementedError

    def _length(self, fields: Fields, version: str) -> int | Unsized | None:
        """Content-Length, CHUNKED, or None where the head says neither.

        :raises Unframed: it can be read in two ways.
        """
        codings = values(fields, "transfer-encoding")
        lengths = values(fields, "content-length")
        if not codings:
            return int(lengths[0]) if lengths else None
        if version != "1.1":
            raise Unframed("a transfer coding in an HTTP/1.0 message")
        if len(codings) > 1 or codings[0].lower() != "chunked":
            raise Unframed("a transfer coding other than chunked")
        return Unsized.CHUNKED

    def _check_whole(self) -> None:
        if not self._is_whole:
            raise Unframed("a head that does not end where its empty line is")


class RequestParser(HeadParser):
    """Reads the head of a request."""

    first_line = _REQUEST_LINE

    def __init__(self) -> None:
        super().__init__()
        self._target: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self._target.append(url)

    def _feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def finish(self) -> tuple[RequestHead, Body]:
        """The whole head, and how its body is framed; an upgrade's own body is none of the tunnel's business.

        :raises Unframed: it can be read in two ways.
        """
        self._check_whole()
        parser, fields = self._parser, tuple(self._fields)
        method = parser.get_method().decode("latin-1")
        target = b"".join(self._target).decode("latin-1")
        head = RequestHead(method, target, parser.get_http_version(), fields)
        return head, self._length(fields, head.version) or 0


class ResponseParser(HeadParser):
    """Reads the head of a response."""

    first_line = _RESPONSE_LINE

    def __init__(self) -> None:
        super().__init__()
        self._reason: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def on_status(self, reason: bytes) -> None:
        self._reason.append(reason)

    def _feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def finish(self, method: str) -> tuple[ResponseHead, Body]:
        """The whole head, and how the body of this answer to a request with that method is framed (RFC 9112 §6.3).

        :raises Unframed: it can be read in two ways.
        """
        self._check_whole()
        parser, fields = self._parser, tuple(self._fields)
        reason = b"".join(self._reason).decode("latin-1")
        head = ResponseHead(parser.get_status_code(), reason, parser.get_http_version(), fields)
        return head, self._body(head, method)

    def _body(self, head: ResponseHead, method: str) -> Body:
        if head.status == 101 or (method == "CONNECT" and 200 <= head.status < 300):
            return Unsized.TUNNEL
        if method == "HEAD" or head.status < 200 or head.status in _NO_BODY:
            return 0
        length = self._length(head.fields, head.version)
        return Unsized.UNTIL_CLOSE if length is None else length


def _in_words(error: httptools.HttpParserError) -> str:
    message = str(error).strip().rstrip(".")
    return message[:1].lower() + message[1:] if message else "not HTTP/1"
