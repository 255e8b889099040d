"""A piece of a message on its way through the faults: bytes that know where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chaosproxy.faults.base import Send
from chaosproxy.http.exchange import Exchange

__all__ = ["MessageKind", "Part", "PartKind"]

MessageKind = Literal["request", "response"]
PartKind = Literal["head", "body", "frame", "interim"]
"""A whole head, payload, the framing of a chunked body (lines and trailers), or a whole interim response (1xx)."""


@dataclass(slots=True)
class Part(Send):
    """A Send that is a piece of a message; faults on the stream see a Send like any other."""

    on: MessageKind
    kind: PartKind
    exchange: Exchange
    last: bool = False
    """The message ends with it."""
    is_injected: bool = False
    """It belongs to a response that a fault gives: message faults leave it alone."""
    is_incomplete: bool = False
    """The beginning of this head was forwarded earlier: the head can be counted, and not changed."""

    def with_data(self, data: bytes) -> Part:
        """The same piece with other bytes."""
        return Part(self.due, data, self.on, self.kind, self.exchange, self.last, self.is_injected, self.is_incomplete)
