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
        self._renew()

    def _renew(self) -> None:
        """A parser that knows of nothing yet.

        Its callbacks are methods of lists, which are called in half the time of our own: each
        message that begins takes an element from one, each that ends from the other.
        """
        self._begun, self._ended = [None, None], [None, None]
        self.on_message_begin = self._begun.pop
        self.on_message_complete = self._ended.pop
        self._feed = self._make_parser(self).feed_data

    def is_one(self, data: bytes) -> bool:
        """Whether `data` is one whole message, no less and no more, that is no upgrade and can be framed."""
        try:
            self._feed(data)
        except httptools.HttpParserError:
            # The message before may have been the last of its connection: then the parser takes nothing more.
            self._renew()
            try:
                self._feed(data)
            except httptools.HttpParserError:
                self._renew()
                return False
        if len(self._begun) == 1 == len(self._ended):
            self._begun.append(None)
            self._ended.append(None)
            return True
        self._renew()
        return False


REQUEST = Glance(httptools.HttpRequestParser)
RESPONSE = Glance(httptools.HttpResponseParser)
