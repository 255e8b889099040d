"""Leases: faults and partitions that are removed when their maker stops to renew them.

A program that breaks a network may die before it heals it. So it makes its changes under a lease, and renews that
every second or so. When a lease was not renewed for its ttl, or when it is released, everything made under it is
removed: a dead man's switch.

`Faults` and `Partitions` know the lease of each of theirs. A lease holds what was made under it until it is removed or
a configuration file adopts it; a change by another leaves it with the lease, and a change under another lease hands it
over. A fault that was there before without a lease stays without one.

Invariants:
- Nothing is made under a lease that has ended: its makers check that at the moment at which they make it.
- A lease that has ended is healed to its end, whatever else fails, in slices of 2 ms for all such leases together.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from chaosproxy.control.lease import Lease, no_lease
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.errors import Conflict
from chaosproxy.events import LeaseExpired
from chaosproxy.model.fault import FaultSpec
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.timer.alarm import Alarm
from chaosproxy.tasks import TaskOwner

__all__ = ["MOST_LEASES", "Healed", "Leases"]

MOST_LEASES = 1_000
_BY = "lease"
"""The maker of the changes that the end of a lease makes, in events."""
_TURN_S = 0.002
_LATE_S = 0.1
"""An alarm that comes later than this shows that the process did not run: renewals may wait to be read."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Healed:
    """The things that the end of a lease has removed."""

    faults: list[tuple[str, FaultSpec]] = field(default_factory=list)
    """Each with the name of its proxy."""
    partitions: list[str] = field(default_factory=list)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    """The proxies from which something was removed."""


class Leases:
    """The leases of one process."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._clock = supervisor.scheduler.clock
        self._leases: dict[str, tuple[Lease, Alarm]] = {}
        self._tasks = TaskOwner("leases")
        self._healing = asyncio.Lock()
        """Held while a lease is healed, so that all of them together take 2 ms of the loop at a time."""
        self._is_closed = False

    def all(self) -> list[Lease]:
        """Return every lease, in the order in which they were granted."""
        return [lease for lease, _ in self._leases.values()]

    def get(self, id: str) -> Lease:
        """Return a lease by its id.

        :raises NotFound: there is none of this id; it may have expired.
        """
        if id not in self._leases:
            raise no_lease(id)
        return self._leases[id][0]

    def grant(self, ttl: float, by: str) -> Lease:
        """Make a lease that expires after `ttl` seconds without a renewal.

        :raises Conflict: there are as many leases as there can be, or the process ends.
        """
        if self._is_closed:
            raise Conflict("the server ends; make the lease at another one")
        if len(self._leases) >= MOST_LEASES:
            raise Conflict(f"there are {MOST_LEASES} leases, which is the most; release some first", "too-large")
        lease = Lease(f"lease-{secrets.token_hex(8)}", ttl, by, self._clock())
        alarm = Alarm(self._supervisor.scheduler, partial(self._expire, lease))
        self._leases[lease.id] = lease, alarm
        alarm.set(lease.renewed_at + ttl)
        return lease

    def renew(self, id: str, ttl: float | None = None) -> Lease:
        """Let a lease last for its ttl from now on, or for another one.

        :raises NotFound: there is none of this id; what was made under it is removed.
        """
        lease = self.get(id)
        lease.ttl = lease.ttl if ttl is None else ttl
        lease.renewed_at = self._clock()
        self._leases[id][1].set(lease.renewed_at + lease.ttl)
        return lease

    def held(self, lease: Lease, most: int) -> tuple[list[tuple[str, str]], int, list[str]]:
        """Return what a lease holds: its first faults, each after its proxy, the number of others, and partitions."""
        partitions = [one.spec.id for one in self._supervisor.partitions.all() if one.lease == lease.id]
        faults = list(islice(self._supervisor.faults.under(lease.id), most))
        return faults, self._supervisor.faults.number_under(lease.id) - len(faults), partitions

    async def release(self, id: str) -> Healed:
        """End a lease, and remove what was made under it; return that. This ends also if its caller is cancelled.

        :raises NotFound: there is none of this id.
        """
        lease = self.get(id)
        self._end(lease)
        healed = Healed()
        await asyncio.shield(self._tasks.start(self._heal(lease, healed), lease.id))
        return healed

    async def close(self) -> None:
        """Forget all leases; what was made under them ends with the process."""
        self._is_closed = True
        for lease in self.all():
            self._end(lease)
        await self._tasks.end()

    def _end(self, lease: Lease) -> None:
        lease.has_ended = True
        self._leases.pop(lease.id)[1].cancel()

    def _expire(self, lease: Lease) -> None:
        late = self._clock() - lease.renewed_at - lease.ttl
        if late > _LATE_S:
            # As much time as was lost, so that renewals are read which were sent meanwhile.
            lease.renewed_at = self._clock() - lease.ttl + min(late, lease.ttl)
            self._leases[lease.id][1].set(lease.renewed_at + lease.ttl)
            return
        self._end(lease)
        self._tasks.start(self._heal_expired(lease), lease.id)

    async def _heal_expired(self, lease: Lease) -> None:
        healed = Healed()
        try:
            await self._heal(lease, healed)
        finally:
            event = LeaseExpired(
                at=self._clock(), lease=lease.id, by=lease.by, ttl_s=lease.ttl, faults=len(healed.faults),
                partitions=len(healed.partitions),
            )  # fmt: skip
            self._supervisor.bus.publish(event)

    async def _heal(self, lease: Lease, healed: Healed) -> None:
        async with self._healing:
            pace = _Pace(self._clock)
            for partition in self._supervisor.partitions.all():
                if partition.lease == lease.id and self._supervisor.partitions.has(partition):
                    cut = [one for one in self._supervisor.proxies() if partition.spec.id in one.partitions]
                    healed.proxies |= {one.name: one for one in cut}
                    self._try(partial(self._heal_partition, partition.spec.id, healed))
                    await pace.rest()
            # Nothing is made under the lease any more, so each round leaves less.
            for name in dict.fromkeys(proxy for proxy, _ in self._supervisor.faults.under(lease.id)):
                self._try(partial(self._heal_proxy, name, lease, healed))
                await pace.rest()

    def _heal_partition(self, id: str, healed: Healed) -> None:
        self._supervisor.partitions.remove(id, _BY)
        healed.partitions.append(id)

    def _heal_proxy(self, name: str, lease: Lease, healed: Healed) -> None:
        """Remove a lease's faults from a proxy, all at once: data that one releases passes through no other of them."""
        held = self._supervisor.faults.under_on(lease.id, name)
        if held:
            running = healed.proxies[name] = self._supervisor.proxy(name)
            with running.changing():
                for fault in held:
                    healed.faults.append((name, self._supervisor.faults.remove(running, fault, _BY)))

    @staticmethod
    def _try(remove: Callable[[], object]) -> None:
        """Remove something, and go on with the rest if that is a defect."""
        try:
            remove()
        except Exception:
            logger.exception("a part of a lease could not be removed")


class _Pace:
    """Gives the loop to others after each 2 ms of work."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()

    async def rest(self) -> None:
        if self._clock() - self._began >= _TURN_S:
            await asyncio.sleep(0)
            self._began = self._clock()
