"""Compare what chaosproxy tells of the demo's client with the client's own settings and log. Pure.

chaosproxy does not know either: it sees only the connections. It may be silent,
because there was too little to see on a busy machine. A claim that is wrong is a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator

from chaosproxy.demo.acts import Shown
from chaosproxy.demo.policy import Policy
from chaosproxy.reaction.backoff import Backoff
from chaosproxy.reaction.reactions import Reactions, WindowReaction
from chaosproxy.reaction.timeouts import TimeOut

__all__ = ["compare"]

_NEAR = 0.05
"""The share by which a time-out may differ."""
_NEAR_FACTOR = 0.1
"""The share by which the factor of a back-off may differ."""
_NEAR_S = 0.1
"""The seconds by which a failover may differ."""


def compare(reactions: Reactions, fault: str, policy: Policy, moved_s: float | None) -> list[Shown]:
    """Compare the story of one fault (`proxy/fault`) with the client's policy, and with its own log.

    `moved_s`: seconds after which it got its first response from the replica; None for none.
    """
    window = next((one for one in reactions.windows if one.window.faults == (fault,)), None)
    return [] if window is None else list(_compared(window, policy, moved_s))


def _compared(window: WindowReaction, policy: Policy, moved_s: float | None) -> Iterator[Shown]:
    for one in window.proxies:
        yield _timeout(max(one.gave_up.timeouts, key=lambda told: told.count, default=None), policy)
        yield _backoff(one.retries.backoff, policy)
    yield _failover(next((move.after_s for move in window.failovers), None), moved_s)


def _timeout(told: TimeOut | None, policy: Policy) -> Shown:
    own = f"it is set to {policy.timeout:g} s"
    if told is None:
        return Shown(True, (f"time-out: too little to see; {own}",))
    holds = abs(told.s - policy.timeout) <= _NEAR * policy.timeout
    return Shown(holds, (f"time-out: {told.s:.2f} s ({told.confidence}); {own}",))


def _backoff(told: Backoff | None, policy: Policy) -> Shown:
    own = f"its pauses are {policy.first_backoff:g} s, then × {policy.factor:g}"
    if told is None:
        return Shown(True, (f"back-off: too little to see; {own}",))
    factor = told.factor or 0.0
    holds = told.law == "exponential" and abs(factor - policy.factor) <= _NEAR_FACTOR * policy.factor
    words = f"{told.law} × {factor:.1f} from {told.first_gap_s:.2f} s ({told.confidence})"
    return Shown(holds and not told.jittered, (f"back-off: {words}; {own}",))


def _failover(told_s: float | None, moved_s: float | None) -> Shown:
    own = "it never moved" if moved_s is None else f"its own log says {moved_s:.2f} s"
    if told_s is None:
        return Shown(moved_s is None, (f"failover: none; {own}",))
    holds = moved_s is not None and abs(told_s - moved_s) <= _NEAR_S
    return Shown(holds, (f"failover: after {told_s:.2f} s; {own}",))
