"""The steps from what is desired now to what somebody wants. Pure.

Everything that is desired (a proxy, a fault, a partition) has a maker, such as `file` or `rest`. When
one of them applies a whole configuration, one rule holds for all three:

    what the configuration names   becomes as it says, and is that maker's from then on
    what it does not name          goes if the same maker made it; stays if another did

The faults of a proxy that goes, go with it. A change by another does not change the maker: what
REST changes of a file's fault is the file's, and the next `apply` of the file sets it back.
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
    """Something desired, and who made it."""

    spec: T
    by: str


@dataclass(frozen=True, slots=True)
class Changes(Generic[T]):
    """What to do with things of one kind, by name."""

    remove: tuple[str, ...] = ()
    put: Mapping[str, T] = field(default_factory=dict)
    """Things to add, or to change."""
    keep: tuple[str, ...] = ()
    """Things that are as wanted already."""

    def carried_out(self, now: Mapping[str, Owned[T]], by: str) -> dict[str, Owned[T]]:
        """Return what `now` becomes; what changes stays in its place."""
        after = {name: one for name, one in now.items() if name not in self.remove}
        after |= {name: replace(after[name], by=by) for name in self.keep}
        return after | {name: Owned(spec, by) for name, spec in self.put.items()}


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that is desired."""

    proxies: Mapping[str, Owned[ProxySpec]] = field(default_factory=dict)
    """Settings alone: their faults stand in `faults`."""
    faults: Mapping[str, Mapping[str, Owned[FaultSpec]]] = field(default_factory=dict)
    """By proxy and name."""
    partitions: Mapping[str, Owned[PartitionSpec]] = field(default_factory=dict)

    def specs(self) -> tuple[ProxySpec, ...]:
        """Return every proxy with its faults."""
        return tuple(
            replace(owned.spec, faults=tuple(one.spec for one in self.faults.get(name, {}).values()))
            for name, owned in self.proxies.items()
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one maker, who has made all that it names afterwards."""

    by: str
    proxies: Changes[ProxySpec]
    faults: Mapping[str, Changes[FaultSpec]]
    """For each proxy that is there afterwards."""
    partitions: Changes[PartitionSpec]
    start: tuple[str, ...]
    """The named proxies that are not there."""
    change: tuple[str, ...]
    """The proxies that are there and stay, where they or their faults are not as wanted."""

    def outcome(self, now: Desired) -> Desired:
        """Return what is desired afterwards."""
        faults = {name: one for name, one in now.faults.items() if name not in self.proxies.remove}
        faults |= {name: one.carried_out(now.faults.get(name, {}), self.by) for name, one in self.faults.items()}
        proxies = self.proxies.carried_out(now.proxies, self.by)
        return Desired(proxies, faults, self.partitions.carried_out(now.partitions, self.by))


def plan(now: Desired, wanted: Config, by: str) -> Plan:
    """Return the least that makes `now` what `by` wants, by the rule of this module."""
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
    """Return the least that makes the things `now` into `wanted`; things that others than `by` made stay.

    Without a maker, everything that is not wanted goes.
    """
    return Changes(
        remove=tuple(name for name, one in now.items() if name not in wanted and by in (one.by, None)),
        put={name: spec for name, spec in wanted.items() if name not in now or now[name].spec != spec},
        keep=tuple(name for name, spec in wanted.items() if name in now and now[name].spec == spec),
    )
