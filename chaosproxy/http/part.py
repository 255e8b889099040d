"""A piece of a message on its way through the faults: bytes, and their place in the message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chaosproxy.faults.base import Send
from chaosproxy.http.exchange import Exchange

__all__ = ["MessageKind", "Part", "PartKind"]

MessageKind = Literal["request", "response"]
PartKind = Literal["head", "body", "frame", "interim"]
"""A complete head, payload, framing of a chunked body (lines, trailers), or a complete interim response (1xx)."""


@dataclass(slots=True)
class Part(Send):
    """A Send that is a piece of a message; faults on the stream see a Send like any other."""

    on: MessageKind
    kind: PartKind
    exchange: Exchange
    last: bool = False
    """True if the message ends with this part."""
    is_injected: bool = False
    """True if it belongs to a response that a fault sends; other message faults ignore it."""
    is_incomplete: bool = False
    """True for a head whose beginning was forwarded earlier, so that faults can no longer change it."""

    def with_data(self, data: bytes) -> Part:
        """Return the same part with other bytes."""
        return Part(self.due, data, self.on, self.kind, self.exchange, self.last, self.is_injected, self.is_incomplete)

    def piece(self, start: int, stop: int) -> Part:
        """Return the same part with some of its bytes; the message ends with its last piece."""
        piece = self.with_data(self.data[start:stop])
        piece.last = self.last and stop >= len(self.data)
        return piece
