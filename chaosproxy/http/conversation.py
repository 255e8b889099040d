"""One connection in HTTP mode: both directions framed, requests paired with their answers.

HTTP/1.1 answers requests in the order they came (RFC 9112 §9.3.2), so that the pairing is a
row: the server's next answer is that of the first exchange in it.

What cannot be framed is a plain stream from there on (`over`), unless a fault owes something
to this connection: an answer, a silence, the swallowing of what is left of a request. Then a
stream would bring answers to the wrong request, or the end of a request without its beginning;
so nothing more passes that way, and the connection is closed when its turn comes. Of what the
client sends this is known behind the faults alone, where they have seen all that came before.

Pure: it is given bytes and times and answers with Parts; the pipes wait and write.

    Conversation   what both directions share
    Requests       client to server
    Responses      server to client
"""

from __future__ import annotations

from collections import deque

from chaosproxy.faults.base import Close, Step
from chaosproxy.http import glance
from chaosproxy.http.exchange import Answer, Exchange, Sign, State
from chaosproxy.http.framing import PieceKind
from chaosproxy.http.head import RequestHead, values
from chaosproxy.http.parse import Body, HeadParser, RequestParser, ResponseParser, Unframed, Unsized
from chaosproxy.http.part import On, Part
from chaosproxy.http.traffic import Line, Traffic
from chaosproxy.http.way import Way
from chaosproxy.tallies import RouteTally

__all__ = ["NEVER_SILENT", "Conversation", "Requests", "Responses"]

NEVER_SILENT = 2**62


