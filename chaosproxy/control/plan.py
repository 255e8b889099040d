"""Compute the steps from the present desired state to a wanted configuration. Pure.

Every part of the desired state (a proxy, a fault, a partition) has a maker, such as `file` or `rest`. If
a maker applies a whole configuration, one rule holds for all three kinds:

    parts that the configuration names           become as it says, and belong to this maker from then on
    parts that it does not name, by this maker   are removed
    parts that it does not name, by another      stay

If a proxy is removed, so are its faults. A change by another maker does not change the maker: if REST
changes a fault of the file, the fault still belongs to the file, and the next `apply` of the file
restores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.partition import PartitionSpec
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.settings import Config

__all__ = ["Changes", "Desired", "Owned", "Plan", "changes_of", "plan"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Owned(Generic[T]):
    """A part of the desired state, and its maker."""

    spec: T
    by: str


@dataclass(frozen=True, slots=True)
class Changes(Generic[T]):
    """The changes to the parts of one kind, by name."""

    remove: tuple[str, ...] = ()
    put: Mapping[str, T] = field(default_factory=dict)
    """The parts to add or to change."""
    keep: tuple[str, ...] = ()
    """The parts that already are as wanted."""

    def carried_out(self, now: Mapping[str, Owned[T]], by: str) -> dict[str, Owned[T]]:
        """Return the parts after these changes to `now`; a changed part keeps its place in the order."""
        after = {name: one for name, one in now.items() if name not in self.remove}
        after |= {name: replace(after[name], by=by) for name in self.keep if name in after}
        return after | {name: Owned(spec, by) for name, spec in self.put.items()}


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole desired state."""

    proxies: Mapping[str, Owned[ProxySpec]] = field(default_factory=dict)
    """The proxies without their faults, which are in `faults`."""
    faults: Mapping[str, Mapping[str, Owned[FaultSpec]]] = field(default_factory=dict)
    """The faults, by the names of the proxy and the fault."""
    partitions: Mapping[str, Owned[PartitionSpec]] = field(default_factory=dict)

    def specs(self) -> tuple[ProxySpec, ...]:
        """Return every proxy with its faults."""
        return tuple(
            replace(owned.spec, faults=tuple(one.spec for one in self.faults.get(name, {}).values()))
            for name, owned in self.proxies.items()
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps that apply one maker's configuration."""

    by: str
    proxies: Changes[ProxySpec]
    faults: Mapping[str, Changes[FaultSpec]]
    """The changes to the faults of each proxy that exists afterwards."""
    partitions: Changes[PartitionSpec]
    start: tuple[str, ...]
    """The wanted proxies that do not exist yet."""
    change: tuple[str, ...]
    """The existing proxies that stay, and whose settings or faults change."""

    def outcome(self, now: Desired) -> Desired:
        """Return the desired state after these steps."""
        faults = {name: one for name, one in now.faults.items() if name not in self.proxies.remove}
        faults |= {name: one.carried_out(now.faults.get(name, {}), self.by) for name, one in self.faults.items()}
        proxies = self.proxies.carried_out(now.proxies, self.by)
        return Desired(proxies, faults, self.partitions.carried_out(now.partitions, self.by))


def plan(now: Desired, wanted: Config, by: str) -> Plan:
    """Return the fewest steps that apply the configuration `wanted` of the maker `by` to `now`."""
    proxies = changes_of(now.proxies, {spec.name: replace(spec, faults=()) for spec in wanted.proxies}, by)
    named = {spec.name: {fault.name: fault for fault in spec.faults} for spec in wanted.proxies}
    faults = {
        name: changes_of(now.faults.get(name, {}), named.get(name, {}), by)
        for name in proxies.carried_out(now.proxies, by)
    }
    return Plan(
        by=by,
        proxies=proxies,
        faults=faults,
        partitions=changes_of(now.partitions, {spec.id: spec for spec in wanted.partitions}, by),
        start=tuple(name for name in faults if name not in now.proxies),
        change=tuple(
            name
            for name, of_it in faults.items()
            if name in now.proxies and (name in proxies.put or of_it.remove or of_it.put)
        ),
    )


def changes_of(now: Mapping[str, Owned[T]], wanted: Mapping[str, T], by: str | None) -> Changes[T]:
    """Return the fewest changes that turn `now` into `wanted`, apart from the parts that other makers than `by` made.

    If `by` is None, all parts that are not wanted are removed.
    """
    return Changes(
        remove=tuple(name for name, one in now.items() if name not in wanted and by in (one.by, None)),
        put={name: spec for name, spec in wanted.items() if name not in now or now[name].spec != spec},
        keep=tuple(name for name, spec in wanted.items() if name in now and now[name].spec == spec),
    )
