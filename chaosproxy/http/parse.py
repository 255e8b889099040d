"""The bytes of one head become a head and the framing of its body, or the reason why they do not.

httptools (llhttp) reads; it is strict, and what it refuses is never guessed at. Beyond it,
refused as framing that two parties may read differently (RFC 9112 §6.3, §11.2): a transfer
coding in an HTTP/1.0 message, and any head whose end httptools sees elsewhere than we do.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import httptools

from chaosproxy.http.head import Fields, RequestHead, ResponseHead, values

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


class HeadParser:
    """Reads one head, piece by piece. The names of its callbacks are httptools'."""

    def __init__(self) -> None:
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

    def _feed(self, data: bytes) -> None:
        raise NotImplementedError

    def _length(self, fields: Fields, version: str) -> int | bool:
        """Content-Length; True for chunked, False where the head says neither or another coding is last.

        :raises Unframed: it can be read in two ways.
        """
        codings = ",".join(values(fields, "transfer-encoding"))
        lengths = values(fields, "content-length")
        if codings:
            if version != "1.1":
                raise Unframed("a transfer coding in an HTTP/1.0 message")
            return codings.rpartition(",")[2].strip(" \t").lower() == "chunked"
        return int(lengths[0]) if lengths else False

    def _check_whole(self) -> None:
        if not self._is_whole:
            raise Unframed("a head that does not end where its empty line is")


class RequestParser(HeadParser):
    """Reads the head of a request."""

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
        if head.version not in ("1.0", "1.1"):
            raise Unframed(f"HTTP/{head.version}")
        length = self._length(fields, head.version)
        if length is True:
            body: Body = Unsized.CHUNKED
        elif values(fields, "transfer-encoding"):
            raise Unframed("a request whose transfer coding does not end with chunked")
        else:
            body = int(length)
        return head, body


class ResponseParser(HeadParser):
    """Reads the head of a response."""

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
        length = self._length(head.fields, head.version)
        if method == "HEAD" or head.status < 200 or head.status in _NO_BODY:
            return 0
        if length is True:
            return Unsized.CHUNKED
        if length is False and not values(head.fields, "content-length"):
            return Unsized.UNTIL_CLOSE
        return int(length)


def _in_words(error: httptools.HttpParserError) -> str:
    message = str(error).strip().rstrip(".")
    return message[:1].lower() + message[1:] if message else "not HTTP/1"
