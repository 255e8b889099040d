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
    """Looks at what came in one piece while no message was under way.

    It is done by hand, since a call for all of it would cost a third as much again:

        feed(data)                          HttpParserError: then `again(data)`
        len(begun) == 1 == len(ended)       it is exactly one: an element is appended to each
        otherwise                           it is less, more or something else: `renew()`
    """

    def __init__(self, make_parser: Callable[[Glance], _Parser]) -> None:
        self._make_parser = make_parser
        self.begun: list[None] = []
        self.ended: list[None] = []
        # Methods of lists are called in half the time of our own: a message that begins takes an element from one
        # list, and one that ends from the other.
        self.on_message_begin = self.begun.pop
        self.on_message_complete = self.ended.pop
        self.renew()

    def renew(self) -> None:
        """Be ready for the next look, with a parser that knows of nothing yet."""
        self.begun[:] = self.ended[:] = [None, None]
        self.feed = self._make_parser(self).feed_data

    def again(self, data: bytes) -> None:
        """The parser has refused it; perhaps because the message before was the last of its connection."""
        self.renew()
        try:
            self.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.renew()


REQUEST = Glance(httptools.HttpRequestParser)
RESPONSE = Glance(httptools.HttpResponseParser)
