"""Whether some bytes are exactly one whole message, as cheaply as that can be known.

One httptools parser per direction serves every connection, since it is between messages
whenever it is asked; it calls back for a message's begin and end alone, since a parser
calls only the callbacks that its object has. What is not one whole message is framed with more care; so
is what `parse` or `framing` could refuse and httptools takes: what a glance lets pass, they
would have framed as one message too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import httptools

from chaosproxy.http.framing import CHUNK_LINE
from chaosproxy.http.parse import STATUS_LINE

_Parser: TypeAlias = httptools.HttpRequestParser | httptools.HttpResponseParser

__all__ = ["BEGIN_AND_END", "NOT_ONE", "REQUEST", "RESPONSE", "STATUS_CLASSES", "Glance", "StatusClasses"]

NOT_ONE = (httptools.HttpParserError, httptools.HttpParserUpgrade)
"""What `feed` raises; an upgrade is no error, and so no subclass of one."""

BEGIN_AND_END = (None, None)
"""What one message takes of a glance's `due`."""

_CODING = re.compile(rb"\ntransfer-encoding:(?:[ \t]*chunked[ \t]*\r)?", re.IGNORECASE)


class Glance:
    """Looks at what came in one piece while no message was under way.

    It is done by hand, since a call for all of it would cost a third as much again:

        feed(data)        NOT_ONE: then `again(data)`
        not due           it is exactly one: `due` is extended by BEGIN_AND_END
        otherwise         it is less, more or something else: `renew()`
    """

    def __init__(self, make_parser: Callable[[object], _Parser]) -> None:
        self._make_parser = make_parser
        self.due: list[None] = []
        # Methods of lists are called in half the time of our own: a message takes an element as it begins and as it
        # ends; a second message or a chunk finds none, and ends the look.
        self.on_message_begin = self.on_message_complete = self.due.pop
        self.on_chunk_header = list[None]().pop
        self.renew()

    def renew(self) -> None:
        """Be ready for the next look, with a parser that knows of nothing yet."""
        self.due[:] = BEGIN_AND_END
        self.feed = self._make_parser(self).feed_data

    def again(self, data: bytes) -> None:
        """The parser has refused it: for chunks, or because the message before was the last of its connection."""
        self.renew()
        second = _Second(self, len(data))
        try:
            self._make_parser(second).feed_data(data)
        except NOT_ONE:
            self.renew()
            return
        if second.saw_chunks and not _is_plain_chunked(data):
            self.renew()


class StatusClasses(dict[bytes, int]):
    """The class of a final status that an HTTP/1.1 status line has, by line; 0 where it must be looked at with care."""

    KEPT = 1000

    def __missing__(self, line: bytes) -> int:
        if len(self) >= self.KEPT:
            self.clear()
        found = line[9] - ord("0") if line.startswith(b"HTTP/1.1 ") and STATUS_LINE.fullmatch(line) else 0
        self[line] = found = found if 2 <= found <= 5 else 0
        return found


class _Second:
    """Lets chunks be, and knows of them."""

    def __init__(self, glance: Glance, size: int) -> None:
        self._size = size
        self._chunks: list[None] = [None] * size
        self.on_message_begin = self.on_message_complete = glance.due.pop
        self.on_chunk_header = self._chunks.pop

    @property
    def saw_chunks(self) -> bool:
        return len(self._chunks) < self._size


def _is_plain_chunked(data: bytes) -> bool:
    """Whether no line of it can be beyond a limit, no size has leading zeros, and chunked is all that is coded."""
    if len(data) > CHUNK_LINE or b"\n00" in data:
        return False
    codings = _CODING.findall(data)
    return len(codings) == 1 and codings[0].endswith(b"\r")


REQUEST = Glance(httptools.HttpRequestParser)
RESPONSE = Glance(httptools.HttpResponseParser)
STATUS_CLASSES = StatusClasses()
