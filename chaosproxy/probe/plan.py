"""The plans of a probe, as data: which faults, in which order, and when each has shown enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["PLANS", "TTL_MARGIN_S", "Goal", "Plan", "PlanName", "Step", "plan_of"]

Goal = Literal["time-out", "kind", "rhythm", "double-effects", "breaker"]
"""A finding that ends a step early."""
PlanName = Literal["quick", "full"]

TTL_MARGIN_S = 3.0
"""Seconds from the end of a step to the end of its fault's ttl, for a server that is slow to answer."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault of a plan."""

    name: str
    """The fault is called `probe-NAME`."""
    words: str
    """The fault in a sentence, as in `under the stall`."""
    type: str
    """The type of the fault."""
    settings: Mapping[str, str | int] = field(default_factory=dict)
    least_s: float = 2.0
    most_s: float = 10.0
    until: tuple[Goal, ...] = ()
    """The step ends early when all of these are reached, but see `also`."""
    also: tuple[Goal, ...] = ()
    """Once `until` is reached, as much time again is given to reach these."""
    ends_when_quiet: bool = True
    """Whether it ends early when the clients have stopped trying. A refused client is not seen as a turn, and a turn
    whose answer trickles counts as answered with the first byte."""
    needs_timeout: bool = False
    """Skipped unless a time-out is known: a client without one would wait for a lost answer after the heal too."""
    http_only: bool = False

    @property
    def fault(self) -> str:
        """The name of the fault."""
        return f"probe-{self.name}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A sequence of faults, with a baseline before and a rest after each. Times in seconds."""

    name: PlanName
    steps: tuple[Step, ...]
    baseline_least_s: float = 5.0
    baseline_most_s: float = 15.0
    rest_least_s: float = 4.0
    rest_most_s: float = 15.0

    @property
    def most_s(self) -> float:
        """The longest time that the whole plan takes, without the time between two looks."""
        return self.baseline_most_s + sum(one.most_s + self.rest_most_s for one in self.steps)


_STALL = Step("stall", "the stall", "stall", {"direction": "downstream"}, until=("time-out",), also=("rhythm",))
_TRICKLE = Step(
    "trickle", "the trickle", "slicer", {"direction": "downstream"}, least_s=1.0, until=("kind",), ends_when_quiet=False
)  # fmt: skip
_RESET = Step("reset", "the reset", "reset", {"direction": "downstream", "size": "0B"}, until=("rhythm",))
_REFUSE = Step(
    "refuse", "the refusal", "refuse", {"existing": "reset"}, until=("rhythm",), ends_when_quiet=False
)  # fmt: skip
_ERROR = Step("503", "the 503", "http_abort", {"status": 503}, until=("rhythm",), http_only=True)
_LOST = Step(
    "lost-answer", "the lost answer", "http_drop_response", {"close_after": "10s"}, until=("double-effects",),
    also=("rhythm",), needs_timeout=True, http_only=True,
)  # fmt: skip


def _patient(step: Step) -> Step:
    """Return a step that lasts as long as it may, unless a circuit breaker shows: an open one looks like quiet."""
    goals: tuple[Goal, ...] = step.until if step is _TRICKLE else (*step.until, *step.also, "breaker")
    return replace(step, until=goals, also=(), most_s=60.0, ends_when_quiet=False)


PLANS: dict[PlanName, Plan] = {
    "quick": Plan("quick", (_STALL, _TRICKLE, _RESET, _REFUSE, _ERROR, _LOST)),
    "full": Plan(
        "full",
        tuple(map(_patient, (_STALL, _TRICKLE, _RESET, _REFUSE, _ERROR, _LOST))),
        baseline_least_s=10.0,
        baseline_most_s=30.0,
        rest_most_s=60.0,
    ),
}
"""`full` gives each fault its longest time, so that circuit breakers show."""


def plan_of(name: PlanName, protocol: str, longest_s: float) -> Plan:
    """Return the plan for a proxy of this protocol; `longest_s` bounds each fault, and is the time of the stall."""
    plan = PLANS[name]
    steps = [one for one in plan.steps if not one.http_only or protocol == "http"]
    bounded = (
        replace(
            one,
            most_s=longest_s if one.name in ("stall", "trickle") else min(one.most_s, longest_s),
            least_s=min(one.least_s, longest_s),
        )
        for one in steps
    )
    return replace(plan, steps=tuple(bounded))
