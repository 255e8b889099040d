"""What has to be done to get from the proxies there are to those there shall be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.proxy import ProxySpec

__all__ = ["FaultPlan", "Plan", "plan", "plan_faults"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Proxies to stop, to change and to start, in that order."""

    stop: tuple[str, ...]
    change: tuple[ProxySpec, ...]
    start: tuple[ProxySpec, ...]


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults to remove, and to put (new or changed), of one proxy."""

    remove: tuple[str, ...]
    put: tuple[FaultSpec, ...]

    def carried_out(self, now: Iterable[FaultSpec]) -> tuple[FaultSpec, ...]:
        """Return the faults that `now` becomes."""
        after = {fault.name: fault for fault in now if fault.name not in self.remove}
        return tuple((after | {fault.name: fault for fault in self.put}).values())


def plan(now: Mapping[str, ProxySpec], wanted: Iterable[ProxySpec]) -> Plan:
    """The least that makes `now` into `wanted`."""
    by_name = {spec.name: spec for spec in wanted}
    return Plan(
        stop=tuple(name for name in now if name not in by_name),
        change=tuple(spec for name, spec in by_name.items() if name in now and spec != now[name]),
        start=tuple(spec for name, spec in by_name.items() if name not in now),
    )


def plan_faults(now: Iterable[FaultSpec], wanted: Iterable[FaultSpec]) -> FaultPlan:
    """The least that makes the faults `now` into `wanted`; those that stay as they are go on undisturbed."""
    present = {fault.name: fault for fault in now}
    desired = {fault.name: fault for fault in wanted}
    return FaultPlan(
        remove=tuple(name for name in present if name not in desired),
        put=tuple(fault for name, fault in desired.items() if present.get(name) != fault),
    )
