"""Counts of the turns of one proxy, and the failed turns of the process that others may repeat. Pure.

Memory is bounded, whatever the traffic: for each of at most 64 hosts per proxy, the times of FOLDED_AT turns and at
most 5400 counts; and FAILED_KEPT failed turns in the process, of 300 bytes each. Times that were kept for a second made
a round trip cost 1 to 2 % more, since each turn then touched new memory.

Answered turns are counted per host of the client, by the seconds felt. Failed turns are kept with a digest
of their first bytes, so that their repetition is recognised.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaosproxy.events import Event, TurnsCounted
from chaosproxy.quantiles import buckets_of, count, shortened

__all__ = [
    "FAILED_KEPT", "FOLDED_AT", "MOST_HOSTS", "REPEATED_WITHIN", "Answers", "FailedTurn", "FailedTurns", "HostTurns",
    "ProxyTurns", "Taken",
]  # fmt: skip

MOST_HOSTS = 64
"""Hosts of clients that are counted on their own."""
REPEATED_WITHIN = 60.0
"""Seconds after a failed turn in which another is its repetition."""
FAILED_KEPT = 4096
"""Failed turns that are remembered."""
FOLDED_AT = 64
"""Answered turns that are counted together, in 4 µs."""
_SLICE = 1024
"""Delayed turns that are counted in one slice, in 0.3 ms."""
_SMALL = 4096
"""Different times that are counted at once, in 1.2 ms."""


class HostTurns:
    """The answered turns of one host of clients on one proxy, since they were last taken."""

    __slots__ = ("_answered", "_counts", "_first_at", "connections", "felt", "last_at", "limit", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.felt: list[float] = []
        """The seconds felt of the latest turns, which are not counted yet. The readers keep this list."""
        self.limit = 0
        """The length of `felt` at which it must be turned over before the next; 0 before the first turn."""
        self.last_at = self._first_at = 0.0
        """The times of the latest answer and of the first."""
        self.connections = 0
        """Open connections of the host."""
        self._answered = 0
        self._counts: Counter[int] = Counter()
        """By the seconds felt, `shortened`."""

    @property
    def has_turns(self) -> bool:
        """True if a turn was answered since they were last taken."""
        return bool(self.felt or self._answered)

    def count(self, now: float, felt: float) -> None:
        """Count a turn that is answered now. The readers do the same inline."""
        self.last_at = now
        if len(self.felt) >= self.limit:
            self.turn_over()
        self.felt.append(felt)

    def turn_over(self) -> None:
        """Make room in `felt` for the turn that was answered at `last_at`."""
        if not self.limit:
            self._first_at = self.last_at
        self.limit = FOLDED_AT
        self._fold()

    def forget(self, opened_at: float) -> None:
        """Do not count the latest turn after all, if it is the one that was opened at that time."""
        if self.felt and self.felt[-1] == self.last_at - opened_at:
            del self.felt[-1]
            if not self.has_turns:
                self.limit = 0

    def take(self) -> Answers:
        """Return the answers since the last call."""
        self._fold()
        taken = Answers(self._answered, self._first_at, self.last_at, self._counts)
        self._answered, self._counts, self.limit = 0, Counter(), 0
        return taken

    def _fold(self) -> None:
        self._answered += len(self.felt)
        self._counts.update(shortened(self.felt))
        self.felt.clear()


@dataclass(slots=True)
class Answers:
    """The turns of one host that were answered in an interval."""

    number: int
    first_at: float
    last_at: float
    felt: Counter[int]
    """The numbers by the seconds felt, `shortened`."""


@dataclass(slots=True)
class FailedTurn:
    """A turn that failed, or on which the client gave up."""

    proxy: str
    connection: int
    turn: int
    ended_at: float
    attempt: int
    """1 if it was not a repetition itself."""
    body: str = ""
    """A digest of its request's body, in HTTP mode; empty if it is not known."""

    def may_be(self, body: str) -> bool:
        """Return whether a request that begins equally, and has this body, may be the same."""
        return not body or not self.body or body == self.body


