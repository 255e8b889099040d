"""What both directions of a connection in HTTP mode share: requests paired with their answers, and what faults owe.

HTTP/1.1 answers requests in the order they came (RFC 9112 §9.3.2), so that the pairing is a
row: the server's next answer is that of the first exchange in it.

What cannot be framed is a plain stream from there on (`over`), unless a fault owes something
to this connection: an answer, a silence, the swallowing of what is left of a request. Then a
stream would bring answers to the wrong request, or the end of a request without its beginning;
so nothing more passes that way, and the connection is closed when its turn comes (`owed`).

What is one whole message that nobody wants need not be framed at all: whoever sees that at a
glance begins the exchange by hand (`is_busy`, `simple`, `began`, `count`), and ends it so.

Pure: it is given bytes and times and answers with Parts; the pipes wait and write.
"""

from __future__ import annotations

from collections import deque

from chaosproxy.http.context import HttpContext, Line
from chaosproxy.http.exchange import Answer, Exchange, Sign
from chaosproxy.http.framing import Framer
from chaosproxy.http.obligations import NO_EXCHANGE, Obligations
from chaosproxy.tallies import RouteTally

__all__ = ["UPGRADED", "Conversation"]

UPGRADED = "upgraded"
"""Why these are no messages any more: both have agreed on that."""


class Conversation:
    """What both directions of a connection share."""

    __slots__ = (
        "_framers", "_row", "asks_upgrade", "began", "client_ended", "context", "copies", "count", "doubt", "is_busy",
        "obligations", "over", "passing", "reset_over", "sending", "server_ended", "simple", "unasked",
        "wakes_downstream",
    )  # fmt: skip

    def __init__(self, context: HttpContext) -> None:
        self.context = context
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
        self.doubt: str | None = None
        """Why what the client sends cannot be framed, until it is known whether a fault owes something."""
        self.unasked = False
        """An answer has come that nobody had asked for."""
        self.asks_upgrade = False
        """Whether messages follow depends on the server's next answer."""
        self.over: str | None = None
        """Why these are no messages any more, but a plain stream; None while they are."""
        self.reset_over = False
        """The connection is to be reset for that."""
        self.obligations = Obligations()
        self.client_ended = False
        """The client sends no more; whether it still listens nobody can know."""
        self.server_ended = False
        """The server answers no more."""
        self.wakes_downstream = False
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
            self.outstanding > 0
            or not all(framer.is_between for framer in self._framers)
            or self.obligations.is_silent
            or self.obligations.is_broken
            or self.unasked
            or self.doubt is not None
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
        if exchange.number < self.obligations.lost_from:
            row.append(exchange)
        else:
            exchange.is_swallowed = True
            exchange.go_unanswered()
        return exchange

    def give_up(self, reason: str) -> None:
        """It cannot be framed from here on: a stream like any other, or, where strictness is asked for, the end."""
        if self.over is None:
            self.over = reason
            self.reset_over = self.context.settings.strict
            self.context.not_framed(reason)

    def settle_doubt(self) -> None:
        """Faults have seen all that came before what cannot be framed."""
        reason, self.doubt = self.doubt, None
        if reason is None:
            return
        if self.over is not None or not self.is_treated:
            self.give_up(reason)
            return
        self.context.not_framed(reason)
        self.obligations.broken_by = self.owing
        begun = self.sending is not None and not self.sending.is_swallowed
        self.obligations.broken_at = self.count if begun else self.count + 1
        self.wakes_downstream = True

    @property
    def owing(self) -> str:
        """The fault whose work is not at its end, where there is one."""
        under_way = [] if self.sending is None else [self.sending]
        for exchange in (*under_way, *self.row):
            if exchange.is_swallowed and exchange.answer is not None:
                return exchange.answer.fault
        return self.obligations.silenced_by or self.obligations.ended_by

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """A fault answers in the server's place, which sees nothing more of the request."""
        exchange.answer, exchange.is_swallowed = answer, True
        self.wakes_downstream = True

    def send_copies(self, request: bytes, copies: int) -> None:
        """The request is to reach the server that many times more, each on a connection of its own."""
        self.copies = [*(self.copies or ()), *[request] * copies]

    def lose_answers(self, exchange: Exchange, fault: str, now: float) -> None:
        """Its answer is lost: were anything answered later, the client would take it for this answer."""
        obligations = self.obligations
        if exchange.number >= obligations.silent_from:
            return
        obligations.silent_from, obligations.silenced_by = exchange.number, fault
        for number in [one for one in self.passing if one >= exchange.number]:
            self.passing.pop(number).go_unanswered()
        self._end_silence(now)
        self.mind_business()

    def lose_requests(self, exchange: Exchange, fault: str, now: float) -> None:
        """It is lost, and what the client sends after it: answers to that would be taken for its own."""
        exchange.is_swallowed = True
        lost_from = self.obligations.lost_from = min(self.obligations.lost_from, exchange.number)
        row = self.row
        while row and row[-1].number >= lost_from:
            row.pop().go_unanswered()
        self.lose_answers(exchange, fault, now)

    def client_ends(self, now: float) -> None:
        """The client has closed, or only sends no more: that looks the same."""
        self.client_ended = True
        self._end_silence(now)

    def server_ends(self, now: float) -> None:
        """The server has closed, broken off, or said what cannot be framed."""
        self.server_ended = True
        self._end_silence(now)

    def heard(self, exchange: Exchange, now: float) -> None:
        """The last of an answer goes on to the client."""
        self.passing.pop(exchange.number, None)
        first = now if exchange.first_byte is None else exchange.first_byte
        exchange.tally.add(exchange.status, first - exchange.began, now - exchange.began)
        self._end_silence(now)
        self.mind_business()

    def end(self, at: float, fault: str) -> None:
        """The connection is to be closed then, whatever becomes of the fault."""
        if at < self.obligations.ends_at:
            self.obligations.ends_at, self.obligations.ended_by = at, fault
            self.wakes_downstream = True

    def _end_silence(self, now: float) -> None:
        """A client that has ended, and is owed nothing that came before the silence, is closed: it may be gone."""
        if self.obligations.is_silent and self.client_ended and not self._owes_answers:
            self.end(now, self.obligations.silenced_by)

    @property
    def _owes_answers(self) -> bool:
        row = self.row
        to_come = row[0].number if row and not (self.server_ended and row[0].answer is None) else NO_EXCHANGE
        return next(iter(self.passing), to_come) < self.obligations.silent_from

    @property
    def loses_requests(self) -> bool:
        """Of what the client sends now nothing reaches the server."""
        return self.obligations.loses_requests or (self.sending is not None and self.sending.is_swallowed)

    @property
    def is_treated(self) -> bool:
        """A fault has begun something here that must be brought to its end, whether or not the fault is still there."""
        if self.obligations.is_something or self.loses_requests:
            return True
        return self._row is not None and any(one.is_swallowed for one in self._row)

    def let_pass(self, now: float) -> None:
        """No fault treats messages any more: the answers that were on their way are with the client now."""
        for exchange in [*self.passing.values()]:
            self.heard(exchange, now)

    def close(self) -> None:
        """The connection has ended: what was not answered never will be."""
        for exchange in (*self.row, *self.passing.values()):
            exchange.go_unanswered()
        self.row.clear()
        self.passing.clear()
