"""Journals of clients that are known: their time-outs, their retries, and what else happens at the same time.

A `World` has one proxy, `db`, with a fault between two times under which no answer comes. Clients are simulated one by
one, then all their turns are put in the order of time. Repetitions are found as the proxy does it (`FailedTurns`).
Everything is a function of the seed.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from chaosproxy.events import (
    ClientGaveUp,
    ConnectionOpened,
    Event,
    FaultAdded,
    FaultRemoved,
    ProxyAdded,
    TurnRepeated,
    TurnsCounted,
)
from chaosproxy.net.stream.turn_counts import FailedTurn, FailedTurns
from chaosproxy.quantiles import bucket_of
from chaosproxy.reaction.facts import Facts, facts_of

Law = Literal["no", "none", "constant", "linear", "exponential"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The way in which a client treats silence."""

    timeout_s: float | None = 1.0
    """None: it waits for ever."""
    noise_s: float = 0.003
    """The most by which it is late."""
    law: Law = "no"
    first_s: float = 0.1
    factor: float = 2.0
    step_s: float = 0.1
    cap_s: float | None = None
    jitter: float = 0.0
    """Share of a gap by which it may be longer or shorter."""
    has_full_jitter: bool = False
    attempts: int | None = None
    """Of a piece of work, with the first; None for no bound."""

    def gap(self, number: int, dice: random.Random) -> float:
        """Return the gap after the attempt `number`, from 0."""
        late = dice.uniform(0.0, self.noise_s)
        if self.law == "none":
            return late
        grown = {
            "constant": self.first_s,
            "linear": self.first_s + self.step_s * number,
            "exponential": self.first_s * self.factor ** min(number, 60),
        }[self.law]
        capped = grown if self.cap_s is None else min(grown, self.cap_s)
        if self.has_full_jitter:
            return dice.uniform(0.0, capped) + late
        return capped * dice.uniform(1 - self.jitter, 1 + self.jitter) + late


@dataclass(kw_only=True)
class Turn:
    """One turn of a client."""

    host: str
    connection: int
    number: int
    opened: float
    ended: float
    is_answered: bool
    said: str
    """The bytes that it begins with."""
    cause: Literal["policy", "killed", "left", ""] = ""
    """The reason why it ended unanswered."""


