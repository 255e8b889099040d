"""One connection in HTTP mode: both directions framed, requests paired with their answers.

HTTP/1.1 answers requests in the order they came (RFC 9112 §9.3.2), so that the pairing is a
row: the server's next answer is that of the first exchange in it.

Pure: it is given bytes and times and answers with Parts; the pipes wait and write.

    Conversation   what both directions share
    Requests       client to server
    Responses      server to client

Each direction can be asked in two ways:

    account   count what is in it; all of it passes
    frame     cut it into Parts, for faults to treat

What is one whole message that nobody wants need not be asked about: whoever sees that at a
glance begins the exchange by hand (`is_busy`, `simple`, `began`, `count`), and ends it so.
"""

from __future__ import annotations

from collections import deque

from chaosproxy.faults.base import NEVER, Close, Send, Step
from chaosproxy.http.exchange import Answer, Exchange, Sign, State
from chaosproxy.http.framing import Emit, Framer, PieceKind
from chaosproxy.http.parse import Body, HeadParser, RequestParser, ResponseParser, Unframed, Unsized
from chaosproxy.http.part import On, Part, PartKind
from chaosproxy.http.traffic import Line, Traffic
from chaosproxy.tallies import RouteTally

__all__ = ["NEVER_SILENT", "Conversation", "Requests", "Responses"]

NEVER_SILENT = 2**62



