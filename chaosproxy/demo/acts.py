"""What each act of the demo has to show, judged on what the client measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from chaosproxy.demo.policy import Policy, Role

__all__ = ["Attempt", "Facts", "Outcome", "Shown", "judge", "summary", "switches"]

Outcome = Literal["replied", "gave up", "reset", "refused", "closed"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One question of the client, and how it ended."""

    asked: Role
    started: float
    """Seconds on the monotonic clock."""
    took: float
    outcome: Outcome
    probe: bool = False
    """Asked beside the others, to see whether the primary is back."""

    @property
    def ended(self) -> float:
        return self.started + self.took


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured during one act."""

    began: float
    attempts: Sequence[Attempt]
    """All that ended during the act, in order."""
    baseline: float | None = None
    """Median reply without faults, once it is known."""

    def replies(self, asked: Role) -> list[float]:
        """Seconds that each reply of `asked` took."""
        return [one.took for one in self.attempts if one.asked == asked and one.outcome == "replied"]

    def ended_with(self, outcome: Outcome) -> list[Attempt]:
        """The attempts, probes aside, that ended so."""
        return [one for one in self.attempts if one.outcome == outcome and not one.probe]

    def first_reply(self, asked: Role) -> float | None:
        """Seconds from the act's beginning to the first reply of `asked`."""
        return next(
            (one.ended - self.began for one in self.attempts if one.asked == asked and one.outcome == "replied"), None
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """An act's verdict: whether its effect was seen, and the lines that say what was measured."""

    holds: bool
    lines: tuple[str, ...]


def judge(act: str, facts: Facts, policy: Policy) -> Shown:
    """Whether `act` showed its effect."""
    return _JUDGES[act](facts, policy)


def _baseline(facts: Facts, _policy: Policy) -> Shown:
    replies = facts.replies("primary")
    failures = len(facts.attempts) - len(replies)
    lines = (f"{len(replies)} replies from the primary, median {_ms(replies)}, {failures} failures",)
    return Shown(len(replies) >= 20 and failures == 0, lines)


def _latency(facts: Facts, _policy: Policy) -> Shown:
    # The first reply may have been under way before the fault was there.
    replies = facts.replies("primary")[1:]
    lines = (f"median reply {_ms([facts.baseline or 0.0])} -> {_ms(replies)}; no reply was lost",)
    if lost := len(facts.attempts) - len(facts.replies("primary")):
        lines = (f"median reply {_ms(replies)}, and {lost} attempts failed, which latency alone must not cause",)
    return Shown(len(replies) >= 3 and lost == 0 and 0.1 <= median(replies) < 0.25, lines)


def _stall(facts: Facts, policy: Policy) -> Shown:
    waits = [one.took for one in facts.ended_with("gave up")]
    resumed = _resumed(facts)
    if not waits:
        return Shown(False, ("the client never gave up",))
    lines = [f"gave up after {_ms(waits)}, {_times(len(waits))}; nothing was closed, it only went silent"]
    if resumed is not None:
        lines.append(f"{_ms([resumed])} after its last time-out the primary replied again")
    return Shown(_near_timeout(waits, policy) and resumed is not None, tuple(lines))


def _reset(facts: Facts, _policy: Policy) -> Shown:
    resets = facts.ended_with("reset")
    replies = facts.replies("primary")
    lines = (f"reset seen {_times(len(resets))}; {len(replies)} replies between them on new connections",)
    return Shown(len(resets) >= 3 and len(replies) >= 5, lines)


def _partition(facts: Facts, policy: Policy) -> Shown:
    waits = [one.took for one in facts.ended_with("gave up") if one.asked == "primary"]
    moved = facts.first_reply("replica")
    if not waits or moved is None:
        return Shown(False, (f"gave up {_times(len(waits))}, but never reached the replica",))
    lines = (
        f"gave up after {_ms(waits)}, {_times(len(waits))}, with a longer pause after each",
        f"failed over to the replica after {moved:.1f} s; {len(facts.replies('replica'))} replies from it since",
    )
    return Shown(_near_timeout(waits, policy) and len(facts.replies("replica")) >= 5, lines)


def _heal(facts: Facts, policy: Policy) -> Shown:
    back = facts.first_reply("primary")
    if back is None:
        return Shown(False, ("the client never came back to the primary",))
    replies = facts.replies("primary")
    lines = (f"back at the primary after {back:.1f} s, median reply {_ms(replies)}",)
    # A probe may have begun just before the heal; it has to time out before the next one is sent.
    in_time = back <= policy.timeout + policy.probe_every + 1.0
    return Shown(in_time and len(replies) >= 5 and median(replies) < 0.1, lines)


_JUDGES = {
    "baseline": _baseline,
    "latency": _latency,
    "stall": _stall,
    "reset": _reset,
    "partition": _partition,
    "heal": _heal,
}


def _resumed(facts: Facts) -> float | None:
    """Seconds from the last time-out to the first reply after it."""
    since = None
    for one in facts.attempts:
        if one.outcome == "gave up":
            since = one.ended
        elif one.outcome == "replied" and since is not None:
            return one.ended - since
    return None


def _near_timeout(waits: Sequence[float], policy: Policy) -> bool:
    # The loop may be early by its clock's grain; late is what a busy machine makes it.
    return policy.timeout - 0.005 <= median(waits) <= policy.timeout + 0.25


def summary(attempts: Sequence[Attempt]) -> str:
    """A line about what the client saw lately."""
    parts = [
        f"{len(replies)} replies from the {role}, median {_ms(replies)}"
        for role in ("primary", "replica")
        if (replies := [one.took for one in attempts if one.asked == role and one.outcome == "replied"])
    ]
    parts += [
        f"{outcome} {_times(len(waits))} (after {_ms(waits)})"
        for outcome in ("gave up", "reset", "refused", "closed")
        if (waits := [one.took for one in attempts if one.outcome == outcome])
    ]
    return "; ".join(parts) or "no reply"


def switches(attempts: Sequence[Attempt]) -> bool:
    """Whether anything else than plain replies of the primary was seen, so that it is worth a line."""
    return any(one.outcome != "replied" or one.asked != "primary" for one in attempts)


def _ms(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    milliseconds = median(seconds) * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
