"""One look at a proxy: its traffic, its faults, and the reactions to those of the probe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chaosproxy.probe.plan import Goal, Step

__all__ = ["Json", "Seen", "is_reached", "latest_of", "seen_of", "timeout_of"]

Json = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Seen:
    """One look."""

    at: float
    """Seconds of any monotonic clock."""
    answered: int = 0
    """Turns that have been answered so far."""
    failed: int = 0
    open: int = 0
    """Turns that are open now."""
    faults: frozenset[str] = frozenset()
    """The faults and partitions (`partition/ID`) that are on the proxy."""
    bytes_downstream: int = 0
    reactions: Mapping[str, Json] = field(default_factory=dict)
    """The reaction of the proxy to each fault of this probe, by the fault's name, with the date of its `start`."""
    failovers: tuple[Json, ...] = ()
    """Of this proxy's service, away from it."""


def seen_of(at: float, proxy: Json, told: Json, steps: Iterable[Step]) -> Seen:
    """Return the look that these answers of the API make.

    `proxy` is that of `/v1/proxies/NAME`, and `told` that of `/v1/reactions` since the begin of the probe. Turns are
    those of the proxy, since the reactions know only those of the latest events.
    """
    name, turns = proxy["name"], proxy["turns"]
    keys = {f"{name}/{step.fault}": step.fault for step in steps}
    reactions = {
        keys[window["faults"][0]]: {**window["proxies"][name], "start": window["started"]}
        for window in told["windows"]
        if len(window["faults"]) == 1 and window["faults"][0] in keys and name in window["proxies"]
    }
    service = told["services"].get(proxy.get("service"), {"failovers": []})
    on = [*(one["name"] for one in proxy["faults"]), *(f"partition/{id}" for id in proxy["partitions"])]
    return Seen(
        at=at,
        answered=turns["answered"],
        failed=turns["failed"] + turns["gave_up"],
        open=turns["open"],
        faults=frozenset(on),
        bytes_downstream=proxy["bytes_downstream"],
        reactions=reactions,
        failovers=tuple(one for one in service["failovers"] if one["from"] == name),
    )


def latest_of(before: Seen, now: Seen) -> Seen:
    """Return a look with the reactions of an earlier one that it does not show any more.

    A busy proxy's events push the oldest ones out. Then the window of an early fault is gone, or begins later.
    """
    kept = {
        name: old for name, old in before.reactions.items()
        if name not in now.reactions or now.reactions[name]["start"] != old["start"]
    }  # fmt: skip
    return replace(now, reactions={**now.reactions, **kept})


def timeout_of(seen: Seen) -> float | None:
    """Return the time-out of answers that the stall has shown, in seconds; None if it has shown none."""
    stall = seen.reactions.get("probe-stall")
    timeouts = [] if stall is None else [one for one in stall["gave_up"]["timeouts"] if one["kind"] != "connect"]
    best = min(timeouts, key=lambda one: (one["confidence"] != "sure", -one["count"]), default=None)
    return None if best is None else float(best["s"])


def is_reached(goal: Goal, step: Step, seen: Seen) -> bool:
    """Return whether the fault of a step has shown something."""
    if goal == "kind":  # a time-out of the stall; the trickle tells its kind
        stall = seen.reactions.get("probe-stall")
        return stall is not None and any(one["kind"] in ("read", "total") for one in stall["gave_up"]["timeouts"])
    told = seen.reactions.get(step.fault)
    if told is None:
        return False
    match goal:
        case "time-out":
            return any(one["confidence"] == "sure" for one in told["gave_up"]["timeouts"])
        case "rhythm":
            return bool(told["retries"]["confidence"] == "sure")
        case "double-effects":
            return bool(told["retries"]["double_effects"])
        case "breaker":
            return told["circuit_breaker"] is not None
