"""The direction from client to server: requests."""

from __future__ import annotations

from chaosproxy.faults.base import Step
from chaosproxy.http.framing import PieceKind
from chaosproxy.http.message_stream import MessageStream
from chaosproxy.http.parse import Body, HeadParser, RequestParser
from chaosproxy.http.part import MessageKind
from chaosproxy.http.states import Treatment

__all__ = ["Requests"]


class Requests(MessageStream):
    """The stream of messages that the client sends."""

    __slots__ = ()
    on: MessageKind = "request"

    def treatment(self) -> Treatment:
        return self.conversation.states.requests.treatment

    def stream_ended(self, now: float) -> None:
        super().stream_ended(now)
        self.conversation.client_ends(now)

    def end_of_stream(self, now: float) -> list[Step]:
        steps = super().end_of_stream(now)
        self.conversation.client_ends(now)
        return steps

    def make_parser(self) -> HeadParser:
        return RequestParser()

    def head_done(self, parser: HeadParser) -> Body:
        assert isinstance(parser, RequestParser)
        head, body = parser.finish()
        self.current = self.conversation.request_begins(head, parser.is_upgrade, self._now)
        return body

    def ended(self) -> None:
        assert self.current is not None
        self.conversation.request_ends(self.current, self._now)

    def _not_framed(self, reason: str) -> None:
        self.conversation.client_unframed(reason, in_chain=self._collected is not None)

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        exchange = self.current
        assert exchange is not None
        if not exchange.is_swallowed:
            self._collect(kind, data, last, exchange)
