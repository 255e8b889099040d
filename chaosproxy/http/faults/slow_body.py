"""http_slow_body: a body arrives slowly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Choice, Rate, param
from chaosproxy.faults.base import Send, Step
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpSlowBody"]

_TICK = 0.02
"""Seconds between two pieces of a slow body, unless one byte takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSlowBody(MessageFault):
    """Lets a body pass at `rate` bytes per second; its head passes at once.

    The body leaves in pieces of 20 ms of the rate, at least one byte each.
    """

    type: ClassVar[str] = "http_slow_body"
    summary: ClassVar[str] = "lets bodies pass at a limited rate"
    models: ClassVar[str] = "A large download over a bad link, a server that generates its response slowly, slowloris."
    example: ClassVar[str] = "{type: http_slow_body, rate: 10kB/s, match: {path: /export/**}}"

    rate: float = param(Rate(), "bytes of the body per second", example="10kB/s")
    on: str = param(Choice("request", "response"), "which bodies are slowed", default="response", example="request")

    def side(self) -> MessageKind:
        return "request" if self.on == "request" else "response"

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Trickling(self.rate, opening, self.side())


class _Trickling(MessageStage):
    def __init__(self, rate: float, opening: MessageOpening, on: MessageKind) -> None:
        super().__init__(opening, on)
        self._rate = rate
        self.quantum = max(1, int(rate * _TICK))
        self._free_at = opening.now

    def cuts(self, step: Send) -> bool:
        return isinstance(step, Part) and step.kind == "body" and self.treats(step)

    def on_rest(self, part: Part) -> Iterable[Step]:
        if part.kind == "body":
            self._free_at = part.due = max(part.due, self._free_at) + len(part.data) / self._rate
        return (part,)
