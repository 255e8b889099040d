"""What the server sends, and what faults answer in its place."""

from __future__ import annotations

from collections import deque

from chaosproxy.faults.base import Close, Step
from chaosproxy.http.conversation import UPGRADED, Conversation
from chaosproxy.http.exchange import Exchange, Sign, State
from chaosproxy.http.framing import PieceKind
from chaosproxy.http.message_stream import MessageStream
from chaosproxy.http.parse import Body, HeadParser, ResponseParser, Unframed, Unsized
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.tallies import RouteTally

__all__ = ["Responses"]


class Responses(MessageStream):
    """Server to client."""

    __slots__ = ("_first_byte", "_is_interim", "_status")
    on: MessageKind = "response"

    def __init__(self, conversation: Conversation) -> None:
        super().__init__(conversation)
        self._is_interim = False
        self._status = 0
        self._first_byte = 0.0

    def own_answers(self, now: float) -> list[Step]:
        """What faults answer in the server's place, as far as it is its turn; what is not due holds what follows."""
        steps: list[Step] = []
        row = self.conversation.row
        while row and (answer := row[0].answer) is not None and self.current is None:
            exchange = row.popleft()
            exchange.changed_by.append(answer.fault)
            exchange.sign(Sign.ANSWER_BEGINS)
            exchange.sign(Sign.ANSWER_WHOLE)
            if not self._is_heard(exchange):
                continue
            due = max(now, answer.due)
            steps.append(Part(due, answer.data, "response", "head", exchange, last=True, is_ours=True))
            if answer.then_close and (exchange.state is State.DONE or not answer.awaits_end):
                steps.append(Close(due, answer.fault))
        if self._is_last(row):
            steps.append(Close(now, self.conversation.obligations.broken_by))
        self.conversation.mind_business()
        return steps

    def _is_last(self, row: deque[Exchange]) -> bool:
        """All is answered that can be, on a connection that is to end then."""
        obligations = self.conversation.obligations
        if not obligations.is_broken or obligations.is_silent or self.current is not None:
            return False
        return not row or row[0].number >= obligations.broken_at

    def _is_heard(self, exchange: Exchange) -> bool:
        """The answer is whole: whether it goes on, through the faults, to the client."""
        if exchange.number >= self.conversation.obligations.silent_from:
            exchange.go_unanswered()
            return False
        self.conversation.passing[exchange.number] = exchange
        return True

    def stream_ended(self, now: float) -> None:
        super().stream_ended(now)
        self.conversation.server_ends(now)

    def end_of_stream(self, now: float) -> list[Step]:
        steps = super().end_of_stream(now)
        self.conversation.server_ends(now)
        return steps

    def make_parser(self) -> HeadParser:
        return ResponseParser()

    def head_done(self, parser: HeadParser) -> Body:
        assert isinstance(parser, ResponseParser)
        conversation = self.conversation
        exchange = conversation.row[0] if conversation.row else _unasked(self._now)
        head, body = parser.finish(exchange.method)
        if conversation.unasked:
            raise Unframed("an answer after one that nobody had asked for")
        if body is Unsized.TUNNEL:
            if not exchange.is_upgrade:
                raise Unframed("an upgrade that nobody had asked for")
            conversation.over = UPGRADED
        self.current, self._status, self._first_byte = exchange, head.status, self._now
        self._is_interim = head.status < 200 and body is not Unsized.TUNNEL
        if not self._is_interim:
            conversation.unasked = not exchange.number
            exchange.response = head
            exchange.sign(Sign.ANSWER_BEGINS)
            if exchange.is_upgrade:
                conversation.asks_upgrade = False
        return body

    def ended(self) -> None:
        exchange, self.current = self.current, None
        assert exchange is not None
        if self._is_interim:
            return
        exchange.sign(Sign.ANSWER_WHOLE)
        if exchange.number:
            self.conversation.row.popleft()
        if self._collected is None:
            exchange.tally.add(self._status, self._first_byte - exchange.began, self._now - exchange.began)
            return
        if exchange.number:
            self._is_heard(exchange)
        self._collected += self.own_answers(self._now)

    def _not_framed(self, reason: str) -> None:
        conversation = self.conversation
        if self._collected is None or not conversation.is_treated or conversation.context.settings.strict:
            conversation.give_up(reason)
            return
        conversation.context.not_framed(reason)
        self.is_deaf = True
        conversation.server_ends(self._now)
        if not conversation.obligations.is_silent:
            self._collected.append(Close(self._now, conversation.owing))

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        assert self.current is not None
        self._collect("interim" if self._is_interim else kind, data, last, self.current)


def _unasked(now: float) -> Exchange:
    """For an answer that nobody has asked for, such as a 408 for a request that did not come."""
    exchange = Exchange(0, "GET", RouteTally(), now)
    exchange.state = State.WAITING
    return exchange
