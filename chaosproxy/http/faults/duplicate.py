"""http_duplicate: the server gets the same request more than once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Whole, param
from chaosproxy.faults.base import Stage, Step
from chaosproxy.http.part import Part
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpDuplicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDuplicate(MessageFault):
    """Sends the request `copies` more times, each on a separate connection; the client gets one response.

    The client gets the response to the original; the responses to the copies are discarded. A
    copy is sent once the request is complete. A request longer than the proxy's `hold_limit` is
    not copied, nor is an upgrade.
    """

    type: ClassVar[str] = "http_duplicate"
    summary: ClassVar[str] = "sends requests to the server more than once"
    models: ClassVar[str] = "A retry by a mesh or gateway unknown to the client, at-least-once delivery."
    example: ClassVar[str] = "{type: http_duplicate, match: {method: POST}}"

    copies: int = param(
        Whole(minimum=1, maximum=100), "number of copies sent in addition to the original", default=1, example="2"
    )

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Copying(self.copies, opening)


class _Copying(MessageStage):
    def __init__(self, copies: int, opening: MessageOpening) -> None:
        super().__init__(opening, "request")
        self._copies = copies
        self._limit = opening.conversation.context.settings.hold_limit
        self._seen: list[bytes] = []
        self._size = 0

    def on_head(self, head: Part) -> Iterable[Step]:
        self._seen, self._size = [], 0
        if head.exchange.is_upgrade:
            self._current = -1
            return (head,)
        return self._collect(head)

    def on_rest(self, part: Part) -> Iterable[Step]:
        return self._collect(part)

    def _collect(self, part: Part) -> Iterable[Step]:
        self._seen.append(part.data)
        self._size += len(part.data)
        if self._size > self._limit:
            self._current = -1
            self._seen.clear()
        elif part.last:
            self.conversation.send_copies(b"".join(self._seen), self._copies)
            self._seen.clear()
        return (part,)

    def take_over(self, old: Stage) -> None:
        super().take_over(old)
        if isinstance(old, _Copying):
            self._seen, self._size = old._seen, old._size
