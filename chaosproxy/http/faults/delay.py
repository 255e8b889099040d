"""http_delay: a request, a response or a body arrives later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Choice, Duration, Rule, param
from chaosproxy.faults.base import Send, Stage, Step
from chaosproxy.faults.correlated import CorrelatedNormal
from chaosproxy.faults.spread import DISTRIBUTION, LOGNORMAL_NEEDS_DELAY, spread
from chaosproxy.http.head import body_length
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpDelay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDelay(MessageFault):
    """Holds a message for `delay`, spread by `jitter` as in `latency`.

    `on: request` holds the request before it reaches the server, `on: response` the response.
    `on: body` lets the response's head pass and spreads its body over the delay. With a
    Content-Length the bytes arrive evenly; without one no byte of the body arrives before the
    delay has passed. Later messages on the same connection wait, since HTTP/1.1 keeps their order.
    """

    type: ClassVar[str] = "http_delay"
    summary: ClassVar[str] = "holds requests, responses or bodies for a time"
    models: ClassVar[str] = "A slow handler, a cold cache, a lock, a database behind the service that takes its time."
    example: ClassVar[str] = "{type: http_delay, delay: 300ms, match: {path: /checkout/*}}"

    delay: float = param(Duration(), "mean delay", example="300ms")
    jitter: float = param(Duration(), "spread of the delay", default=0.0, example="50ms")
    distribution: str = param(
        DISTRIBUTION, "how the delay is distributed about its mean", default="uniform", example="normal"
    )
    on: str = param(
        Choice("request", "response", "body"),
        "which part is held: the request, the response, or the response's body, spread over the delay",
        default="request",
        example="response",
    )

    rules: ClassVar[tuple[Rule, ...]] = (LOGNORMAL_NEEDS_DELAY,)

    def side(self) -> MessageKind:
        return "request" if self.on == "request" else "response"

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Spreading(self, opening) if self.on == "body" else _Holding(self, opening)


class _Holding(MessageStage):
    """A stage that delays the head; the chain keeps the order, so the rest of the message waits too."""

    def __init__(self, settings: HttpDelay, opening: MessageOpening) -> None:
        super().__init__(opening, settings.side())
        self._delay_of = spread(settings.distribution, settings.delay, settings.jitter)
        self._normal = CorrelatedNormal(opening.dice, 0.0) if settings.jitter else None

    def _draw(self) -> float:
        return max(0.0, self._delay_of(0.0 if self._normal is None else self._normal.draw()))

    def on_head(self, head: Part) -> Iterable[Step]:
        head.due += self._draw()
        return (head,)


class _Spreading(_Holding):
    """A stage that lets the head pass, and spreads the body evenly over the delay if its length is known."""

    def __init__(self, settings: HttpDelay, opening: MessageOpening) -> None:
        super().__init__(settings, opening)
        self._length: int | None = None
        self._delay = self._began = self._free_at = 0.0

    def on_head(self, head: Part) -> Iterable[Step]:
        assert head.exchange.response is not None
        self._length = body_length(head.exchange.response.fields)
        self._begin(head.due)
        self._free_at = head.due
        return (head,)

    def _begin(self, began: float) -> None:
        self._began, self._delay = began, self._draw()
        if self._length and self._delay:  # every byte arrives within PIECE seconds of its time
            self.quantum = max(1, int(self._length * PIECE / self._delay))
        else:
            self.quantum = Stage.quantum

    def cuts(self, step: Send) -> bool:
        return isinstance(step, Part) and step.kind == "body" and self.treats(step)

    def on_rest(self, part: Part) -> Iterable[Step]:
        if not self._length:
            part.due = max(part.due, self._began + self._delay)
        else:
            self._free_at = max(part.due, self._free_at) + self._delay * len(part.data) / self._length
            part.due = self._free_at
        return (part,)

    def take_over(self, old: Stage) -> None:
        super().take_over(old)
        if isinstance(old, _Spreading):
            self._length = old._length
            self._begin(old._began)


PIECE = 0.01
"""Seconds between two pieces of a body that is spread over a delay."""