class FailedTurns:
    """The failed turns of the process, by host and digest, so that their repetitions are recognised."""

    def __init__(self, key: bytes | None = None) -> None:
        """`key` makes digests comparable within this process only: the bytes cannot be guessed from them."""
        self._key = os.urandom(16) if key is None else key
        self.by_bytes: dict[tuple[str, str], deque[FailedTurn]] = {}
        """The turns by host and digest, those of a key in the order of their ends; the oldest keys come first."""
        self._count = 0

    def digest(self, begin: bytes) -> str:
        """Return a digest of the first bytes of a turn; empty for none."""
        return hashlib.blake2b(begin, digest_size=8, key=self._key).hexdigest() if begin else ""

    def note(self, host: str, digest: str, failed: FailedTurn) -> None:
        """Remember a failed turn."""
        if not digest:
            return
        turns = self.by_bytes.pop((host, digest), None) or deque()
        self.by_bytes[host, digest] = turns  # now the latest
        turns.append(failed)
        self._count += 1
        while self._count > FAILED_KEPT:
            self._drop_oldest()

    def tells_bodies(self, host: str, digest: str) -> bool:
        """Return whether the body of a request decides which of the failed turns it repeats."""
        return any(one.body for one in self.by_bytes.get((host, digest), ()))

    def repeated(
        self, host: str, digest: str, connection: tuple[str, int], now: float, body: str = ""
    ) -> FailedTurn | None:
        """Return the failed turn that one which was opened at `now` repeats, and forget it; None if it repeats none.

        Of several equal ones it is that of the same connection, or else the first that ended. `body` is the digest of
        its request's body; empty if it is not known.
        """
        self._drop_old(now)
        turns = self.by_bytes.get((host, digest), deque())
        # A request may be known long after it began.
        fitting = [one for one in turns if one.ended_at <= now and one.may_be(body)]
        if not fitting:
            return None
        found = next((one for one in fitting if (one.proxy, one.connection) == connection), fitting[0])
        turns.remove(found)
        self._forget_one((host, digest), turns)
        return found

    def forget(self, host: str, digest: str, turn: tuple[str, int, int]) -> None:
        """Forget a turn, given by its proxy, connection and number, that has not failed after all."""
        turns = self.by_bytes.get((host, digest), deque())
        for one in turns:
            if (one.proxy, one.connection, one.turn) == turn:
                turns.remove(one)
                self._forget_one((host, digest), turns)
                return

    def _drop_old(self, now: float) -> None:
        while self.by_bytes:
            latest = next(iter(self.by_bytes.values()))[-1]
            if now - latest.ended_at <= REPEATED_WITHIN:
                break
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        key, turns = next(iter(self.by_bytes.items()))
        turns.popleft()
        self._forget_one(key, turns)

    def _forget_one(self, key: tuple[str, str], turns: deque[FailedTurn]) -> None:
        self._count -= 1
        if not turns:
            del self.by_bytes[key]


class ProxyTurns:
    """The turns of one proxy since they were last taken."""

    def __init__(self, proxy: str, publish: Callable[[Event], None], failed: FailedTurns) -> None:
        self.proxy, self.publish, self.failed = proxy, publish, failed
        self.service: str | None = None
        """The service of which the proxy is an alternative."""
        self.greets = False
        """True once the server of a connection has spoken before its client."""
        self.gave_up = self.failures = self.repeated = 0
        self.delayed: list[tuple[float, float]] = []
        """Of answered turns on which faults acted: the seconds felt, and those that the server took."""
        self._hosts: dict[str, HostTurns] = {}

    def whose(self, host: str) -> str:
        """Return whose failed turns a client of a host may repeat: its own here, or at an alternative of the service.

        Equal requests to other proxies have nothing to do with it: all of them may have a `GET /health`.
        """
        return f"service {self.service} {host}" if self.service else f"proxy {self.proxy} {host}"

    def host_of(self, client: str) -> HostTurns:
        """Return the counts of a client's host, whose connections they count from now on."""
        name = client.rpartition(":")[0] or client
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= MOST_HOSTS:
                name = ""
            host = self._hosts.setdefault(name, HostTurns(name))
        host.connections += 1
        return host

    @property
    def has_turns(self) -> bool:
        """True if a turn was answered, has failed or was given up since the last `take`."""
        return bool(self.gave_up or self.failures or any(host.has_turns for host in self._hosts.values()))

    def take(self, now: float) -> Taken:
        """Return the turns since the last call, and begin the next interval."""
        answers: dict[str, Answers] = {}
        for host in list(self._hosts.values()):
            if host.has_turns:
                answers[host.name] = host.take()
            elif not host.connections:
                del self._hosts[host.name]
        taken = Taken(self.proxy, now, answers, self.delayed, self.gave_up, self.failures, self.repeated)
        self.delayed, self.gave_up, self.failures, self.repeated = [], 0, 0, 0
        return taken


@dataclass(slots=True)
class Taken:
    """The turns of a proxy in an interval, which are counted in slices."""

    proxy: str
    at: float
    """The end of the interval."""
    answers: dict[str, Answers]
    """By host of the client."""
    delayed: list[tuple[float, float]]
    gave_up: int
    failures: int
    repeated: int

    @property
    def has_turns(self) -> bool:
        """True if a turn was answered, has failed or was given up."""
        return bool(self.answers or self.gave_up or self.failures)

    @property
    def is_small(self) -> bool:
        """True if they can be counted in one slice."""
        return sum(len(one.felt) for one in self.answers.values()) + len(self.delayed) <= _SMALL

    def count_into(self, counted: TurnsCounted) -> Iterator[TurnsCounted | None]:
        """Count the turns into an event; yield None after each slice of the work, and the event at the end."""
        felt: Counter[int] = Counter()
        for host, answers in self.answers.items():
            counted.clients[host] = (answers.number, self.at - answers.first_at, self.at - answers.last_at)
            counted.answered += answers.number
            felt.update(buckets_of(answers.felt))
            yield None
        service = Counter(felt)
        for begin in range(0, len(self.delayed), _SLICE):
            some = self.delayed[begin : begin + _SLICE]
            service.subtract(count(seen for seen, _ in some))
            service.update(count(taken for _, taken in some))
            yield None
        counted.felt, counted.service = dict(felt), {bucket: number for bucket, number in service.items() if number > 0}
        yield counted
