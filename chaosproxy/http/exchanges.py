"""The exchanges of one connection, in the order in which they must be answered.

HTTP/1.1 answers requests in the order in which they came (RFC 9112 §9.3.2). So exchanges wait
in one row, and the server's next response belongs to the first of them. A response that is
whole leaves the row; while it is on its way through faults, its exchange is `delivering`.

A chunk that is one whole message of no interest to any fault makes no Exchange. The readers in
net.http begin and end such a simple exchange by hand; this is the contract with them:

    is_busy   a request that finds it false, and passes unframed, sets it
    simple    a request that passes unframed sets it, a response that finds it set and passes
              unframed clears it, and `is_busy`; all others let it be unfolded
    count     a request that passes unframed adds one
    began     a request that passes unframed sets it to the present time
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
        """A message is under way in either direction, an exchange waits, or messages cannot pass unframed."""
        self.simple: Line | None = None
        """The request line of the one exchange under way, as long as that has passed unframed."""
        self.count = 0
        """Exchanges begun."""
        self.began = 0.0
        """When the simple exchange began."""
        self.sending: Exchange | None = None
        """The exchange whose request is under way."""
        self.delivering: dict[int, Exchange] = {}
        """Exchanges whose responses are whole, and still on their way through the faults; by number, in order."""
        self._waiting: deque[Exchange] | None = None
        """Made when first needed."""

    @property
    def outstanding(self) -> int:
        """Exchanges whose responses have not been delivered in full."""
        return (0 if self._waiting is None else len(self._waiting)) + (self.simple is not None) + len(self.delivering)

    @property
    def waiting(self) -> deque[Exchange]:
        """The exchanges that wait for a response, in order, with the simple one among them."""
        return self.unfold()

    @property
    def are_swallowed(self) -> bool:
        """The request of an exchange that waits is swallowed."""
        return self._waiting is not None and any(one.is_swallowed for one in self._waiting)

    def unfold(self) -> deque[Exchange]:
        """Make an Exchange of the simple one: a fault may treat its response."""
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
        """Begin the next exchange; its request is under way, and it does not wait yet."""
        self.unfold()
        self.count += 1
        self.sending = exchange = Exchange(self.count, head.method, tally, now)
        exchange.request = head
        return exchange

    def take_first(self, exchange: Exchange) -> None:
        """Take an exchange out of the row: its response is whole. One whose request was lost is not there."""
        waiting = self.waiting
        if waiting and waiting[0] is exchange:
            waiting.popleft()

    def end_waiting(self, number: int) -> None:
        """End the exchanges that wait, from that number on: their requests are lost."""
        waiting = self.waiting
        while waiting and waiting[-1].number >= number:
            waiting.pop().leave_unanswered()

    def end_delivering(self, number: int) -> None:
        """End the exchanges that are being delivered, from that number on: their responses are lost."""
        for one in [one for one in self.delivering if one >= number]:
            self.delivering.pop(one).leave_unanswered()

    def close(self) -> None:
        """End all exchanges: the connection has ended, and nothing more is answered."""
        for exchange in (*self.waiting, *self.delivering.values()):
            exchange.leave_unanswered()
        self.waiting.clear()
        self.delivering.clear()
