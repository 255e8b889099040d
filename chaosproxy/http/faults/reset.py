"""http_reset: the connection breaks at a point of the response."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Size, param
from chaosproxy.faults.base import Reset, Stage, Step
from chaosproxy.http.head import body_length
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpReset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReset(MessageFault):
    """Breaks the connection with a reset (RST) during a response.

    Without `size` it breaks before the response's head, with `size: 0B` between head and body, and
    with a larger `size` after that number of bytes of the body; a body that is not longer passes
    whole. The server has done its work by then, and the connection breaks for both sides.
    """

    type: ClassVar[str] = "http_reset"
    summary: ClassVar[str] = "resets the connection before a response, after its head or within its body"
    models: ClassVar[str] = "A server that is killed while it responds, a deployment that does not drain."
    example: ClassVar[str] = "{type: http_reset, size: 1KiB}"
    treats: ClassVar[MessageKind] = "response"

    size: int | None = param(
        Size(),
        "bytes of the body that pass; 0B: only the head passes; not given: nothing passes",
        default=None,
        example="0B",
    )

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Breaking(self.size, opening)


class _Breaking(MessageStage):
    def __init__(self, size: int | None, opening: MessageOpening) -> None:
        super().__init__(opening, "response")
        self._size = size
        self._passed = 0
        self._is_longer = False
        """True if the head gives the length of the body: one not yet at its end is then known to be longer."""
        self._is_broken = False

    def on_head(self, head: Part) -> Iterable[Step]:
        self._passed = 0
        self._is_broken = self._size in (None, 0)
        assert head.exchange.response is not None
        self._is_longer = body_length(head.exchange.response.fields) is not None
        if self._size is None:
            return (Reset(head.due),)
        self.mark(head)
        return (head, Reset(head.due)) if self._is_broken else (head,)

    def on_rest(self, part: Part) -> Iterable[Step]:
        if self._is_broken:
            return ()
        if part.kind != "body" or self._size is None:
            return (part,)
        left = max(0, self._size - self._passed)
        self._passed += len(part.data)
        if len(part.data) < left or (len(part.data) == left and (part.last or not self._is_longer)):
            return (part,)
        self._is_broken = True
        if not left:
            return (Reset(part.due),)
        kept = part.with_data(part.data[:left])
        kept.last = False
        return (kept, Reset(part.due))

    def take_over(self, old: Stage) -> None:
        super().take_over(old)
        if isinstance(old, _Breaking):
            self._passed, self._is_broken, self._is_longer = old._passed, old._is_broken, old._is_longer
