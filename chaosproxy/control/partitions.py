"""The active partitions of a process.

The supervisor owns one `Partitions`, which holds an ActivePartition for each partition. It calls `sever`
and `restore` of the proxies between the nodes of a partition, and sets alarms for its end and for the
flaps of a flaky link. The supervisor calls `arrange` after it has added or changed a proxy, and `forget`
after it has removed one.

Invariants:
- A partition cuts all proxies between its nodes in one turn of the loop, or none of them.
- A proxy that is added later, or whose nodes change, is cut if it lies between the nodes of a partition.
- Partitions may overlap: a proxy is cut until the last partition that cuts it is healed.
- A partition that has ended leaves no alarm behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

from chaosproxy.control.plan import Changes
from chaosproxy.control.preflight import PreparedCut, granted, preflight_cut
from chaosproxy.declare import nearest
from chaosproxy.errors import Conflict, NotFound
from chaosproxy.events import (
    Bus,
    PartitionAdded,
    PartitionExpired,
    PartitionFlapped,
    PartitionRemoved,
)
from chaosproxy.model.partition import PartitionSpec, faults_of
from chaosproxy.model.settings import MOST_PARTITIONS
from chaosproxy.model.topology import MOST_PAIRS, Cut, Pair, bad_switch, flaky_link
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.placement.modes import ResolvedMode, resolve_mode
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.timer.alarm import Alarm
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.seed import Seed

__all__ = ["ActivePartition", "Partitions"]


@dataclass(slots=True)
class ActivePartition:
    """An active partition."""

    spec: PartitionSpec
    cut: Cut
    """The pairs of nodes (sender, receiver) that it cuts."""
    pairs: tuple[Pair, ...]
    """The same pairs in order."""
    by: str
    """The maker: rest, file, demo, scenario …"""
    since: float
    """The time at which it began, on the data plane's clock."""
    lasts: float | None
    """Seconds after which it is healed automatically; None if it stays until it is removed."""
    is_cut: bool = True
    """False while a flaky link is up."""
    parts: dict[str, ResolvedMode] = field(default_factory=dict)
    """The mode in which it acts on each proxy that it cuts, by the proxy's name."""
    lease: str | None = None
    """The id of the lease that holds it; None if none does."""
    timers: dict[str, Alarm] = field(default_factory=dict)
    """The alarms: `end` for its end, `flap` for the next change of a flaky link."""

    @property
    def modes(self) -> list[str]:
        """The modes in which it acts: one, or both if proxies differ."""
        return sorted({part.mode for part in self.parts.values() if part.mode is not None})

    @property
    def why(self) -> str:
        """The reason why `auto` became stream, on the first proxy where it did; empty if it did on none."""
        return next((part.why for part in self.parts.values() if part.why), "")


