"""What the client sends."""

from __future__ import annotations

from chaosproxy.faults.base import Step
from chaosproxy.http.exchange import Sign, State
from chaosproxy.http.framing import PieceKind
from chaosproxy.http.message_stream import MessageStream
from chaosproxy.http.parse import Body, HeadParser, RequestParser
from chaosproxy.http.part import MessageKind

__all__ = ["Requests"]


class Requests(MessageStream):
    """Client to server."""

    __slots__ = ()
    on: MessageKind = "request"

    def account(self, data: bytes, now: float) -> None:
        self._mind_upgrade()
        super().account(data, now)

    def frame(self, data: bytes, now: float) -> list[Step]:
        self._mind_upgrade()
        return super().frame(data, now)

    @property
    def _is_plain(self) -> bool:
        conversation = self.conversation
        return conversation.over is not None or conversation.doubt is not None or conversation.obligations.is_broken

    def stream_ended(self, now: float) -> None:
        super().stream_ended(now)
        self.conversation.client_ends(now)

    def end_of_stream(self, now: float) -> list[Step]:
        steps = super().end_of_stream(now)
        self.conversation.client_ends(now)
        return steps

    def _mind_upgrade(self) -> None:
        if not self.conversation.asks_upgrade:
            self.framer.decide()

    def make_parser(self) -> HeadParser:
        return RequestParser()

    def head_done(self, parser: HeadParser) -> Body:
        assert isinstance(parser, RequestParser)
        head, body = parser.finish()
        conversation = self.conversation
        tally = conversation.context.tally_of(head.method, head.target)
        self.current = exchange = conversation.begin(head.method, tally, self._now)
        exchange.request = head
        if parser.is_upgrade:
            exchange.is_upgrade = conversation.asks_upgrade = True
            self.framer.wait()
        return body

    def ended(self) -> None:
        exchange, conversation = self.current, self.conversation
        assert exchange is not None
        exchange.sign(Sign.REQUEST_WHOLE)
        conversation.sending = None
        answer = exchange.answer
        if answer is not None and answer.then_close and exchange.state is State.DONE:
            conversation.end(self._now, answer.fault)

    def _not_framed(self, reason: str) -> None:
        if self._collected is None or self.conversation.context.settings.strict:
            self.conversation.give_up(reason)
        else:
            self.conversation.doubt = reason

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        exchange = self.current
        assert exchange is not None
        if not exchange.is_swallowed:
            self._collect(kind, data, last, exchange)
