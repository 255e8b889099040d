"""One connection in HTTP mode: both directions framed, requests paired with their answers.

HTTP/1.1 answers requests in the order they came (RFC 9112 §9.3.2), so that the pairing is a
row: the server's next answer is that of the first exchange in it.

Pure: it is given bytes and times and answers with Parts; the pipes wait and write.

    Conversation   what both directions share
    Requests       client to server
    Responses      server to client

Each direction can be asked in three ways, from the cheapest on:

    passes    is this one whole message that nobody wants? then it is counted, and that is all
    account   count what is in it; all of it passes
    frame     cut it into Parts, for faults to treat
"""

from __future__ import annotations

from collections import deque

from chaosproxy.faults.base import Close, Send, Step
from chaosproxy.http import glance
from chaosproxy.http.exchange import Answer, Exchange, Sign, unasked
from chaosproxy.http.framing import Emit, Framer, PieceKind
from chaosproxy.http.head import is_upgrade
from chaosproxy.http.parse import Body, HeadParser, RequestParser, ResponseParser, Unframed, Unsized
from chaosproxy.http.part import On, Part, PartKind
from chaosproxy.http.traffic import Line, Traffic
from chaosproxy.tallies import RouteTally

__all__ = ["NEVER_SILENT", "Conversation", "Requests", "Responses"]

NEVER_SILENT = 2**62


class Conversation:
    """What both directions of a connection share."""

    __slots__ = (
        "_row", "asks_upgrade", "began", "copies", "count", "lost_from", "over", "reset_over", "silenced_by",
        "silent_from", "simple", "stirred", "traffic", "unheard",
    )  # fmt: skip

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._row: deque[Exchange] | None = None
        """Exchanges whose answers the server, or a fault, still has to give; made when first needed."""
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
        self.stirred = False
        """An answer that a fault gives may be ready."""
        self.copies: list[bytes] | None = None
        """Requests that are to reach the server once more, each on a connection of its own."""
        self.unheard: deque[Exchange] | None = None
        """Exchanges whose answers are whole here and have not gone on to the client: faults hold them, or lost them."""

    @property
    def outstanding(self) -> int:
        """Exchanges that are not answered in full, as the client sees it."""
        return len(self._row or ()) + len(self.unheard or ()) + (self.simple is not None)

    @property
    def row(self) -> deque[Exchange]:
        """The exchanges that wait, in order; asked for where things are not simple."""
        row = self._row
        if row is None:
            row = self._row = deque()
        if self.simple is not None:
            simple, self.simple = self.simple, None
            exchange = Exchange(self.count, simple.method, simple.tally, self.began)
            exchange.sign(Sign.REQUEST_WHOLE)
            row.append(exchange)
        return row

    @property
    def is_free(self) -> bool:
        """No exchange is under way, and the next one will be answered."""
        return self.simple is None and not self._row and self.silent_from == NEVER_SILENT

    def begin(self, method: str, tally: RouteTally, now: float) -> Exchange:
        """A request's head is whole."""
        row = self.row
        self.count += 1
        exchange = Exchange(self.count, method, tally, now)
        row.append(exchange)
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

    def lose_answers(self, exchange: Exchange, fault: str) -> None:
        """Its answer is lost: were anything answered later, the client would take it for this answer."""
        if exchange.number < self.silent_from:
            self.silent_from, self.silenced_by = exchange.number, fault

    def lose_requests(self, exchange: Exchange, fault: str) -> None:
        """It is lost, and what the client sends after it: answers to that would be taken for its own."""
        exchange.is_swallowed = True
        self.lost_from = min(self.lost_from, exchange.number)
        self.lose_answers(exchange, fault)

    @property
    def is_silent(self) -> bool:
        """Something was lost: nothing more is answered."""
        return self.silent_from < NEVER_SILENT

    @property
    def is_treated(self) -> bool:
        """A fault has begun something here that must be brought to its end, whether or not the fault is still there."""
        if self.is_silent:
            return True
        return self._row is not None and any(one.is_swallowed for one in self._row)

    def answer_is_whole(self) -> Exchange:
        """The first exchange has an answer, which is on its way through the faults to the client."""
        exchange = self.row.popleft()
        if self.unheard is None:
            self.unheard = deque()
        self.unheard.append(exchange)
        return exchange

    def heard(self, exchange: Exchange, now: float) -> None:
        """Its answer has gone on to the client in full."""
        if self.unheard and exchange in self.unheard:  # not one that nobody has asked for
            self.unheard.remove(exchange)
            first = now if exchange.first_byte is None else exchange.first_byte
            exchange.tally.add(exchange.status, first - exchange.began, now - exchange.began)

    def let_go(self, now: float) -> None:
        """No fault on messages is left, nor anything that one has begun: what they held goes on."""
        for exchange in [*(self.unheard or ())]:
            self.heard(exchange, now)

    def close(self) -> None:
        """The connection has ended: what was not answered never will be."""
        for exchange in (*self.row, *(self.unheard or ())):
            exchange.tally.statuses[0] += 1
        self.row.clear()
        self.unheard = None