class Conversation:
    """What both directions of a connection share."""

    __slots__ = (
        "_framers", "_row", "asks_upgrade", "began", "client_ended", "copies", "count", "ended_by", "ends_at",
        "is_busy", "lost_from", "over", "passing", "reset_over", "sending", "silenced_by", "silent_from", "simple",
        "stirred", "traffic",
    )  # fmt: skip

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._row: deque[Exchange] | None = None
        """Exchanges whose answers the server, or a fault, still has to give; made when first needed."""
        self._framers: tuple[Framer, ...] = ()
        self.is_busy = False
        """A message is under way, in whatever direction, or an exchange not answered, or nothing is answered."""
        self.passing: dict[int, Exchange] = {}
        """Exchanges whose answers are whole, and still on their way through the faults."""
        self.sending: Exchange | None = None
        """Whose request is under way."""
        self.count = 0
        """Exchanges begun."""
        self.simple: Line | None = None
        """The one exchange under way, as long as nothing about it is out of the ordinary."""
        self.began = 0.0
        """When that one began."""
        self.asks_upgrade = False
        """Whether messages follow depends on the server's next answer."""
        self.over: str | None = None
        """Why these are no messages any more, but a plain stream; None while they are."""
        self.reset_over = False
        """The connection is to be reset for that."""
        self.silent_from = NEVER_SILENT
        """Nothing is answered from this exchange on."""
        self.silenced_by = ""
        """The fault by which that is so."""
        self.lost_from = NEVER_SILENT
        """Requests are lost from this exchange on."""
        self.client_ended = False
        """The client sends no more; whether it still listens nobody can know."""
        self.ends_at = NEVER
        """When the connection is to be closed for a fault."""
        self.ended_by = ""
        """That fault."""
        self.stirred = False
        """An answer that a fault gives may be ready, or the end be near."""
        self.copies: list[bytes] | None = None
        """Requests that are to reach the server once more, each on a connection of its own."""

    @property
    def outstanding(self) -> int:
        """Exchanges that are not answered in full."""
        return (0 if self._row is None else len(self._row)) + (self.simple is not None) + len(self.passing)

    def framed_by(self, framer: Framer) -> None:
        """One direction is framed by this."""
        self._framers = (*self._framers, framer)

    def mind_business(self) -> None:
        """Find out anew whether anything is under way; whoever framed something must."""
        self.is_busy = (
            self.is_silent or self.outstanding > 0 or not all(framer.is_between for framer in self._framers)
        )

    @property
    def row(self) -> deque[Exchange]:
        """The exchanges that wait, in order; whoever looks at them finds the simple one spelled out there."""
        return self.spell_out()

    def spell_out(self) -> deque[Exchange]:
        """Let the exchange under way be simple no longer: a fault may come to want its answer."""
        row = self._row
        if row is None:
            row = self._row = deque()
        if self.simple is not None:
            simple, self.simple = self.simple, None
            exchange = Exchange(self.count, simple.method, simple.tally, self.began)
            exchange.sign(Sign.REQUEST_WHOLE)
            row.append(exchange)
        return row

    def begin(self, method: str, tally: RouteTally, now: float) -> Exchange:
        """A request's head is whole."""
        row = self.row
        self.count += 1
        self.sending = exchange = Exchange(self.count, method, tally, now)
        if exchange.number < self.lost_from:
            row.append(exchange)
        else:
            exchange.is_swallowed = True
            exchange.go_unanswered()
        return exchange

    def give_up(self, reason: str) -> None:
        """It cannot be framed from here on: a stream like any other, or, where strictness is asked for, the end."""
        if self.over is None:
            self.over = reason
            self.reset_over = self.traffic.settings.strict
            self.traffic.unframed(reason)

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """A fault answers in the server's place, which sees nothing more of the request."""
        exchange.answer, exchange.is_swallowed = answer, True
        self.stirred = True

    def send_copies(self, request: bytes, copies: int) -> None:
        """The request is to reach the server that many times more, each on a connection of its own."""
        self.copies = [*(self.copies or ()), *[request] * copies]

    def lose_answers(self, exchange: Exchange, fault: str, now: float) -> None:
        """Its answer is lost: were anything answered later, the client would take it for this answer."""
        if exchange.number >= self.silent_from:
            return
        self.silent_from, self.silenced_by = exchange.number, fault
        for number in [one for one in self.passing if one >= exchange.number]:
            self.passing.pop(number).go_unanswered()
        self._end_silence(now)
        self.mind_business()

    def lose_requests(self, exchange: Exchange, fault: str, now: float) -> None:
        """It is lost, and what the client sends after it: answers to that would be taken for its own."""
        exchange.is_swallowed = True
        self.lost_from = min(self.lost_from, exchange.number)
        row = self.row
        while row and row[-1].number >= self.lost_from:
            row.pop().go_unanswered()
        self.lose_answers(exchange, fault, now)

    def client_ends(self, now: float) -> None:
        """The client has closed, or only sends no more: that looks the same."""
        self.client_ended = True
        self._end_silence(now)

    def heard(self, exchange: Exchange, status: int, now: float) -> None:
        """The last of an answer goes on to the client."""
        self.passing.pop(exchange.number, None)
        first = now if exchange.first_byte is None else exchange.first_byte
        exchange.tally.add(status, first - exchange.began, now - exchange.began)
        self._end_silence(now)
        self.mind_business()

    def end(self, at: float, fault: str) -> None:
        """The connection is to be closed then, whatever becomes of the fault."""
        if at < self.ends_at:
            self.ends_at, self.ended_by = at, fault
            self.stirred = True

    def _end_silence(self, now: float) -> None:
        """A client that has ended, and is owed nothing that came before the silence, is closed: it may be gone."""
        if self.is_silent and self.client_ended and not self._owes_answers:
            self.end(now, self.silenced_by)

    @property
    def _owes_answers(self) -> bool:
        row = self.row
        first = next(iter(self.passing), row[0].number if row else NEVER_SILENT)
        return first < self.silent_from

    @property
    def is_silent(self) -> bool:
        """Something was lost: nothing more is answered."""
        return self.silent_from < NEVER_SILENT

    @property
    def loses_requests(self) -> bool:
        """Of what the client sends now nothing reaches the server."""
        return self.lost_from < NEVER_SILENT or (self.sending is not None and self.sending.is_swallowed)

    @property
    def is_treated(self) -> bool:
        """A fault has begun something here that must be brought to its end, whether or not the fault is still there."""
        if self.is_silent or self.ends_at < NEVER or self.loses_requests:
            return True
        return self._row is not None and any(one.is_swallowed for one in self._row)

    def let_pass(self, now: float) -> None:
        """No fault treats messages any more: the answers that were on their way are with the client now."""
        for exchange in [*self.passing.values()]:
            self.heard(exchange, exchange.status, now)

    def close(self) -> None:
        """The connection has ended: what was not answered never will be."""
        for exchange in (*self.row, *self.passing.values()):
            exchange.go_unanswered()
        self.row.clear()
        self.passing.clear()


