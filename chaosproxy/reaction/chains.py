"""Chains of attempts: a failed turn, and the turns that repeat it one after the other.

A chain begins with a failure in a window, on a proxy, that repeats nothing. Its other attempts may be anywhere later,
and on other proxies. `TurnRepeated` names the failed turn by host and first bytes. If several turns of a host with
equal bytes have failed and wait for their repetition, it is not known which of them a new turn repeats: the gap is
clear only if all of them ended at about the same time, or if the turn is on the connection of the failed one.

A handshake is not work: PostgreSQL's start-up and MQTT's CONNECT are the same on each connection. Bytes are a handshake
if they open connections only, while other bytes fail on later turns of connections of the same host, and no bytes are
seen in both places. Then their repetitions are reconnects. A client whose connections all have one turn never shows
this, so its repetitions count as retries. HTTP has no handshake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from chaosproxy.events import ClientGaveUp, TurnFailed, TurnRepeated
from chaosproxy.reaction.facts import Facts, ProxyFacts, host_of
from chaosproxy.reaction.window import Window

__all__ = ["Attempt", "Chain", "chains_of", "given_up_after"]

_KEPT_S = 60.0
"""Seconds after which a failed turn is not repeated any more."""

Turn = tuple[str, int, int]
"""Proxy, connection and number of a turn."""
Failure = ClientGaveUp | TurnFailed


@dataclass(frozen=True, slots=True)
class Attempt:
    """One turn of a chain."""

    turn: Turn
    failure: Failure | None
    """None if it did not fail, or has not yet."""
    repeated: TurnRepeated | None
    """None for the first attempt."""
    is_clear: bool
    """False if it may repeat another failed turn."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A failed turn and its repetitions."""

    host: str
    digest: str
    turns: tuple[Attempt, ...]
    is_reconnect: bool
    """True if its bytes are a handshake."""

    @property
    def opened_at(self) -> float | None:
        """The time at which the first attempt was opened."""
        first = self.turns[0].failure
        return None if first is None else first.at - first.waited_s

    @property
    def gaps(self) -> list[float]:
        """Seconds from the end of each attempt to the opening of the next on the same proxy, while that is clear."""
        found: list[float] = []
        for attempt in self.turns[1:]:
            if attempt.repeated is None or not attempt.is_clear or attempt.turn[0] != self.turns[0].turn[0]:
                break
            found.append(attempt.repeated.gap_s)
        return found

    @property
    def is_clear(self) -> bool:
        """True if no attempt may belong to another chain."""
        return all(attempt.is_clear for attempt in self.turns)


def chains_of(proxy: ProxyFacts, window: Window, facts: Facts) -> list[Chain]:
    """Return the chains that begin in a window on a proxy, with those of a single attempt."""
    failures: dict[Turn, Failure] = {}
    for other in facts.proxies.values():
        failures.update({_turn(one): one for one in other.gave_up})
        failures.update({_turn(one): one for one in other.failed})
    repeats = sorted((one for other in facts.proxies.values() for one in other.repeated), key=lambda one: one.at)
    clear = set(_clear(failures, repeats, facts))
    next_of = {(one.of_proxy, one.of_connection, one.of_turn): one for one in repeats}
    repeating = {_turn(one) for one in repeats}
    handshakes = _handshakes(proxy)
    found = []
    for turn, failure in sorted(failures.items(), key=lambda pair: pair[1].at):
        is_here = failure.proxy == proxy.name and window.has(failure.at)
        if not is_here or not failure.digest or turn in repeating:
            continue
        attempts = [Attempt(turn, failure, None, True)]
        while (again := next_of.get(attempts[-1].turn)) is not None:
            turn = _turn(again)
            attempts.append(Attempt(turn, failures.get(turn), again, turn in clear))
        host = host_of(failure.client)
        found.append(Chain(host, failure.digest, tuple(attempts), (host, failure.digest) in handshakes))
    return found


def given_up_after(chains: list[Chain], timeout_s: float) -> list[Chain]:
    """Return chains of clients that close a connection late, with the gaps since they gave it up after `timeout_s`."""
    return [replace(chain, turns=tuple(_since(chain.turns, timeout_s))) for chain in chains]


def _since(turns: tuple[Attempt, ...], timeout_s: float) -> Iterator[Attempt]:
    before: Failure | None = None
    for attempt in turns:
        late = before.waited_s - timeout_s if isinstance(before, ClientGaveUp) else 0.0
        if attempt.repeated is not None and late > max(0.02, 0.05 * timeout_s):
            yield replace(attempt, repeated=replace(attempt.repeated, gap_s=attempt.repeated.gap_s + late))
        else:
            yield attempt
        before = attempt.failure


def _turn(event: Failure | TurnRepeated) -> Turn:
    return event.proxy, event.connection, event.turn


def _clear(failures: dict[Turn, Failure], repeats: list[TurnRepeated], facts: Facts) -> Iterator[Turn]:
    """Yield the repetitions that can be of one failed turn only, at the same proxy or another of its service."""
    places = {name: ("service", one.service) if one.service else ("proxy", name) for name, one in facts.proxies.items()}
    waiting: dict[tuple[object, str, str], dict[Turn, float]] = {}
    events: list[Failure | TurnRepeated] = [*failures.values(), *repeats]
    for event in sorted(events, key=lambda one: (one.at, isinstance(one, TurnRepeated))):
        others = waiting.setdefault((places[event.proxy], host_of(event.client), event.digest), {})
        if not isinstance(event, TurnRepeated):
            others[_turn(event)] = event.at
            continue
        others.pop((event.of_proxy, event.of_connection, event.of_turn), None)
        ended, by = event.at - event.gap_s, max(0.01, 0.05 * event.gap_s)
        is_same = (event.of_proxy, event.of_connection) == (event.proxy, event.connection)
        if is_same or all(abs(one - ended) <= by or event.at - one > _KEPT_S for one in others.values()):
            yield _turn(event)


def _handshakes(proxy: ProxyFacts) -> set[tuple[str, str]]:
    """Return the hosts and digests of turns that are a handshake."""
    if proxy.protocol == "http":
        return set()
    first: dict[str, set[str]] = {}
    later: dict[str, set[str]] = {}
    for event in (*proxy.gave_up, *proxy.failed, *proxy.repeated):
        if event.digest:
            (first if event.turn == 1 else later).setdefault(host_of(event.client), set()).add(event.digest)
    return {
        (host, digest) for host, digests in first.items()
        if later.get(host) and not digests & later[host] for digest in digests
    }  # fmt: skip
