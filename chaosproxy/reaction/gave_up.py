"""Clients that gave up in a window, their time-outs, and the turns that waited without giving up.

Definition: a client gave up if it ended while its turn was open (`ClientGaveUp`), and neither a fault nor the operator
ended it. The time-outs are those of `timeouts`, for the time before the first byte (`connect`) and for answers.

Some clients notice a time-out, pause, and close the connection only when they try again (urllib3). Waits of a longer
group of which nearly all end when the same client tries again are such: the shortest group is the time-out, and the
rest of each wait is its pause. A client whose time-out grows from one attempt to the next looks the same.

A read time-out and a deadline end the same silence. They differ only if bytes trickle, so they are told apart only if
a fault of either sort was active on the proxy: see `trickle`. A deadline over several attempts is the time from the
opening of the first to the last give-up. It is claimed if at least three chains of attempts show it, while their last
attempts ended after different waits.

A turn that is still open when the window ends shows that its client has no time-out below its age. Nothing is known of
one whose client has sent an end-of-stream: if the fault held the answer, it arrives at the heal, when the client may
have closed the socket long before. On the wire, a close looks like a half-close until a reset follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import median

from chaosproxy.events import ClientEnded, ClientGaveUp, TurnRepeated
from chaosproxy.reaction.chains import Chain, chains_of
from chaosproxy.reaction.facts import Facts, ProxyFacts, host_of
from chaosproxy.reaction.pieces import AT_ONCE_S
from chaosproxy.reaction.span import between
from chaosproxy.reaction.timeouts import TimeOut, clusters, inferred
from chaosproxy.reaction.trickle import kind_of
from chaosproxy.reaction.turns import span_of, turns_in
from chaosproxy.reaction.waits import Wait, waits_of
from chaosproxy.reaction.window import Window

__all__ = ["GaveUp", "Waiting", "gave_up_of"]

_LATE = 0.8
"""Share of the waits of a group that end when the client tries again, if that is the reason for their end."""
_AT_HEAL_S = 1.0
"""Seconds after the heal in which held answers arrive."""
_SHORTEST_S = 0.1
"""Seconds; a server that ends sooner has refused the request."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Turns that waited in a window."""

    turns: int
    """The most that were open at a time."""
    longest_s: float
    """The highest age of one."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The clients of one proxy that gave up in one window."""

    count: int
    min_s: float | None
    """The shortest wait; None if no client gave up."""
    p50_s: float | None
    max_s: float | None
    timeouts: tuple[TimeOut, ...]
    inferred_timeout_s: float | None
    """The time-out that explains most give-ups; None if none is claimed."""
    closed_late_s: float | None
    """The time-out of clients that notice it, and close the connection only when they try again; None of others."""
    deadline: TimeOut | None
    """The time-out of a whole call over several attempts."""
    server_timeouts: tuple[TimeOut, ...]
    """The waits after which the server ended."""
    waiting: Waiting | None
    """The turns that waited; None if no turn was open."""
    unclear: int
    """The clients that sent an end-of-stream in an open turn, and either had given up or only half-closed."""

    @property
    def none_within_s(self) -> float | None:
        """The age of the oldest open turn if no client gave up: a time-out is above it."""
        return self.waiting.longest_s if self.waiting is not None and not self.count and not self.unclear else None


def gave_up_of(proxy: ProxyFacts, window: Window, facts: Facts) -> GaveUp:
    """Return who gave up on a proxy in a window, and after which time-outs."""
    events = [event for event in proxy.gave_up if window.has(event.at)]
    waits = sorted(event.waited_s for event in events)
    repeated = [one for other in facts.proxies.values() for one in other.repeated]
    timeouts, late = _timeouts(proxy, window, facts, repeated)
    ended = [one for one in proxy.failed if one.reason in ("server_closed", "server_reset") and not one.fault]
    turns = turns_in(proxy, (span_of(window, facts),))
    return GaveUp(
        count=len(events),
        min_s=waits[0] if waits else None,
        p50_s=median(waits) if waits else None,
        max_s=waits[-1] if waits else None,
        timeouts=timeouts,
        closed_late_s=late,
        inferred_timeout_s=inferred(timeouts),
        deadline=_deadline(chains_of(proxy, window, facts)),
        server_timeouts=tuple(
            one for one in clusters(waits_of(ended, window, proxy, facts, ())) if one.s >= _SHORTEST_S
        ),
        waiting=Waiting(turns.most_open, turns.longest_open_s) if turns.most_open else None,
        unclear=_unclear(proxy, window),
    )


def _unclear(proxy: ProxyFacts, window: Window) -> int:
    """Return the clients that ended within the window, and to which a held answer was then sent."""
    until = inf if window.ended is None else window.ended
    inside = between(proxy.ended, window.started, until)
    ended = {one.connection for one in inside if isinstance(one, ClientEnded)}
    released = between(proxy.half_closed, window.started, until + _AT_HEAL_S)
    return len({one.connection for one in released if one.connection in ended})


def _timeouts(
    proxy: ProxyFacts, window: Window, facts: Facts, repeated: Sequence[TurnRepeated]
) -> tuple[tuple[TimeOut, ...], float | None]:
    """Return the time-outs, and the one after which connections are closed late."""
    found: list[TimeOut] = []
    late = None
    for is_answer in (False, True):
        events = [event for event in proxy.gave_up if (event.waiting_for == "answer") == is_answer]
        claims = clusters(waits_of(events, window, proxy, facts, repeated))
        kept = [*claims[:1], *(one for one in claims[1:] if not _is_late(one, events, window, repeated))]
        if len(kept) < len(claims):
            late = kept[0].s
        found += (replace(one, kind=kind_of(one.s, proxy, window, facts) if is_answer else "connect") for one in kept)
    return tuple(sorted(found, key=lambda one: one.s)), late


def _is_late(
    claim: TimeOut, events: Sequence[ClientGaveUp], window: Window, repeated: Sequence[TurnRepeated]
) -> bool:
    """Return whether waits end when the client tries again, which closes the connection that it has given up before."""
    by = max(claim.spread_s, 0.005)
    turns = {
        (one.proxy, one.connection, one.turn) for one in events
        if window.has(one.at) and abs(one.waited_s - claim.s) <= by
    }  # fmt: skip
    at_once = {
        (one.of_proxy, one.of_connection, one.of_turn) for one in repeated
        if abs(one.gap_s) <= AT_ONCE_S and one.proxy == one.of_proxy
    }  # fmt: skip
    return len(turns & at_once) >= _LATE * len(turns)


def _deadline(chains: Sequence[Chain]) -> TimeOut | None:
    """Return the time-out of calls of several attempts."""
    ended: list[tuple[Wait, Wait]] = []
    for chain in chains:
        last = chain.turns[-1]
        if len(chain.turns) < 2 or not isinstance(last.failure, ClientGaveUp) or chain.opened_at is None:
            continue
        host = host_of(last.failure.client)
        whole = Wait(last.failure.at - chain.opened_at, last.failure.at, host)
        ended.append((whole, Wait(last.failure.waited_s, last.failure.at, host)))
    if len(ended) < 3 or clusters([last for _, last in ended]):
        return None
    sure = [one for one in clusters([whole for whole, _ in ended], "total") if one.confidence == "sure"]
    return sure[0] if sure and 2 * sure[0].count > len(ended) else None