class _Way:
    """One direction; the names without an underscore are what the framer and the pipe call."""

    __slots__ = ("_collected", "_now", "conversation", "current", "framer")

    on: On

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.framer = Framer(conversation.traffic.settings.head_limit)
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
            self.framer.end_of_stream(self)

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
        try:
            self.framer.feed(data, self, emit)
        except Unframed as unframed:
            self.conversation.give_up(str(unframed))
            return self.framer.rest
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

    def passes(self, data: bytes, now: float) -> bool:
        """Whether `data` is one whole request that nobody wants; then it is counted."""
        conversation = self.conversation
        if not self.framer.is_between or not conversation.is_free or not glance.REQUEST.is_one(data):
            return False
        line = data[: data.find(b" HTTP/1.")]
        traffic = conversation.traffic
        known = traffic.lines.get(line) or traffic.look_up(line)
        if known.watched or not known.simple:
            return False
        if traffic.settings.obeys_callers and b"\nx-chaosproxy-" in data.lower():
            return False
        conversation.count += 1
        conversation.simple = known
        conversation.began = now
        return True

    def account(self, data: bytes, now: float) -> None:
        self._mind_upgrade()
        super().account(data, now)

    def frame(self, data: bytes, now: float) -> list[Step]:
        self._mind_upgrade()
        return super().frame(data, now)

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
        if is_upgrade(head):
            conversation.asks_upgrade = True
            self.framer.wait()
        return body

    def ended(self) -> None:
        assert self.current is not None
        self.current.sign(Sign.REQUEST_WHOLE)

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        exchange = self.current
        assert exchange is not None
        if exchange.number >= self.conversation.lost_from:
            exchange.is_swallowed = True
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

    def passes(self, data: bytes, now: float) -> bool:
        """Whether `data` is one whole final answer to the one request under way; then both are counted."""
        conversation = self.conversation
        simple = conversation.simple
        if simple is None or not self.framer.is_between or not glance.RESPONSE.is_one(data):
            return False
        status_class = data[9] - 48
        if not 2 <= status_class <= 5:
            return False
        conversation.simple = None
        simple.tally.add_at_once(status_class, now - conversation.began)
        return True

    def own_answers(self, now: float) -> list[Step]:
        """What faults answer in the server's place, as far as it is its turn."""
        steps: list[Step] = []
        row = self.conversation.row
        while row and (answer := row[0].answer) is not None and self.current is None:
            exchange = self.conversation.answer_is_whole()
            exchange.changed_by.append(answer.fault)
            exchange.sign(Sign.ANSWER_BEGINS)
            exchange.sign(Sign.ANSWER_WHOLE)
            if exchange.number < self.conversation.silent_from:
                due = max(now, answer.due)
                steps.append(Part(due, answer.data, "response", "head", exchange, last=True, is_ours=True))
                if answer.then_close:
                    steps.append(Close(due, answer.fault))
        return steps

    def make_parser(self) -> HeadParser:
        return ResponseParser()

    def head_done(self, parser: HeadParser) -> Body:
        assert isinstance(parser, ResponseParser)
        conversation = self.conversation
        exchange = conversation.row[0] if conversation.row else unasked(self._now)
        head, body = parser.finish(exchange.method)
        self.current, self._status, self._first_byte = exchange, head.status, self._now
        if body is Unsized.TUNNEL:
            conversation.over = "upgraded"
        self._is_interim = head.status < 200 and body is not Unsized.TUNNEL
        if not self._is_interim:
            exchange.response = head
            exchange.sign(Sign.ANSWER_BEGINS)
            if exchange.request is not None and is_upgrade(exchange.request):
                conversation.asks_upgrade = False
        return body

    def ended(self) -> None:
        exchange, self.current = self.current, None
        assert exchange is not None
        if self._is_interim:
            return
        exchange.sign(Sign.ANSWER_WHOLE)
        if self._collected is None:
            if exchange.number:
                self.conversation.row.popleft()
            exchange.tally.add(self._status, self._first_byte - exchange.began, self._now - exchange.began)
        else:
            if exchange.number:
                self.conversation.answer_is_whole()
            self._collected += self.own_answers(self._now)

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        assert self.current is not None
        self._collect("interim" if self._is_interim else kind, data, last, self.current)
