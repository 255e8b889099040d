"""Determine, as cheaply as possible, whether a chunk is exactly one complete message.

All connections share one httptools parser per direction, because the parser is between messages
whenever it is used. Its callbacks are only those for the beginning and the end of a message:
httptools calls only the methods that its object has. A chunk that is not exactly one message goes
to the framer. So does a chunk that httptools accepts but that `parse` or `framing` might refuse.

Invariant: the framer would frame each chunk that passes at a glance as exactly one message too.
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
"""The exceptions of `feed`; HttpParserUpgrade is not a subclass of HttpParserError."""

BEGIN_AND_END = (None, None)
"""The two elements that one message removes from a glance's `due`."""

_CODING = re.compile(rb"\ntransfer-encoding:(?:[ \t]*chunked[ \t]*\r)?", re.IGNORECASE)


class Glance:
    """A parser of chunks that arrive while no message is under way.

    The readers perform these steps inline, because one method for all of them would cost a third more:

        feed(data)        if it raises NOT_ONE, call `again(data)`
        `due` is empty    the chunk is exactly one message: extend `due` by BEGIN_AND_END
        otherwise         the chunk is not exactly one message: call `renew()`
    """

    def __init__(self, make_parser: Callable[[object], _Parser]) -> None:
        self._make_parser = make_parser
        self.due: list[None] = []
        # A list's own method takes half the time of one written in Python. A message removes one element at its
        # beginning and another at its end. For a second message or a chunked body, `pop` fails and ends the parsing.
        self.on_message_begin = self.on_message_complete = self.due.pop
        self.on_chunk_header = list[None]().pop
        self.renew()

    def renew(self) -> None:
        """Prepare for the next chunk, with a new parser."""
        self.due[:] = BEGIN_AND_END
        self.feed = self._make_parser(self).feed_data

    def again(self, data: bytes) -> None:
        """Parse a refused chunk again, with a new parser.

        It may have been refused for its chunked body, or because the message before was the last of its connection.
        """
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
    """The class of a final status, by HTTP/1.1 status line; 0 if the framer must frame the message."""

    KEPT = 1000

    def __missing__(self, line: bytes) -> int:
        if len(self) >= self.KEPT:
            self.clear()
        found = line[9] - ord("0") if line.startswith(b"HTTP/1.1 ") and STATUS_LINE.fullmatch(line) else 0
        self[line] = found = found if 2 <= found <= 5 else 0
        return found


class _Second:
    """The callbacks of a second attempt, which accept and count the chunks of a body."""

    def __init__(self, glance: Glance, size: int) -> None:
        self._size = size
        self._chunks: list[None] = [None] * size
        self.on_message_begin = self.on_message_complete = glance.due.pop
        self.on_chunk_header = self._chunks.pop

    @property
    def saw_chunks(self) -> bool:
        return len(self._chunks) < self._size


def _is_plain_chunked(data: bytes) -> bool:
    """Return True if no line can exceed a limit, no size has leading zeros, and chunked is the only coding."""
    if len(data) > CHUNK_LINE or b"\n00" in data:
        return False
    codings = _CODING.findall(data)
    return len(codings) == 1 and codings[0].endswith(b"\r")


REQUEST = Glance(httptools.HttpRequestParser)
RESPONSE = Glance(httptools.HttpResponseParser)
STATUS_CLASSES = StatusClasses()