@dataclass
class World:
    """One proxy, its clients, and a fault."""

    dice: random.Random
    fault_at: float = 20.0
    healed_at: float = 50.0
    end: float = 65.0
    turns: list[Turn] = field(default_factory=list)
    pieces: list[list[float]] = field(default_factory=list)
    """The gaps of each piece of work that failed at least once, complete or not."""
    completed: list[int] = field(default_factory=list)
    """The attempts of each piece of work that was given up."""
    _connections: Iterator[int] = field(default_factory=lambda: count(1))
    _work: Iterator[int] = field(default_factory=lambda: count(1))

    def is_faulty(self, at: float) -> bool:
        return self.fault_at <= at < self.healed_at

    def client(
        self,
        policy: Policy,
        host: str,
        *,
        think: Callable[[], float],
        start: float = 0.0,
        until: float = float("inf"),
        same: str = "",
        handshake: str = "",
        service: Callable[[], float] = lambda: 0.002,
    ) -> None:
        """Add a client that sends a request, waits for its answer, thinks, and so on, until it is killed.

        `same`: the bytes of every request; else each has its own. `handshake`: the bytes that open a connection.
        """
        at, place = start, [next(self._connections), 0]

        def turn(said: str) -> bool | None:
            """Send one request; return whether it was answered, None if the client was killed meanwhile."""
            nonlocal at
            place[1] += 1
            answer = at + service()
            if self.is_faulty(at):
                answer = self.healed_at + self.dice.uniform(0.001, 0.01)
            given_up = float("inf")
            if policy.timeout_s is not None:
                given_up = at + policy.timeout_s + self.dice.uniform(0.0, policy.noise_s)
            ended = min(answer, given_up, until)
            cause: Literal["policy", "killed", ""] = "" if ended == answer else "policy" if ended < until else "killed"
            self.turns.append(
                Turn(host=host, connection=place[0], number=place[1], opened=at, ended=ended,
                     is_answered=not cause, said=said, cause=cause)
            )  # fmt: skip
            at = ended
            if cause:
                place[:] = next(self._connections), 0
            return None if cause == "killed" else not cause

        def attempt(said: str) -> bool | None:
            if handshake and place[1] == 0 and not (greeted := turn(handshake)):
                return greeted
            return turn(said)

        while at < min(self.end, until):
            said = same or f"work {next(self._work)}"
            gaps: list[float] = []
            for number in count():
                done = attempt(said)
                if done is None:
                    return
                if done or policy.law == "no" or number + 1 == policy.attempts:
                    break
                gaps.append(policy.gap(number, self.dice))
                at += gaps[-1]
                if at >= min(self.end, until):
                    break
            if gaps:
                self.pieces.append(gaps)
            if not done and number + 1 == policy.attempts and self.is_faulty(at + 3 * max(gaps, default=0.0)):
                self.completed.append(number + 1)
            at += think() + 0.0005

    # ── what else happens ─────────────────────────────────────────────────────────────

    def killed(self, host: str, connections: int, at: float, back_after: float | None) -> None:
        """Add a process that waits without a time-out and is ended; a new one follows after `back_after`."""
        for _ in range(connections):
            ended = at + self.dice.uniform(0.0, 0.003)
            self.client(Policy(timeout_s=None), host, think=self.thinking(0.0, 0.3), until=ended, same="ask")
            if back_after is not None:
                self.client(
                    Policy(timeout_s=None), host, think=self.thinking(0.0, 0.3), same="ask",
                    start=ended + back_after + self.dice.uniform(0.0, 0.01),
                )  # fmt: skip

    def long_polls(self, host: str, connections: int, period: float) -> None:
        """Add clients that ask, and ask again after a period without news.

        They begin long before the fault. One that begins with it looks like a client that gives up.
        """
        for _ in range(connections):
            self.client(
                Policy(timeout_s=period), host, think=self.thinking(0.0, 0.01),
                start=self.dice.uniform(0.0, min(period, 0.7 * self.fault_at)),
                same="news", service=lambda: 1e9,
            )  # fmt: skip

    def impatient(self, host: str, number: int) -> None:
        """Add users, each of whom leaves after a time of their own."""
        for _ in range(number):
            at = self.dice.uniform(self.fault_at, self.healed_at - 0.5)
            waits = 0.1 * 200 ** self.dice.random()
            if at + waits > self.healed_at:
                continue  # answered
            self.turns.append(
                Turn(host=host, connection=next(self._connections), number=1, opened=at, ended=at + waits,
                     is_answered=False, said=f"user {next(self._work)}", cause="left")
            )  # fmt: skip

    def thinking(self, low: float, high: float) -> Callable[[], float]:
        """Return a source of random pauses."""
        return lambda: self.dice.uniform(low, high)

    # ── the journal ───────────────────────────────────────────────────────────────────

    def facts(self) -> Facts:
        """Return the journal of this world."""
        return facts_of(self.events(), end=self.end)

    def events(self) -> list[Event]:
        """Return the events that the proxy publishes."""
        return [
            ProxyAdded(at=0.0, proxy="db", listen="l", upstream="u", by="file"),
            FaultAdded(at=self.fault_at, proxy="db", fault="stall-1", type="stall", effective_mode="", mode_reason="",
                       by="rest"),
            FaultRemoved(at=self.healed_at, proxy="db", fault="stall-1", type="stall", by="rest"),
            *self._openings(), *self._ends(), *self._counts(),
        ]  # fmt: skip

    def _openings(self) -> Iterator[Event]:
        for turn in self.turns:
            if turn.number == 1:
                yield ConnectionOpened(
                    at=turn.opened, proxy="db", connection=turn.connection, client=_client(turn), dial_s=0.001
                )

    def _ends(self) -> Iterator[Event]:
        failed = FailedTurns(key=b"key")
        attempts: Counter[tuple[int, int]] = Counter()
        moments = [(turn.opened, 1, turn) for turn in self.turns]
        moments += [(turn.ended, 0, turn) for turn in self.turns if not turn.is_answered]
        for at, is_opening, turn in sorted(moments, key=lambda one: one[:2]):
            digest = failed.digest(turn.said.encode())
            about = {"proxy": "db", "connection": turn.connection, "turn": turn.number, "client": _client(turn)}
            here = turn.connection, turn.number
            if not is_opening and at < self.end:
                yield ClientGaveUp(
                    at=at, waiting_for="answer", waited_s=at - turn.opened, quiet_s=at - turn.opened, how="fin",
                    digest=digest, faults=("stall-1",) if self.is_faulty(at) else (), shape="turns",
                    **about,  # type: ignore[arg-type]  # a mapping of both texts and numbers
                )  # fmt: skip
                failed.note(turn.host, digest, FailedTurn("db", *here, at, attempts[here] or 1))
            elif is_opening and (old := failed.repeated(turn.host, digest, ("db", turn.connection), at)) is not None:
                attempts[here] = old.attempt + 1
                yield TurnRepeated(
                    at=at, of_proxy=old.proxy, of_connection=old.connection, of_turn=old.turn, digest=digest,
                    gap_s=at - old.ended_at, attempt=old.attempt + 1, shape="",
                    **about,  # type: ignore[arg-type]  # a mapping of both texts and numbers
                )  # fmt: skip

    def _counts(self) -> Iterator[TurnsCounted]:
        bounds = sorted({float(second) for second in range(int(self.end) + 1)} | {self.fault_at, self.healed_at})
        over: list[list[Turn]] = [[] for _ in bounds]
        waiting: list[list[float]] = [[] for _ in bounds]
        accepted: Counter[int] = Counter()
        touched = 0
        for turn in self.turns:
            first, last = bisect_left(bounds, turn.opened), bisect_left(bounds, turn.ended)
            for index in range(first, min(last, len(bounds))):
                waiting[index].append(turn.opened)
            if last < len(bounds):
                over[last].append(turn)
            accepted[first] += turn.number == 1
        for index in range(1, len(bounds)):
            at, begin = bounds[index], bounds[index - 1]
            is_active = self.fault_at < at <= self.healed_at
            touched = max(touched, len(waiting[index])) if is_active else touched
            answered = [turn for turn in over[index] if turn.is_answered]
            hosts: dict[str, list[float]] = {}
            for turn in answered:
                hosts.setdefault(turn.host, []).append(turn.ended)
            yield TurnsCounted(
                at=at, proxy="db", seconds=at - begin, answered=len(answered),
                gave_up=len(over[index]) - len(answered), opened=accepted[index], open=len(waiting[index]),
                longest_open_s=at - min(waiting[index], default=at),
                felt=dict(Counter(bucket_of(turn.ended - turn.opened) for turn in answered)),
                clients={host: (len(ends), at - min(ends), at - max(ends)) for host, ends in hosts.items()},
                faults={"stall-1": (touched, 0)} if is_active else {},
            )  # fmt: skip


def _client(turn: Turn) -> str:
    return f"{turn.host}:{turn.connection}"
