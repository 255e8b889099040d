"""The two directions of a connection in HTTP mode, framed.

Pure: each is given bytes and times and answers with Parts; the pipes wait and write.

    Requests       client to server
    Responses      server to client

Each can be asked in three ways, from the cheapest on:

    passes    is this one whole message that nobody wants? then it is counted, and that is all
    account   count what is in it; all of it passes
    frame     cut it into Parts, for faults to treat
"""

from __future__ import annotations

from chaosproxy.faults.base import Close, Send, Step
from chaosproxy.http import glance
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.exchange import Exchange, Sign, State
from chaosproxy.http.framing import Emit, Framer, PieceKind
from chaosproxy.http.head import RequestHead, values
from chaosproxy.http.parse import Body, HeadParser, RequestParser, ResponseParser, Unframed, Unsized
from chaosproxy.http.part import On, Part, PartKind
from chaosproxy.tallies import RouteTally

__all__ = ["Requests", "Responses"]


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
        if not self.framer.is_between or not conversation.is_free or conversation.is_silent:
            return False
        if len(data) > self.framer.limit or not glance.REQUEST.is_one(data):
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
        if is_upgrade(head):
            conversation.asks_upgrade = True
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

    def passes(self, data: bytes, now: float) -> bool:
        """Whether `data` is one whole final answer to the one request under way; then both are counted."""
        conversation = self.conversation
        simple = conversation.simple
        if simple is None or not self.framer.is_between or len(data) > self.framer.limit:
            return False
        if not glance.RESPONSE.is_one(data):
            return False
        status_class = data[9] - 48
        if not 2 <= status_class <= 5:
            return False
        conversation.simple = None
        simple.tally.add_at_once(status_class, now - conversation.began)
        return True

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
            if exchange.request is not None and is_upgrade(exchange.request):
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


def is_upgrade(head: RequestHead) -> bool:
    """Whether what follows the request depends on its answer: CONNECT, or an Upgrade (RFC 9110 §7.8, §9.3.6)."""
    if head.method == "CONNECT":
        return True
    asked = ",".join(values(head.fields, "connection")).lower().split(",")
    return bool(values(head.fields, "upgrade")) and any(one.strip() == "upgrade" for one in asked)


def _unasked(now: float) -> Exchange:
    """For an answer that nobody has asked for, such as a 408 for a request that did not come."""
    exchange = Exchange(0, "GET", RouteTally(), now)
    exchange.state = State.WAITING
    return exchange
