"""Publish the counts of the turns of one proxy.

They are published once a second, and before each change of the proxy's faults: an interval never straddles the
beginning or the end of a fault, so its counts belong to one side of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice

from chaosproxy.events import Event, TurnsCounted
from chaosproxy.net.placement.active_faults import ActiveFaults
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.turn_counts import ProxyTurns
from chaosproxy.net.stream.turns import Turns
from chaosproxy.net.timer.scheduler import Clock
from chaosproxy.quantiles import seconds_of
from chaosproxy.tallies import ProxyTally

__all__ = ["TurnReport"]

_LONGEST_S = 1.0
"""Seconds between two looks, and so the longest interval."""
_AT_ONCE = 100
"""Connections that are looked at in one step, which takes 50 µs."""


class TurnReport:
    """Publishes a `TurnsCounted` for each interval in which something happened, or a turn was open."""

    def __init__(
        self,
        turns: ProxyTurns,
        tally: ProxyTally,
        faults: ActiveFaults,
        publish: Callable[[Event], None],
        clock: Clock,
    ) -> None:
        self._turns, self._tally, self._faults = turns, tally, faults
        self._publish, self._clock = publish, clock
        self._opened = self._closed = 0
        """The numbers of connections at the end of the last interval."""
        self._touched: dict[str, tuple[int, int]] = {}
        self._began_at = self._looked_at = clock()
        """The begin of the interval, and the time of the last look."""
        self._oldest: Turns | None = None
        self._oldest_at = self._began_at
        """The connection with the oldest turn that was open at the last look, and the begin of that turn."""
        self._longest_answer_s = 0.0
        """Since the last interval; see `TurnsCounted`."""
        self._is_idle = False
        """True if there was nothing to look at and nothing is to come, unless a client is accepted."""
        self._intervals: deque[Iterator[TurnsCounted | None]] = deque()
        """Intervals that are over and not counted yet, since they have many turns."""

    def before_change(self, name: str) -> None:
        """End the interval, since the fault of that name is about to be added, replaced or removed.

        It goes on if nothing has happened in it, so that many changes at once take no longer than one by one.
        """
        self._wake()
        tally = self._tally
        is_new = tally.opened != self._opened or sum(tally.closed.values()) != self._closed or self._turns.has_turns
        if is_new or self._is_touched({name: self._counts(name)}):
            self.end_interval()

    def end_interval(self) -> None:
        """End the interval now. One with few turns is published at once, others in the steps of `look_at`."""
        self._wake()
        open_turns = self._tally.open_turns
        now, opened, closed = self._clock(), self._tally.opened, sum(self._tally.closed.values())
        touched = {name: (one.tally.connections, one.tally.messages) for name, one in self._faults.by_name()}
        taken, began_at = self._turns.take(now), self._began_at
        is_new = opened != self._opened or closed != self._closed or self._is_touched(touched)
        longest_answer_s, self._longest_answer_s = self._longest_answer_s, 0.0
        if is_new or open_turns or longest_answer_s or taken.has_turns:
            counted = TurnsCounted(
                at=now, proxy=taken.proxy, seconds=now - began_at, opened=opened - self._opened,
                closed=closed - self._closed, open=open_turns, faults=touched,
                longest_open_s=self._longest_open_s(now), longest_answer_s=longest_answer_s,
                gave_up=taken.gave_up, failed=taken.failures, repeated=taken.repeated,
            )  # fmt: skip
            self._intervals.append(taken.count_into(counted))
            if taken.is_small and len(self._intervals) == 1:
                self.publish_all()
        self._began_at, self._opened, self._closed, self._touched = now, opened, closed, touched

    def _longest_open_s(self, now: float) -> float:
        """Return the age of the oldest open turn; if it has ended since the last look, its age then."""
        if self._oldest is None:
            return 0.0
        is_open = self._oldest.open_since == self._oldest_at
        return max(0.0, (now if is_open else self._looked_at) - self._oldest_at)

    def _wake(self) -> None:
        """End the idle time, or the interval would include it, and have a rate near 0."""
        if self._is_idle:
            self._began_at = max(self._began_at, self._clock() - _LONGEST_S)
            self._is_idle = False

    def _counts(self, name: str) -> tuple[int, int]:
        fault = self._faults.named(name)
        return (0, 0) if fault is None else (fault.tally.connections, fault.tally.messages)

    def _is_touched(self, touched: Mapping[str, tuple[int, int]]) -> bool:
        """Return whether a fault has acted since the end of the last interval."""
        before = self._touched
        return any(counts != before.get(name, (0, 0)) for name, counts in touched.items())

    def publish_all(self) -> None:
        """Publish what is not published yet."""
        for _ in self._publish_some():
            pass

    def look_at(self, connections: Collection[Connection]) -> Iterator[None]:
        """Look at the turns of all connections, some in each step, end the interval, and publish its counts."""
        if self._is_idle and not connections and self._opened == self._tally.opened:
            return
        began = oldest_at = self._clock()
        oldest: Turns | None = None
        open_turns = 0
        left = iter(list(connections))
        while some := list(islice(left, _AT_ONCE)):
            for connection in some:
                connection.look_for_reset()
                turns = connection.turns
                turns.look(began, connection.downstream.bytes)
                if turns.longest_answer_s:
                    if turns.shape in ("turns", "server-first"):
                        self._longest_answer_s = max(self._longest_answer_s, turns.longest_answer_s)
                    turns.longest_answer_s = 0.0
                if (since := turns.open_since) is not None:
                    open_turns += 1
                    if oldest is None or since < oldest_at:
                        oldest, oldest_at = turns, since
            yield
        self._tally.open_turns, self._looked_at = open_turns, began
        self._oldest, self._oldest_at = oldest, oldest_at
        self.end_interval()
        yield from self._publish_some()
        self._is_idle = not connections and not self._intervals and not self._touched

    def _publish_some(self) -> Iterator[None]:
        while self._intervals:
            counted = next(self._intervals[0])
            if counted is None:
                yield
            else:
                del self._intervals[0]
                self._add(counted)
                self._publish(counted)

    def _add(self, counted: TurnsCounted) -> None:
        """Add the counts to those of the proxy."""
        tally = self._tally
        for result in ("answered", "failed", "gave_up", "repeated"):
            tally.turns[result] += getattr(counted, result)
        for bucket, times in counted.felt.items():
            tally.turn_seconds.add_many(seconds_of(bucket), times)
