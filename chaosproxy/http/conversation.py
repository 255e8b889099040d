"""One connection in HTTP mode: what its two directions share, requests paired with their answers.

HTTP/1.1 answers requests in the order they came (RFC 9112 §9.3.2), so that the pairing is a
row: the server's next answer is that of the first exchange in it.

Pure: it knows of times and exchanges; the pipes wait and write. `ways` are its two directions.
"""

from __future__ import annotations

from collections import deque

from chaosproxy.faults.base import NEVER
from chaosproxy.http.exchange import Answer, Exchange, Sign
from chaosproxy.http.traffic import Line, Traffic
from chaosproxy.tallies import RouteTally

__all__ = ["NEVER_SILENT", "Conversation"]

NEVER_SILENT = 2**62


class Conversation:
    """What both directions of a connection share."""

    __slots__ = (
        "_row", "asks_upgrade", "began", "client_ended", "copies", "count", "ended_by", "ends_at", "lost_from", "over",
        "passing", "reset_over", "sending", "silenced_by", "silent_from", "simple", "stirred", "traffic",
    )  # fmt: skip

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._row: deque[Exchange] | None = None
        """Exchanges whose answers the server, or a fault, still has to give; made when first needed."""
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
        """No exchange is under way."""
        return self.simple is None and not self._row

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
