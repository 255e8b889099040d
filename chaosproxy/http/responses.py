"""The direction from server to client: responses, and those that faults inject in place of the server."""

from __future__ import annotations

from chaosproxy.faults.base import Close, Step
from chaosproxy.http.exchange import Exchange, State
from chaosproxy.http.framing import PieceKind
from chaosproxy.http.message_stream import MessageStream
from chaosproxy.http.parse import Body, HeadParser, ResponseParser, Unsized
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.states import Responding, Treatment
from chaosproxy.tallies import RouteTally

__all__ = ["Responses"]


class Responses(MessageStream):
    """The stream of messages that the server sends."""

    __slots__ = ()
    on: MessageKind = "response"

    def treatment(self) -> Treatment:
        return self.conversation.states.responses.treatment

    def injected_responses(self, now: float) -> list[Step]:
        """Return the injected responses that are next in order; later steps wait for one that is not yet due."""
        steps: list[Step] = []
        conversation = self.conversation
        while self.current is None and (exchange := conversation.injection_begins()) is not None:
            injected = exchange.injected
            assert injected is not None
            if not conversation.forward(exchange):
                continue
            due = max(now, injected.due)
            steps.append(Part(due, injected.data, "response", "head", exchange, last=True, is_injected=True))
            if injected.then_close and (exchange.state is State.DONE or not injected.awaits_end):
                steps.append(Close(due, injected.fault))
        if self.current is None and (fault := conversation.breach_fault) is not None:
            steps.append(Close(now, fault))
        conversation.update()
        return steps

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
        waiting = self.conversation.waiting
        exchange = waiting[0] if waiting else _unsolicited(self._now)
        head, body = parser.finish(exchange.method)
        self.conversation.response_begins(exchange, head, is_tunnel=body is Unsized.TUNNEL)
        if self._collected is None and exchange.response is not None:
            exchange.first_byte = self._now
        self.current = exchange
        return body

    def ended(self) -> None:
        exchange, self.current = self.current, None
        assert exchange is not None
        if exchange.response is None:
            return  # an interim response
        self.conversation.response_ends(exchange, self._now, in_chain=self._collected is not None)
        if self._collected is not None:
            self._collected += self.injected_responses(self._now)

    def _not_framed(self, reason: str) -> None:
        conversation, collected = self.conversation, self._collected
        conversation.server_unframed(reason, collected is not None, self._now)
        is_broken = conversation.states.responses is Responding.BROKEN
        if is_broken and collected is not None and not conversation.is_silent:
            collected.append(Close(self._now, conversation.unfinished_fault))

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        exchange = self.current
        assert exchange is not None
        self._collect("interim" if exchange.response is None else kind, data, last, exchange)


def _unsolicited(now: float) -> Exchange:
    """Return an exchange for a response that belongs to no request, such as a 408 after the client sent none."""
    exchange = Exchange(0, "GET", RouteTally(), now)
    exchange.state = State.WAITING
    return exchange
