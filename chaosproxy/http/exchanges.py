"""The exchanges of one connection, in the order in which they must be answered.

A server responds to requests in the order in which they arrived (RFC 9112 §9.3.2). So exchanges
wait in one queue, and the server's next response belongs to the first of them. An exchange leaves
the queue when its response is whole. While that response passes through faults, the exchange is in
`delivering`.

If a chunk is one complete message that no fault treats, no Exchange is made for it. The readers in
net.http begin and end such a *simple* exchange by setting attributes, under this contract:

    is_busy   a request may pass unframed only if this is False; it then sets it to True
    simple    a request that passes unframed sets it to its Line; a response may pass unframed only
              if it is set, and then clears it and `is_busy`; all other messages call `unfold`
    count     a request that passes unframed adds one
    began     a request that passes unframed sets it to the current time
"""

from __future__ import annotations

from collections import deque

from chaosproxy.http.context import Line
from chaosproxy.http.exchange import Exchange, Sign
from chaosproxy.http.head import RequestHead
from chaosproxy.tallies import RouteTally

__all__ = ["Exchanges"]


class Exchanges:
    """The exchanges of one connection that have not ended."""

    __slots__ = ("_waiting", "began", "count", "delivering", "is_busy", "sending", "simple")

    def __init__(self) -> None:
        self.is_busy = False
        """True if a message is under way in either direction, an exchange waits, or messages cannot pass unframed."""
        self.simple: Line | None = None
        """The request line of the only exchange under way, if its request passed unframed; else None."""
        self.count = 0
        """The number of exchanges begun."""
        self.began = 0.0
        """The time at which the simple exchange began."""
        self.sending: Exchange | None = None
        """The exchange whose request is under way."""
        self.delivering: dict[int, Exchange] = {}
        """Exchanges whose responses are whole and still pass through the faults; by number, in order."""
        self._waiting: deque[Exchange] | None = None
        """The exchanges that wait for a response; None until first needed."""

    @property
    def outstanding(self) -> int:
        """Return the number of exchanges whose responses have not been delivered completely."""
        return (0 if self._waiting is None else len(self._waiting)) + (self.simple is not None) + len(self.delivering)

    @property
    def waiting(self) -> deque[Exchange]:
        """Return the exchanges that wait for a response, in order, including the simple one."""
        return self.unfold()

    @property
    def are_swallowed(self) -> bool:
        """Return True if the request of a waiting exchange is swallowed."""
        return self._waiting is not None and any(one.is_swallowed for one in self._waiting)

    def unfold(self) -> deque[Exchange]:
        """Make an Exchange of the simple one, since a fault may treat its response; return all that wait."""
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = deque()
        if self.simple is not None:
            simple, self.simple = self.simple, None
            exchange = Exchange(self.count, simple.method, simple.tally, self.began)
            exchange.sign(Sign.REQUEST_WHOLE)
            waiting.append(exchange)
        return waiting

    def begin(self, head: RequestHead, tally: RouteTally, now: float) -> Exchange:
        """Begin the next exchange; the caller adds it to those that wait."""
        self.unfold()
        self.count += 1
        self.sending = exchange = Exchange(self.count, head.method, tally, now)
        exchange.request = head
        return exchange

    def take_first(self, exchange: Exchange) -> None:
        """Remove an exchange from the front of the queue, since its response is whole; skip one that is not there."""
        waiting = self.waiting
        if waiting and waiting[0] is exchange:
            waiting.popleft()

    def end_waiting(self, number: int) -> None:
        """End the waiting exchanges from `number` on, since their requests are lost."""
        waiting = self.waiting
        while waiting and waiting[-1].number >= number:
            waiting.pop().leave_unanswered()

    def end_delivering(self, number: int) -> None:
        """End the exchanges in delivery from `number` on, since their responses are lost."""
        for one in [one for one in self.delivering if one >= number]:
            self.delivering.pop(one).leave_unanswered()

    def close(self) -> None:
        """End all exchanges without a response, since the connection has ended."""
        for exchange in (*self.waiting, *self.delivering.values()):
            exchange.leave_unanswered()
        self.waiting.clear()
        self.delivering.clear()
