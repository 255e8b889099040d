"""The expected effect of each act of the demo, judged by the client's measurements. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from chaosproxy.demo.policy import Policy, Role

__all__ = ["Attempt", "Facts", "Outcome", "Shown", "judge", "summary", "switches"]

Outcome = Literal["responded", "gave up", "reset", "refused", "closed"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of the client, and how it ended."""

    role: Role
    started: float
    """Seconds on the monotonic clock."""
    took: float
    outcome: Outcome
    probe: bool = False
    """True for an extra request that tests whether the primary is back."""

    @property
    def ended(self) -> float:
        return self.started + self.took


@dataclass(frozen=True, slots=True)
class Facts:
    """Measurements during one act."""

    began: float
    attempts: Sequence[Attempt]
    """The attempts that ended during the act, in order."""
    baseline: float | None = None
    """Median response time without faults, once it is known."""

    def responses(self, role: Role) -> list[float]:
        """Return the times of all responses of `role`, in seconds."""
        return [one.took for one in self.attempts if one.role == role and one.outcome == "responded"]

    def ended_with(self, outcome: Outcome) -> list[Attempt]:
        """Return the attempts with this outcome, without probes."""
        return [one for one in self.attempts if one.outcome == outcome and not one.probe]

    def first_response(self, role: Role) -> float | None:
        """Return the seconds from the start of the act to the first response of `role`."""
        return next(
            (one.ended - self.began for one in self.attempts if one.role == role and one.outcome == "responded"), None
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """The verdict on an act: whether it had the expected effect, and lines with the measurements."""

    holds: bool
    lines: tuple[str, ...]


def judge(act: str, facts: Facts, policy: Policy) -> Shown:
    """Judge whether `act` had the expected effect."""
    return _JUDGES[act](facts, policy)


def _baseline(facts: Facts, _policy: Policy) -> Shown:
    responses = facts.responses("primary")
    failures = len(facts.attempts) - len(responses)
    lines = (f"{len(responses)} responses from the primary, median {_ms(responses)}, {failures} failures",)
    return Shown(len(responses) >= 20 and failures == 0, lines)


def _latency(facts: Facts, _policy: Policy) -> Shown:
    # The first response may already have been under way when the fault was injected.
    responses = facts.responses("primary")[1:]
    lines = (f"median response time {_ms([facts.baseline or 0.0])} -> {_ms(responses)}; no response was lost",)
    if lost := len(facts.attempts) - len(facts.responses("primary")):
        lines = (f"median response time {_ms(responses)}; {lost} attempts failed, which latency must not cause",)
    return Shown(len(responses) >= 3 and lost == 0 and 0.1 <= median(responses) < 0.25, lines)


def _stall(facts: Facts, policy: Policy) -> Shown:
    waits = [one.took for one in facts.ended_with("gave up")]
    resumed = _resumed(facts)
    if not waits:
        return Shown(False, ("the client never gave up",))
    lines = [f"gave up after {_ms(waits)}, {_times(len(waits))}; the connection stayed open and silent"]
    if resumed is not None:
        lines.append(f"the primary responded again {_ms([resumed])} after the last timeout")
    return Shown(_near_timeout(waits, policy) and resumed is not None, tuple(lines))


def _reset(facts: Facts, _policy: Policy) -> Shown:
    resets = facts.ended_with("reset")
    responses = facts.responses("primary")
    lines = (f"reset {_times(len(resets))}; {len(responses)} responses on new connections in between",)
    return Shown(len(resets) >= 3 and len(responses) >= 5, lines)


def _partition(facts: Facts, policy: Policy) -> Shown:
    waits = [one.took for one in facts.ended_with("gave up") if one.role == "primary"]
    moved = facts.first_response("replica")
    if not waits or moved is None:
        return Shown(False, (f"gave up {_times(len(waits))}, and never reached the replica",))
    lines = (
        f"gave up after {_ms(waits)}, {_times(len(waits))}, with a longer pause after each",
        f"failed over to the replica after {moved:.1f} s; {len(facts.responses('replica'))} responses from it",
    )
    return Shown(_near_timeout(waits, policy) and len(facts.responses("replica")) >= 5, lines)


def _heal(facts: Facts, policy: Policy) -> Shown:
    back = facts.first_response("primary")
    if back is None:
        return Shown(False, ("the client did not return to the primary",))
    responses = facts.responses("primary")
    lines = (f"back at the primary after {back:.1f} s, median response time {_ms(responses)}",)
    # A probe may have begun just before the heal; the next one is sent after it has timed out.
    in_time = back <= policy.timeout + policy.probe_every + 1.0
    return Shown(in_time and len(responses) >= 5 and median(responses) < 0.1, lines)


_JUDGES = {
    "baseline": _baseline,
    "latency": _latency,
    "stall": _stall,
    "reset": _reset,
    "partition": _partition,
    "heal": _heal,
}


def _resumed(facts: Facts) -> float | None:
    """Return the seconds from the last timeout to the first response after it."""
    since = None
    for one in facts.attempts:
        if one.outcome == "gave up":
            since = one.ended
        elif one.outcome == "responded" and since is not None:
            return one.ended - since
    return None


def _near_timeout(waits: Sequence[float], policy: Policy) -> bool:
    # The event loop can be early by the resolution of its clock, and late on a busy machine.
    return policy.timeout - 0.005 <= median(waits) <= policy.timeout + 0.25


def summary(attempts: Sequence[Attempt]) -> str:
    """Summarise the attempts in one line."""
    parts = [
        f"{len(responses)} responses from the {role}, median {_ms(responses)}"
        for role in ("primary", "replica")
        if (responses := [one.took for one in attempts if one.role == role and one.outcome == "responded"])
    ]
    parts += [
        f"{outcome} {_times(len(waits))} (after {_ms(waits)})"
        for outcome in ("gave up", "reset", "refused", "closed")
        if (waits := [one.took for one in attempts if one.outcome == outcome])
    ]
    return "; ".join(parts) or "no response"


def switches(attempts: Sequence[Attempt]) -> bool:
    """Return whether any attempt was not an ordinary response of the primary."""
    return any(one.outcome != "responded" or one.role != "primary" for one in attempts)


def _ms(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    milliseconds = median(seconds) * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
