"""One look at a proxy: its traffic, its faults, and the reactions to those of the probe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaosproxy.probe.plan import Goal, Step

__all__ = ["Json", "Seen", "is_reached", "seen_of", "timeout_of"]

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
    """The reaction of the proxy to each fault of this probe, by the fault's name."""
    failovers: tuple[Json, ...] = ()
    """Of this proxy's service, away from it."""


def seen_of(at: float, proxy: Json, told: Json, bytes_downstream: int, steps: Iterable[Step]) -> Seen:
    """Return the look that these answers of the API make.

    `proxy` is that of `/v1/proxies/NAME`, and `told` that of `/v1/reactions` since the begin of the probe.
    """
    name = proxy["name"]
    turns = told["proxies"].get(name, {}).get("turns", {})
    keys = {f"{name}/{step.fault}": step.fault for step in steps}
    reactions = {
        keys[window["faults"][0]]: {**window["proxies"][name], "touched": window["touched"]}
        for window in told["windows"]
        if len(window["faults"]) == 1 and window["faults"][0] in keys and name in window["proxies"]
    }
    service = told["services"].get(proxy.get("service"), {"failovers": []})
    on = [*(one["name"] for one in proxy["faults"]), *(f"partition/{id}" for id in proxy["partitions"])]
    return Seen(
        at=at,
        answered=turns.get("answered", 0),
        failed=turns.get("failed", 0),
        open=turns.get("open", 0),
        faults=frozenset(on),
        bytes_downstream=bytes_downstream,
        reactions=reactions,
        failovers=tuple(one for one in service["failovers"] if one["from"] == name),
    )


def timeout_of(seen: Seen) -> float | None:
    """Return the time-out that the stall has shown, in seconds; None if it has shown none."""
    stall = seen.reactions.get("probe-stall")
    return None if stall is None else stall["gave_up"]["inferred_timeout_s"]


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
