"""Builders of journals: turns, connections and failures by hand, or of clients that follow a policy.

A `Story` collects single turns with exact times, and counts them as the data plane does: per proxy in intervals of at
most one second, which end at each cut (a change of faults), and none where nothing happened and no turn was open.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from chaosproxy.events import (
    AnswerLate,
    ClientGaveUp,
    ConnectionAttempt,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    FaultAdded,
    ProxyAdded,
    TurnFailed,
    TurnsCounted,
)
from chaosproxy.quantiles import count
from chaosproxy.reaction.facts import Facts, facts_of
from chaosproxy.reaction.window import Window

APP = "10.0.0.1"


@dataclass
class Turn:
    opened: float
    ended: float
    host: str
    result: str
    service_s: float


@dataclass
class Story:
    """Turns and events, from which `facts` makes a journal."""

    cuts: tuple[float, ...] = ()
    phase: float = 0.0
    """The times at which intervals end, within each second."""
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    connections: int = 0

    def proxy(self, name: str, service: str | None = None, node: str | None = "app") -> None:
        self.turns[name] = []
        self.events.append(
            ProxyAdded(proxy=name, listen="l", upstream="u", by="file", service=service, from_node=node, to_node=name)
        )

    def good(self, proxy: str, at: float, felt: float = 0.002, host: str = APP, service_s: float | None = None) -> None:
        self.turns[proxy].append(Turn(at - felt, at, host, "good", felt if service_s is None else service_s))

    def fail(
        self, proxy: str, at: float, waited: float = 0.001, host: str = APP, connection: int | None = None
    ) -> None:
        self.turns[proxy].append(Turn(at - waited, at, host, "failed", 0))
        self.events.append(
            TurnFailed(
                at=at, proxy=proxy, connection=self._number(connection), turn=1, client=f"{host}:9", digest="d",
                reason="injected", waited_s=waited,
            )
        )  # fmt: skip

    def give_up(self, proxy: str, at: float, waited: float, host: str = APP, connection: int | None = None) -> None:
        self.turns[proxy].append(Turn(at - waited, at, host, "gave_up", 0))
        self.events.append(
            ClientGaveUp(
                at=at, proxy=proxy, connection=self._number(connection), turn=1, client=f"{host}:9", digest="d",
                waiting_for="answer", waited_s=waited, quiet_s=waited, how="fin",
            )
        )  # fmt: skip

    def late(self, proxy: str, at: float, late_s: float) -> None:
        self.events.append(
            AnswerLate(
                at=at, proxy=proxy, connection=1, turn=1, client=f"{APP}:9", digest="d", waited_s=1.0, late_s=late_s
            )
        )

    def open(self, proxy: str, at: float, host: str = APP, dial_s: float = 0.0) -> int:
        number = self._number(None)
        client = f"{host}:{number}"
        self.events.append(ConnectionOpened(at=at, proxy=proxy, connection=number, client=client, dial_s=dial_s))
        return number

    def close(self, proxy: str, at: float, connection: int, host: str = APP, said: int = 1) -> None:
        self.events.append(
            ConnectionClosed(
                at=at, proxy=proxy, connection=connection, client=f"{host}:9", cause="client", how="fin", fault="",
                error="", first="client", client_ended_s=1.0, server_ended_s=None, detail="", lasted_s=1.0,
                bytes_upstream=said, bytes_downstream=1,
            )
        )  # fmt: skip

    def refuse(self, proxy: str, at: float, suppressed: int = 0, host: str = APP, met: str = "refused") -> None:
        assert met in ("refused", "unanswered", "reset")
        self.events.append(
            ConnectionAttempt(at=at, proxy=proxy, client=f"{host}:9", met=met, fault="f", suppressed=suppressed)
        )

    def fault(self, proxy: str, at: float, type: str, mode: str = "") -> None:
        self.events.append(
            FaultAdded(at=at, proxy=proxy, fault="f", type=type, effective_mode=mode, mode_reason="", by="rest")
        )

    def steady(
        self, proxy: str, begin: float, end: float, rate: float = 50, host: str = APP, felt: float = 0.002
    ) -> None:
        """Add good turns at even distances."""
        for number in range(round((end - begin) * rate)):
            self.good(proxy, begin + (number + 0.5) / rate, felt, host)

    def facts(self, end: float) -> Facts:
        counted = [one for proxy in self.turns for one in self._count(proxy, end)]
        kept = [one for one in self.events if one.at <= end]
        return facts_of([*kept, *counted], end=end)

    def _number(self, connection: int | None) -> int:
        self.connections += connection is None
        return self.connections if connection is None else connection

    def _count(self, proxy: str, end: float) -> list[TurnsCounted]:
        ticks = {number + self.phase for number in range(1, int(end) + 1)} | {*self.cuts, end}
        edges = sorted(one for one in ticks if 0 < one <= end)
        turns = sorted(self.turns[proxy], key=lambda one: one.ended)
        found, begin, index, pending = [], 0.0, 0, sorted(turns, key=lambda one: one.opened)
        opened = 0
        for at in edges:
            here = []
            while index < len(turns) and turns[index].ended <= at:
                here.append(turns[index])
                index += 1
            while opened < len(pending) and pending[opened].opened <= at:
                opened += 1
            still = opened - index
            if here or still:
                found.append(_counted(proxy, at, at - begin, here, still))
            begin = at
        return found


def _counted(proxy: str, at: float, seconds: float, turns: list[Turn], still: int) -> TurnsCounted:
    good = [one for one in turns if one.result == "good"]
    clients: dict[str, tuple[int, float, float]] = {}
    for one in good:
        number, first, _ = clients.get(one.host, (0, at - one.ended, 0.0))
        clients[one.host] = (number + 1, first, at - one.ended)
    return TurnsCounted(
        at=at, proxy=proxy, seconds=seconds, answered=len(good), open=still,
        failed=sum(one.result == "failed" for one in turns), gave_up=sum(one.result == "gave_up" for one in turns),
        felt=count(one.ended - one.opened for one in good), service=count(one.service_s for one in good),
        clients=clients,
    )  # fmt: skip


def window(started: float, ended: float | None, *proxies: str, type: str = "reset") -> Window:
    return Window(tuple(f"{one}/f" for one in proxies), (type,), frozenset(proxies), started, ended)


@dataclass
class Policy:
    """The ways of a client of one host: workers that pace themselves, or wait for each other."""

    workers: int = 5
    pace: float = 0.05
    """Mean seconds between the end of a turn of a worker and its next."""
    timeout: float | None = None
    """The wait until a worker gives up; None if its attempts fail at once."""
    breaker: int | None = None
    """Failures in a row after which it opens."""
    open_s: float = 2.0
    backoff: Callable[[random.Random, int], float] | None = None
    """Seconds to wait after the nth failure in a row of a worker; else its pace."""
    exits_after: int | None = None
    """Failures in a row after which the client ends."""
    restarts_after: float | None = None
    failover_after: int | None = None
    """Failures in a row after which all workers use the other proxy."""
    ends: float = 60.0
    lifetime: int | None = None
    """Turns after which a connection is replaced."""
    slow: float | None = None
    """Seconds for which good turns are felt in the window, instead of failing."""


@dataclass
class Seen:
    """The truth about a simulated client."""

    opened_after: int | None = None
    opened_at: float | None = None
    trials: int = 0
    closed_at: float | None = None
    moved_at: float | None = None
    first_failure: float | None = None


def simulate(
    story: Story, rng: random.Random, policy: Policy, fault: Window, proxy: str, other: str = "", host: str = APP
) -> Seen:
    """Add the turns of one client, and return the truth."""
    seen, row, state, until, place, over = Seen(), 0, "closed", 0.0, proxy, False
    rows = [0] * policy.workers
    lives = [policy.lifetime or 0] * policy.workers
    numbers = {(w, proxy): story.open(proxy, 0.001, host) for w in range(policy.workers)}
    queue: list[tuple[float, int, str]] = [(rng.uniform(0.01, 0.06), w, "start") for w in range(policy.workers)]
    heapq.heapify(queue)
    doing: dict[int, tuple[float, str, bool, bool]] = {}

    def is_down(at: float, where: str) -> bool:
        return where in fault.proxies and fault.has(at) and policy.slow is None

    while queue:
        at, w, step = heapq.heappop(queue)
        if step == "start":
            if at > policy.ends or over:
                continue
            if state == "open" and at >= until:
                state = "half-open"
            elif state in ("open", "half-open"):
                heapq.heappush(queue, (at + _pace(rng, policy), w, "start"))
                continue
            if (w, place) not in numbers:
                numbers[w, place] = story.open(place, at - 0.0005, host)
            bad = is_down(at, place)
            usual = rng.lognormvariate(-6.2, 0.3)
            felt = policy.slow if policy.slow and fault.has(at) and place in fault.proxies else usual
            doing[w] = (at, place, bad, state == "half-open")
            heapq.heappush(queue, (at + ((policy.timeout or 0.002) if bad else felt), w, "end"))
            continue
        opened, where, bad, is_trial = doing.pop(w)
        if over:
            continue
        connection = numbers[w, where]
        if bad:
            fail = story.give_up if policy.timeout else story.fail
            fail(where, at, at - opened, host, connection)
            story.close(where, at, numbers.pop((w, where)), host)
            row, rows[w] = row + 1, rows[w] + 1
            seen.first_failure = seen.first_failure or at
            if policy.breaker and (is_trial or (state == "closed" and row >= policy.breaker)):
                if seen.opened_at is None:
                    seen.opened_after, seen.opened_at = row, at
                seen.trials += is_trial
                state, until = "open", at + policy.open_s
            if policy.exits_after and row >= policy.exits_after:
                over = policy.restarts_after is None
                if not over:  # all workers begin again later
                    row, rows, doing = 0, [0] * policy.workers, {}
                    again = at + (policy.restarts_after or 0)
                    queue = [(again + rng.uniform(0, 0.05), one, "start") for one in range(policy.workers)]
                    heapq.heapify(queue)
                    continue
            if policy.failover_after and row >= policy.failover_after and place == proxy:
                place = other
        else:
            story.good(where, at, at - opened, host)
            row = rows[w] = 0
            if is_trial:
                state, seen.trials, seen.closed_at = "closed", seen.trials + 1, at
            if where == other and seen.moved_at is None:
                seen.moved_at = at
            lives[w] -= 1
            if policy.lifetime and lives[w] <= 0:
                story.close(where, at, numbers.pop((w, where)), host)
                lives[w] = rng.randint(1, policy.lifetime)
        wait = policy.backoff(rng, rows[w]) if bad and policy.backoff else _pace(rng, policy)
        heapq.heappush(queue, (at + wait, w, "start"))
    return seen


def _pace(rng: random.Random, policy: Policy) -> float:
    return policy.pace * rng.uniform(0.8, 1.2)
