"""http_drop_request and http_drop_response: a message is lost, and the connection says nothing more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Duration, param
from chaosproxy.faults.base import Step
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpDropRequest", "HttpDropResponse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDropRequest(MessageFault):
    """The request never reaches the server, and the client hears nothing.

    Nor does anything after it on that connection: an answer to a later request would be
    taken for the answer to this one. Answers to earlier requests still come. The silence
    lasts beyond the fault; the client ends it by giving up, or `close_after` does.
    """

    type: ClassVar[str] = "http_drop_request"
    summary: ClassVar[str] = "loses requests: the server never sees them, the client hears nothing"
    models: ClassVar[str] = "A request lost in a queue, a load balancer or a server that died before it read it."
    example: ClassVar[str] = "{type: http_drop_request, probability: 5%}"

    close_after: float | None = param(
        Duration(), "closes the connection this long after the loss", default=None, example="5s"
    )

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Losing(self.close_after, "request", opening)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDropResponse(MessageFault):
    """The server did it, and the client never hears: the case on which claims of exactly-once break.

    Nothing that comes after the lost answer on that connection is heard either; requests
    still reach the server. The silence lasts beyond the fault; the client ends it by giving
    up, or `close_after` does.
    """

    type: ClassVar[str] = "http_drop_response"
    summary: ClassVar[str] = "loses answers: the server did its work, the client never hears"
    models: ClassVar[str] = "A connection cut after the commit, a server that crashed between doing and answering."
    example: ClassVar[str] = "{type: http_drop_response, match: {method: POST}, count: 1}"
    treats: ClassVar[MessageKind] = "response"

    close_after: float | None = param(
        Duration(), "closes the connection this long after the loss", default=None, example="5s"
    )

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Losing(self.close_after, "response", opening)


class _Losing(MessageStage):
    def __init__(self, close_after: float | None, on: MessageKind, opening: MessageOpening) -> None:
        super().__init__(opening, on)
        self._close_after = close_after

    def on_head(self, head: Part) -> Iterable[Step]:
        conversation = self.conversation
        lose = conversation.lose_request if self._on == "request" else conversation.lose_response
        lose(head.exchange, self.name, head.due)
        if self._close_after is not None:
            conversation.end_at(head.due + self._close_after, self.name)
        return ()

    def on_rest(self, part: Part) -> Iterable[Step]:
        return ()