class _Way:
    """One direction; the names without an underscore are what the framer and the pipe call."""

    __slots__ = ("_collected", "_now", "conversation", "current", "framer")

    on: On

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.framer = Framer(conversation.traffic.settings.head_limit)
        conversation.framed_by(self.framer)
        self.current: Exchange | None = None
        """Whose message is under way."""
        self._now = 0.0
        self._collected: list[Step] | None = None
        """Where Parts go while something is framed; None while it is only counted."""

    def account(self, data: bytes, now: float) -> None:
        """Count what is in `data`, all of which passes."""
        if self.conversation.over is None and not self.framer.skip(len(data)):
            self._feed(data, now, None)
            self.framer.let_go()

    def frame(self, data: bytes, now: float) -> list[Step]:
        """`data` as Parts, and as it is where it cannot be framed."""
        if self.conversation.over is not None:
            return [Send(now, data)]
        steps = self._collected = []
        try:
            rest = self._feed(data, now, self._emit)
        finally:
            self._collected = None
        if rest and not self.conversation.reset_over:
            steps.append(Send(now, rest))
        return steps

    def stream_ended(self, now: float) -> None:
        """Count a message that ends with the stream; all of it has passed."""
        if self.conversation.over is None:
            self._now = now
            self.conversation.spell_out()
            self.framer.end_of_stream(self)
            self.conversation.mind_business()

    def end_of_stream(self, now: float) -> list[Step]:
        """What goes ahead of the end-of-stream: an end for a body, or the beginning of a head that was kept back."""
        if self.conversation.over is not None:
            return []
        steps = self._collected = []
        self._now = now
        try:
            kept = self.framer.let_go()
            self.framer.end_of_stream(self, self._emit)
        finally:
            self._collected = None
        return [*steps, Send(now, kept)] if kept else steps

    def _feed(self, data: bytes, now: float, emit: Emit) -> bytes:
        """Answers what could not be framed."""
        self._now = now
        self.conversation.spell_out()
        try:
            self.framer.feed(data, self, emit)
        except Unframed as unframed:
            self.conversation.give_up(str(unframed))
            return self.framer.rest
        finally:
            self.conversation.mind_business()
        return b""

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        raise NotImplementedError

    def _collect(self, kind: PartKind, data: bytes, last: bool, exchange: Exchange) -> None:
        assert self._collected is not None
        seen_late = kind == "head" and self.framer.passed > 0
        self._collected.append(Part(self._now, data, self.on, kind, exchange, last, seen_late=seen_late))

    def make_parser(self) -> HeadParser:
        raise NotImplementedError

    def head_done(self, parser: HeadParser) -> Body:
        raise NotImplementedError

    def ended(self) -> None:
        raise NotImplementedError


class Requests(_Way):
    """Client to server."""

    __slots__ = ()
    on: On = "request"

    def account(self, data: bytes, now: float) -> None:
        self._mind_upgrade()
        super().account(data, now)

    def frame(self, data: bytes, now: float) -> list[Step]:
        self._mind_upgrade()
        return super().frame(data, now)

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
        tally = conversation.traffic.tally_of(head.method, head.target)
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

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        exchange = self.current
        assert exchange is not None
        if not exchange.is_swallowed:
            self._collect(kind, data, last, exchange)


class Responses(_Way):
    """Server to client."""

    __slots__ = ("_first_byte", "_is_interim", "_status")
    on: On = "response"

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
        self.conversation.mind_business()
        return steps

    def _is_heard(self, exchange: Exchange) -> bool:
        """The answer is whole: whether it goes on, through the faults, to the client."""
        if exchange.number >= self.conversation.silent_from:
            exchange.go_unanswered()
            return False
        self.conversation.passing[exchange.number] = exchange
        return True

    def make_parser(self) -> HeadParser:
        return ResponseParser()

    def head_done(self, parser: HeadParser) -> Body:
        assert isinstance(parser, ResponseParser)
        conversation = self.conversation
        exchange = conversation.row[0] if conversation.row else _unasked(self._now)
        head, body = parser.finish(exchange.method)
        self.current, self._status, self._first_byte = exchange, head.status, self._now
        if body is Unsized.TUNNEL:
            conversation.over = "upgraded"
        self._is_interim = head.status < 200 and body is not Unsized.TUNNEL
        if not self._is_interim:
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

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        assert self.current is not None
        self._collect("interim" if self._is_interim else kind, data, last, self.current)


def _unasked(now: float) -> Exchange:
    """For an answer that nobody has asked for, such as a 408 for a request that did not come."""
    exchange = Exchange(0, "GET", RouteTally(), now)
    exchange.state = State.WAITING
    return exchange
