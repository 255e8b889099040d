"""Whether some bytes are exactly one whole message, as cheaply as that can be known.

One httptools parser per direction serves every connection, since it is between messages
whenever it is asked; it calls back for a message's begin and end, and for chunks (DESIGN: a
parser calls only what its object has). What is not one whole message is framed with more
care; so is what `parse` or `framing` could refuse and httptools takes: what a glance lets
pass, they would have framed as one message too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import httptools

from chaosproxy.http.framing import CHUNK_LINE
from chaosproxy.http.parse import STATUS_LINE

_Parser: TypeAlias = httptools.HttpRequestParser | httptools.HttpResponseParser

__all__ = ["REQUEST", "RESPONSE", "Glance", "is_old_and_coded", "status_class"]

_CODING = re.compile(rb"\ntransfer-encoding:(?:[ \t]*chunked[ \t]*\r)?", re.IGNORECASE)

_ZERO = ord("0")
_STATUS_CLASSES: dict[bytes, int] = {}
"""The class of final status that a status line has, by line; 0 where it has none, or is none."""
_KEPT = 1000
"""Status lines kept."""


class Glance:
    """Looks at what came in one piece while no message was under way."""

    def __init__(self, make_parser: Callable[[Glance], _Parser]) -> None:
        self._make_parser = make_parser
        self._begun = self._ended = 0
        self._goes_on = True
        self._is_chunked = False
        self._parser = make_parser(self)

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_message_complete(self) -> None:
        self._ended += 1
        self._goes_on = self._parser.should_keep_alive()  # later it has forgotten

    def on_chunk_header(self) -> None:
        self._is_chunked = True

    def is_one(self, data: bytes) -> bool:
        """Whether `data` is one whole message, no less and no more, that is no upgrade and can be framed."""
        self._begun = self._ended = 0
        self._is_chunked = False
        parser = self._parser
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser = self._make_parser(self)
            return False
        if self._begun == 1 == self._ended:
            if not self._goes_on:  # it would take nothing more
                self._parser = self._make_parser(self)
            return not self._is_chunked or _is_plain_chunked(data)
        self._parser = self._make_parser(self)
        return False


def _is_plain_chunked(data: bytes) -> bool:
    """Whether no line of it can be beyond a limit, no size has leading zeros, and chunked is all that is coded."""
    if len(data) > CHUNK_LINE or b"\n00" in data:
        return False
    codings = _CODING.findall(data)
    return len(codings) == 1 and codings[0].endswith(b"\r")


REQUEST = Glance(httptools.HttpRequestParser)
RESPONSE = Glance(httptools.HttpResponseParser)


def is_old_and_coded(data: bytes, version: int) -> bool:
    """Whether a message of HTTP/1.0, which has no transfer codings, seems to have one; `version` is its place."""
    return data[version + 2] == _ZERO and b"\ntransfer-encoding:" in data.lower()


def status_class(data: bytes) -> int:
    """The class of the final status of an answer that is well formed; 0 where it must be looked at with more care."""
    line = data[: data.find(b"\r")]
    found = _STATUS_CLASSES.get(line)
    if found is None:
        if len(_STATUS_CLASSES) >= _KEPT:
            _STATUS_CLASSES.clear()
        found = line[9] - _ZERO if STATUS_LINE.fullmatch(line) else 0
        _STATUS_CLASSES[line] = found = found if 2 <= found <= 5 else 0
    return 0 if found and is_old_and_coded(data, 5) else found
