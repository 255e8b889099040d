"""Add, change and remove the faults of running proxies, and remove each when its ttl ends.

A change is complete when its method returns: nothing here awaits. The proxy applies a fault to its
connections. This module prepares the fault before that, records its origin, publishes the event, and
sets an alarm for the end of its ttl.

It also knows the lease that holds each fault, by an index that is exact at any time: a lease lists and
removes its faults without a look at others (`control.leases`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from chaosproxy.control.lease import Lease
from chaosproxy.control.origin import Origin
from chaosproxy.control.preflight import PreparedFault, granted, preflight_fault
from chaosproxy.declare import nearest
from chaosproxy.errors import Conflict, NotFound
from chaosproxy.events import Bus, Event, FaultAdded, FaultChanged, FaultExpired, FaultRemoved
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.proxy import MOST_FAULTS
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.timer.alarm import Alarm
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Faults"]


class Faults:
    """The faults of all proxies, with their origins and ttls; owned by the supervisor."""

    def __init__(self, kernel: Capabilities, bus: Bus, scheduler: Scheduler) -> None:
        self._kernel = kernel
        self._bus = bus
        self._scheduler = scheduler
        self._origins: dict[tuple[str, str], Origin] = {}
        """The origin of every fault, by the names of the proxy and the fault."""
        self._ends: dict[tuple[str, str], Alarm] = {}
        """The alarm of every fault with a ttl, by the same names."""
        self._under: dict[str, dict[str, dict[str, None]]] = {}
        """The faults of each lease: by its id, the names of proxies, and of their faults."""

    def origin(self, proxy: Proxy, fault: str) -> Origin:
        """Return the origin of a fault: its maker, and the time at which it was added.

        :raises NotFound: the proxy has no fault of that name.
        """
        return self._origins[proxy.name, self.find(proxy, fault).name]

    def find(self, proxy: Proxy, name: str) -> FaultSpec:
        """Return a fault of a proxy by its name.

        :raises NotFound: the proxy has no fault of that name; the message has the nearest one.
        """
        active = proxy.active_fault(name)
        if active is None:
            known = [present.name for present in proxy.spec.faults]
            has = f"known faults: {', '.join(known[:20])}" if known else "it has none"
            of = f"no fault of proxy {proxy.name!r}"
            raise NotFound(f"{of} is called {name[:100]!r}{nearest(name, known)}; {has}")
        return active.spec

    def adopt(self, proxy: Proxy, fault: str, by: str) -> None:
        """Make `by` the maker of a fault, if the fault exists; no lease holds it any more."""
        where = (proxy.name, fault)
        if where in self._origins:
            self._hold(proxy.name, fault, None)
            self._origins[where] = replace(self._origins[where], by=by)

    def under(self, lease: str) -> Iterator[tuple[str, str]]:
        """Yield the names of the faults that a lease holds, each after that of its proxy."""
        return ((proxy, fault) for proxy, faults in self._under.get(lease, {}).items() for fault in faults)

    def number_under(self, lease: str) -> int:
        """Return the number of faults that a lease holds."""
        return sum(map(len, self._under.get(lease, {}).values()))

    def under_on(self, lease: str, proxy: str) -> list[str]:
        """Return the names of the faults that a lease holds on one proxy."""
        return list(self._under.get(lease, {}).get(proxy, ()))

    def prepare(self, proxy: Proxy, fault: FaultSpec) -> PreparedFault:
        """Prepare a fault for a proxy, without changing anything.

        :raises Conflict: the proxy has as many faults as it can have, and none of this name.
        :raises InvalidInput: a file that it needs is unusable.
        :raises Unsupported: its type or its mode is not supported on this proxy.
        """
        if len(proxy.spec.faults) >= MOST_FAULTS and proxy.active_fault(fault.name) is None:
            message = f"the proxy {proxy.name!r} has {MOST_FAULTS} faults, which is the most; remove some first"
            raise Conflict(message, "too-large")
        return granted(preflight_fault(fault, proxy.spec, self._kernel, proxy.tls))

    def place(self, proxy: Proxy, prepared: PreparedFault, by: str, lease: Lease | None = None) -> None:
        """Add a fault, or change the one of that name: its maker stays the same, and its ttl starts again.

        A lease holds a fault that is added, and one that another lease has held.

        :raises NotFound: the lease has ended.
        """
        if lease is not None:
            lease.check()
        fault = prepared.spec
        known = proxy.active_fault(fault.name) is not None
        if prepared.tls is not proxy.tls:
            proxy.tls = prepared.tls
        proxy.put_fault(fault, prepared.resolved)
        self._note(proxy, fault, by)
        if lease is not None and (not known or self._origins[proxy.name, fault.name].lease is not None):
            self._hold(proxy.name, fault.name, lease.id)
        self._publish_placed(FaultChanged if known else FaultAdded, proxy, fault, by)

    def begun(self, proxy: Proxy, by: str) -> None:
        """Record the faults that a proxy was started with, and publish them."""
        for fault in proxy.spec.faults:
            self._note(proxy, fault, by)
            self._publish_placed(FaultAdded, proxy, fault, by)

    def remove(self, proxy: Proxy, fault: str, by: str) -> FaultSpec:
        """Remove a fault and release everything that it holds; return the fault.

        :raises NotFound: the proxy has no fault of that name.
        """
        gone = self._take_away(proxy, fault)
        self._publish(FaultRemoved, proxy=proxy.name, fault=fault, type=gone.type, by=by)
        return gone

    def heal(self, proxies: Sequence[Proxy], fault: str | None, by: str) -> list[tuple[str, FaultSpec]]:
        """Remove every fault of these proxies, or those of one name; return each with the name of its proxy.

        :raises NotFound: no proxy of these has a fault of that name.
        """
        found = [(proxy, one) for proxy in proxies for one in proxy.spec.faults if fault in (one.name, None)]
        if fault is not None and not found:
            known = list(dict.fromkeys(one.name for proxy in proxies for one in proxy.spec.faults))
            where = f" on {proxies[0].name}" if len(proxies) == 1 else ""
            has = f"known faults: {', '.join(known[:20])}" if known else "there are none"
            raise NotFound(f"no fault{where} is called {fault[:100]!r}{nearest(fault, known)}; {has}")
        with contextlib.ExitStack() as stack:  # all at once: data that one releases passes through no other of them
            for proxy in proxies:
                stack.enter_context(proxy.changing())
            for proxy, one in found:
                self.remove(proxy, one.name, by)
        return [(proxy.name, one) for proxy, one in found]

    def forget(self, proxy: Proxy) -> None:
        """Drop the origins and alarms of a proxy that is removed."""
        for fault in proxy.spec.faults:
            self._forget(proxy, fault.name)

    def _take_away(self, proxy: Proxy, fault: str) -> FaultSpec:
        self.find(proxy, fault)
        self._forget(proxy, fault)
        return proxy.remove_fault(fault)

    def _note(self, proxy: Proxy, fault: FaultSpec, by: str) -> None:
        self._origins.setdefault((proxy.name, fault.name), Origin(by, self._scheduler.clock()))
        self._set_end(proxy, fault)

    def _hold(self, proxy: str, fault: str, lease: str | None) -> None:
        """Let a lease hold a fault, or none."""
        origin = self._origins[proxy, fault]
        self._origins[proxy, fault] = replace(origin, lease=lease)
        if origin.lease is not None:
            proxies = self._under[origin.lease]
            del proxies[proxy][fault]
            if not proxies[proxy]:
                del proxies[proxy]
            if not proxies:
                del self._under[origin.lease]
        if lease is not None:
            self._under.setdefault(lease, {}).setdefault(proxy, {})[fault] = None

    def _forget(self, proxy: Proxy, fault: str) -> None:
        self._hold(proxy.name, fault, None)
        del self._origins[proxy.name, fault]
        self._cancel_end(proxy, fault)

    def _set_end(self, proxy: Proxy, fault: FaultSpec) -> None:
        self._cancel_end(proxy, fault.name)
        ttl = fault.placement.ttl
        if ttl is not None:
            end = Alarm(self._scheduler, partial(self._expire, proxy, fault.name))
            end.set(self._scheduler.clock() + ttl)
            self._ends[proxy.name, fault.name] = end

    def _cancel_end(self, proxy: Proxy, fault: str) -> None:
        end = self._ends.pop((proxy.name, fault), None)
        if end is not None:
            end.cancel()

    def _expire(self, proxy: Proxy, fault: str) -> None:
        gone = self._take_away(proxy, fault)
        self._publish(FaultExpired, proxy=proxy.name, fault=fault, type=gone.type)

    def _publish_placed(self, event: Callable[..., Event], proxy: Proxy, fault: FaultSpec, by: str) -> None:
        active = proxy.active_fault(fault.name)
        mode, why = (active.resolved.mode or "", active.resolved.why) if active is not None else ("", "")
        facts = {"fault": fault.name, "type": fault.type, "effective_mode": mode, "mode_reason": why}
        self._publish(event, proxy=proxy.name, by=by, **facts)

    def _publish(self, event: Callable[..., Event], **facts: object) -> None:
        self._bus.publish(event(at=self._scheduler.clock(), **facts))
