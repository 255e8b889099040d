"""http_drop_request and http_drop_response: a message is lost, and later requests on its connection get no response."""

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
    """Loses the request: it never reaches the server, and the client gets no response.

    Later requests on that connection are lost too, because the client would take a response to
    one of them for the response to this one. Responses to earlier requests still arrive. The
    connection stays silent even if the fault is removed, until the client gives up or
    `close_after` has passed.
    """

    type: ClassVar[str] = "http_drop_request"
    summary: ClassVar[str] = "loses requests: they never reach the server, and the client gets no response"
    models: ClassVar[str] = "A request lost in a queue, a load balancer or a server that died before it read it."
    example: ClassVar[str] = "{type: http_drop_request, probability: 5%}"

    close_after: float | None = param(
        Duration(), "closes the connection this long after the loss", default=None, example="5s"
    )

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Losing(self.close_after, "request", opening)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDropResponse(MessageFault):
    """Loses the response: the server has done its work, and the client never learns it. Exactly-once fails here.

    The client gets no later response on that connection either; requests still reach the
    server. The connection stays silent even if the fault is removed, until the client gives up or
    `close_after` has passed.
    """

    type: ClassVar[str] = "http_drop_response"
    summary: ClassVar[str] = "loses responses: the server did its work, and the client never learns it"
    models: ClassVar[str] = "A connection cut after the commit, a server that crashed before it responded."
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
