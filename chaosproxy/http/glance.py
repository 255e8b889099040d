"""Whether some bytes are exactly one whole message, as cheaply as that can be known.

One httptools parser per direction serves every connection, since it is between messages
whenever it is asked; it calls back for a message's begin and end alone (DESIGN: a parser
calls only what its object has). What is not one whole message is framed with more care.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import httptools

_Parser: TypeAlias = httptools.HttpRequestParser | httptools.HttpResponseParser

__all__ = ["REQUEST", "RESPONSE", "Glance"]


class Glance:
    """Looks at what came in one piece while no message was under way."""

    def __init__(self, make_parser: Callable[[Glance], _Parser]) -> None:
        self._make_parser = make_parser
        self._begun = self._ended = 0
        self._parser = make_parser(self)

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_message_complete(self) -> None:
        self._ended += 1

    def is_one(self, data: bytes) -> bool:
        """Whether `data` is one whole message, no less and no more, that is no upgrade and can be framed."""
        self._begun = self._ended = 0
        parser = self._parser
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):  # an upgrade is no error, and no subclass
            self._parser = self._make_parser(self)
            return False
        if self._begun == 1 == self._ended:
            if not parser.should_keep_alive():  # it would take nothing more
                self._parser = self._make_parser(self)
            return True
        self._parser = self._make_parser(self)
        return False


REQUEST = Glance(httptools.HttpRequestParser)
RESPONSE = Glance(httptools.HttpResponseParser)