class Conversation:
    """What both directions of a connection share."""

    __slots__ = (
        "_row", "asks_upgrade", "began", "copies", "count", "doubt", "broken_by", "broken_at", "lost_from", "over",
        "reset_over", "sending", "silenced_by", "silent_from", "simple", "stirred", "traffic",
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
        self.sending: Exchange | None = None
        """The exchange whose request is under way."""
        self.broken_at = NEVER_SILENT
        """The connection is closed when it is this exchange's turn to be answered: its request cannot be framed."""
        self.doubt: str | None = None
        """Why what the client sends cannot be framed, until it is known whether a fault owes something."""
        self.broken_by: str | None = None
        """The fault that owes something where it could not be framed."""
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

    @property
    def outstanding(self) -> int:
        """Exchanges that are not answered in full."""
        return (0 if self._row is None else len(self._row)) + (self.simple is not None)

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
        """No exchange is under way, and none was lost."""
        return self.simple is None and not self._row and self.silent_from == NEVER_SILENT

    def begin(self, method: str, tally: RouteTally, now: float) -> Exchange:
        """A request's head is whole."""
        row = self.row
        self.count += 1
        self.sending = exchange = Exchange(self.count, method, tally, now)
        row.append(exchange)
        return exchange

    def give_up(self, reason: str) -> None:
        """It cannot be framed from here on: a stream like any other, or, where strictness is asked for, the end."""
        if self.over is None:
            self.over = reason
            self.reset_over = self.traffic.settings.strict
            self.traffic.unframed(reason)

    def settle_doubt(self) -> None:
        """Faults have seen all that came before what cannot be framed."""
        reason, self.doubt = self.doubt, None
        if reason is None:
            return
        if self.over is not None or not self.is_treated:
            self.give_up(reason)
            return
        self.traffic.unframed(reason)
        self.broken_by = self.owing
        begun = self.sending is not None and not self.sending.is_swallowed
        self.broken_at = self.count if begun else self.count + 1
        self.stirred = True

    @property
    def hears_client(self) -> bool:
        """What the client sends still reaches the server."""
        return self.lost_from == self.broken_at == NEVER_SILENT

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
        if self.is_silent or self.broken_at < NEVER_SILENT or (self.sending is not None and self.sending.is_swallowed):
            return True
        return self._row is not None and any(one.is_swallowed for one in self._row)

    @property
    def owing(self) -> str:
        """The fault whose work is not at its end, where there is one."""
        under_way = [] if self.sending is None else [self.sending]
        for exchange in (*under_way, *self.row):
            if exchange.is_swallowed and exchange.answer is not None:
                return exchange.answer.fault
        return self.silenced_by

    def close(self) -> None:
        """The connection has ended: what was not answered never will be."""
        for exchange in self.row:
            exchange.tally.statuses[0] += 1
        self.row.clear()


class Requests(Way):
    """Client to server."""

    __slots__ = ()
    on: On = "request"

    def passes(self, data: bytes, now: float) -> bool:
        """Whether `data` is one whole request that nobody wants; then it is counted."""
        conversation = self.conversation
        if not self.framer.is_between or not conversation.is_free or not glance.REQUEST.is_one(data):
            return False
        traffic = conversation.traffic
        end = data.find(b" HTTP/1.")
        if end < 0 or len(data) > traffic.settings.head_limit or glance.is_old_and_coded(data, end + 6):
            return False
        line = data[:end]
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

    @property
    def _is_plain(self) -> bool:
        conversation = self.conversation
        return conversation.over is not None or conversation.doubt is not None or conversation.broken_at < NEVER_SILENT

    def _mind_upgrade(self) -> None:
        if not self.conversation.asks_upgrade:
            self.framer.decide()

    def make_parser(self) -> HeadParser:
        return RequestParser()

    def head_done(self, parser: HeadParser) -> Body:
        assert isinstance(parser, RequestParser)
        request, body = parser.finish()
        conversation = self.conversation
        tally = conversation.traffic.tally_of(request.method, request.target)
        self.current = exchange = conversation.begin(request.method, tally, self._now)
        exchange.request = request
        if is_upgrade(request):
            conversation.asks_upgrade = True
            self.framer.wait()
        return body

    def ended(self) -> None:
        assert self.current is not None
        self.current.sign(Sign.REQUEST_WHOLE)
        self.conversation.sending = None

    def _not_framed(self, reason: str) -> None:
        if self._collected is None or self.conversation.traffic.settings.strict:
            self.conversation.give_up(reason)
        else:
            self.conversation.doubt = reason

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        exchange = self.current
        assert exchange is not None
        if exchange.number >= self.conversation.lost_from:
            exchange.is_swallowed = True
        if not exchange.is_swallowed:
            self._collect(kind, data, last, exchange)


class Responses(Way):
    """Server to client."""

    __slots__ = ("_first_byte", "_is_interim", "_status", "_unasked")
    on: On = "response"

    def __init__(self, conversation: Conversation) -> None:
        super().__init__(conversation)
        self._is_interim = False
        self._status = 0
        self._first_byte = 0.0
        self._unasked = False
        """An answer has come that nobody had asked for."""

    def passes(self, data: bytes, now: float) -> bool:
        """Whether `data` is one whole final answer to the one request under way; then both are counted."""
        conversation = self.conversation
        simple = conversation.simple
        if simple is None or self._unasked or not self.framer.is_between or not glance.RESPONSE.is_one(data):
            return False
        status_class = glance.status_class(data)
        if not status_class or len(data) > conversation.traffic.settings.head_limit:
            return False
        conversation.simple = None
        simple.tally.add_at_once(status_class, now - conversation.began)
        return True

    def own_answers(self, now: float) -> list[Step]:
        """What faults answer in the server's place, as far as it is its turn."""
        steps: list[Step] = []
        row = self.conversation.row
        while row and (answer := row[0].answer) is not None and self.current is None:
            exchange = row.popleft()
            exchange.changed_by.append(answer.fault)
            exchange.sign(Sign.ANSWER_BEGINS)
            exchange.sign(Sign.ANSWER_WHOLE)
            if exchange.number < self.conversation.silent_from:
                due = max(now, answer.due)
                steps.append(Part(due, answer.data, "response", "head", exchange, last=True, is_ours=True))
                if answer.then_close:
                    steps.append(Close(due, answer.fault))
        if self._is_last(row):
            steps.append(Close(now, self.conversation.broken_by))
        return steps

    def _is_last(self, row: deque[Exchange]) -> bool:
        """All is answered that can be, on a connection that is to end then."""
        conversation = self.conversation
        if conversation.broken_at == NEVER_SILENT or conversation.is_silent or self.current is not None:
            return False
        return not row or row[0].number >= conversation.broken_at

    def make_parser(self) -> HeadParser:
        return ResponseParser()

    def head_done(self, parser: HeadParser) -> Body:
        assert isinstance(parser, ResponseParser)
        conversation = self.conversation
        exchange = conversation.row[0] if conversation.row else _unasked(self._now)
        response, body = parser.finish(exchange.method)
        if self._unasked:
            raise Unframed("an answer after one that nobody had asked for")
        asked = exchange.request is not None and is_upgrade(exchange.request)
        if body is Unsized.TUNNEL:
            if not asked:
                raise Unframed("an upgrade that nobody had asked for")
            conversation.over = "upgraded"
        self.current, self._status, self._first_byte = exchange, response.status, self._now
        self._is_interim = response.status < 200 and body is not Unsized.TUNNEL
        if not self._is_interim:
            self._unasked = not exchange.number
            exchange.response = response
            exchange.sign(Sign.ANSWER_BEGINS)
            if asked:
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
        else:
            self._collected += self.own_answers(self._now)

    def _not_framed(self, reason: str) -> None:
        conversation = self.conversation
        if self._collected is None or not conversation.is_treated or conversation.traffic.settings.strict:
            conversation.give_up(reason)
            return
        conversation.traffic.unframed(reason)
        self.is_deaf = True
        if not conversation.is_silent:
            self._collected.append(Close(self._now, conversation.owing))

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