class Partitions:
    """The partitions of one process; owned by its supervisor."""

    def __init__(
        self, proxies: Callable[[], list[Proxy]], seed: Seed, kernel: Capabilities, bus: Bus, scheduler: Scheduler
    ) -> None:
        self._proxies = proxies
        self._seed = seed
        self.kernel = kernel
        self._bus = bus
        self._scheduler = scheduler
        self._clock = scheduler.clock
        self._active: dict[str, ActivePartition] = {}

    def all(self) -> list[ActivePartition]:
        """Return every active partition, in the order in which they were added."""
        return list(self._active.values())

    def get(self, id: str) -> ActivePartition:
        """Return an active partition.

        :raises NotFound: no partition has this id; the message has the nearest one.
        """
        if id not in self._active:
            has = f"known partitions: {', '.join(list(self._active)[:20])}" if self._active else "there are none"
            raise NotFound(f"no partition is called {id[:100]!r}{nearest(id, self._active)}; {has}")
        return self._active[id]

    def free_id(self) -> str:
        """Return `partition-1`, or the first id of this form that is free."""
        number = 1
        while f"partition-{number}" in self._active:
            number += 1
        return f"partition-{number}"

    def cut_now(self) -> Cut:
        """Return every pair of nodes that is cut at this moment."""
        return frozenset(pair for one in self._active.values() if one.is_cut for pair in one.cut)

    def add(self, spec: PartitionSpec, by: str) -> ActivePartition:
        """Add a partition: cut every proxy between its nodes, or none.

        :raises Conflict: the id is taken.
        :raises InvalidInput: a node is unknown, or no proxy lies between the nodes.
        :raises Unsupported: it requires mode packet, which is not supported here.
        """
        self.check_free(spec.id)
        specs = [proxy.spec for proxy in self._proxies()]
        return self.begin(granted(preflight_cut(spec, specs, self._seed, self.kernel)), by)

    def begin(self, prepared: PreparedCut, by: str) -> ActivePartition:
        """Begin a partition that was prepared for the present proxies.

        :raises Conflict: the id is taken, or there would be too many partitions or pairs.
        """
        self.check_free(prepared.spec.id)
        pairs = len(prepared.cut) + sum(len(one.cut) for one in self._active.values())
        if len(self._active) >= MOST_PARTITIONS:
            raise Conflict(f"there are {MOST_PARTITIONS} partitions, which is the most; remove some first", "too-large")
        if pairs > MOST_PAIRS:
            message = f"with this one, partitions would cut {pairs} pairs of nodes, and {MOST_PAIRS} is the most"
            raise Conflict(f"{message}; remove some first, or cut fewer nodes", "too-large")
        return self._begin(prepared, by)

    def check_free(self, id: str) -> None:
        """
        :raises Conflict: the id is taken.
        """
        if id in self._active:
            raise Conflict.name_taken(f"the partition {id!r}", "id")

    def has(self, partition: ActivePartition) -> bool:
        """Return whether the partition has not ended."""
        return self._active.get(partition.spec.id) is partition

    def _begin(self, prepared: PreparedCut, by: str) -> ActivePartition:
        spec, now = prepared.spec, self._clock()
        parts = {proxy.spec.name: prepared.modes[proxy.spec.name] for proxy in self._between(prepared.faults)}
        active = ActivePartition(spec, prepared.cut, prepared.pairs, by, now, self._lasts(spec), parts=parts)
        self._active[spec.id] = active
        try:
            for proxy in self._between(parts):
                proxy.sever(spec.id, prepared.faults[proxy.spec.name], parts[proxy.spec.name])
        except BaseException:
            self._end(active)
            raise
        self._set_timers(active)
        self._bus.publish(
            PartitionAdded(
                at=now, partition=spec.id, cut=prepared.line, proxies=len(parts),
                effective_mode=",".join(active.modes), mode_reason=active.why, by=by,
            )
        )  # fmt: skip
        return active

    def remove(self, id: str, by: str) -> ActivePartition:
        """Heal one partition; proxies that other partitions cut stay cut.

        :raises NotFound: no partition has this id.
        """
        gone = self._end(self.get(id))
        self._bus.publish(PartitionRemoved(at=self._clock(), partition=id, by=by))
        return gone

    def heal(self, by: str) -> list[ActivePartition]:
        """Heal all partitions; return them."""
        return [self.remove(id, by) for id in list(self._active)]

    def cuts(self, changes: Changes[PartitionSpec] | None = None) -> list[tuple[PartitionSpec, Cut]]:
        """Return every active partition, or those that continue unchanged after `changes`, for preflight."""
        ending = () if changes is None else (*changes.remove, *changes.put)
        return [(one.spec, one.cut) for one in self._active.values() if one.spec.id not in ending]

    def retire(self, changes: Changes[PartitionSpec], by: str) -> None:
        """End the partitions that `changes` removes or changes; `apply` begins the changed ones again."""
        for id in list(self._active):
            if id in changes.remove or id in changes.put:
                self.remove(id, by)

    def apply(self, changes: Changes[PartitionSpec], prepared: Iterable[PreparedCut], by: str) -> None:
        """Begin the new and changed partitions, after `retire`; make `by` the maker of those that are kept."""
        for one in prepared:
            if one.spec.id in changes.put:
                self._begin(one, by)
        for id in changes.keep:
            if id in self._active:
                self._active[id].by, self._active[id].lease = by, None

    def arrange(self, proxy: Proxy) -> None:
        """Cut a new or changed proxy if it lies between the nodes of a partition, and restore it otherwise.

        :raises Unsupported: a partition requires mode packet, which this proxy does not support.
        """
        name = proxy.spec.name
        wanted = {one.spec.id: faults_of(one.spec, one.cut, [proxy.spec]) for one in self._active.values()}
        found = {id: resolve_mode(faults[name], proxy.spec, self.kernel) for id, faults in wanted.items() if faults}
        for id, active in self._active.items():
            active.parts.pop(name, None)
            if id not in found:
                proxy.restore(id)
                continue
            active.parts[name] = found[id]
            if active.is_cut:
                proxy.sever(id, wanted[id][name], found[id])

    def forget(self, proxy: str) -> None:
        """Forget a proxy that was removed."""
        for active in self._active.values():
            active.parts.pop(proxy, None)

    def close(self) -> None:
        """Cancel every alarm and forget all partitions; the supervisor ends the proxies."""
        for active in self._active.values():
            _stop(active)
        self._active.clear()

    def _between(self, names: Iterable[str]) -> Iterator[Proxy]:
        wanted = set(names)
        return (proxy for proxy in self._proxies() if proxy.spec.name in wanted)

    def _lasts(self, spec: PartitionSpec) -> float | None:
        if spec.preset != "bad-switch":
            return spec.ttl
        dice = self._seed.at("partition", spec.id, "bad-switch")
        return bad_switch(dice) if spec.ttl is None else bad_switch(dice, spec.ttl)

    def _set_timers(self, active: ActivePartition) -> None:
        if active.lasts is not None:
            end = active.timers["end"] = Alarm(self._scheduler, partial(self._expire, active))
            end.set(active.since + active.lasts)
        if active.spec.preset == "flaky-link":
            dice = self._seed.at("partition", active.spec.id, "flaky-link")
            due = accumulate(flaky_link(dice, active.spec.down, active.spec.up), initial=active.since)
            next(due)  # the first time is the beginning, when it is cut
            flap = active.timers["flap"] = Alarm(self._scheduler, partial(self._flap, active, due))
            flap.set(next(due))

    def _flap(self, active: ActivePartition, due: Iterator[float]) -> None:
        """Cut or restore a flaky link. Its times follow from its beginning, so a late call does not delay the next."""
        active.timers["flap"].set(next(due))
        active.is_cut = not active.is_cut
        specs = [proxy.spec for proxy in self._proxies()]
        faults = faults_of(active.spec, active.cut, specs) if active.is_cut else {}
        for proxy in self._between(active.parts):
            if active.is_cut:
                proxy.sever(active.spec.id, faults[proxy.spec.name], active.parts[proxy.spec.name])
            else:
                proxy.restore(active.spec.id)
        self._bus.publish(PartitionFlapped(at=self._clock(), partition=active.spec.id, is_cut=active.is_cut))

    def _expire(self, active: ActivePartition) -> None:
        self._end(active)
        self._bus.publish(PartitionExpired(at=self._clock(), partition=active.spec.id))

    def _end(self, active: ActivePartition) -> ActivePartition:
        _stop(active)
        del self._active[active.spec.id]
        for proxy in self._between(active.parts):
            proxy.restore(active.spec.id)
        return active


def _stop(active: ActivePartition) -> None:
    for timer in active.timers.values():
        timer.cancel()
    active.timers.clear()
