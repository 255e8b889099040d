"""The faults of running proxies: placed, changed, removed, and ended by their ttl.

Everything here happens at once. What a fault does to connections is its proxy's work; this
module checks it beforehand, publishes the event and sets the time of its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from chaosproxy.control.origin import Origin
from chaosproxy.control.preflight import PreparedFault, granted, preflight_fault
from chaosproxy.declare import nearest
from chaosproxy.errors import NotFound
from chaosproxy.events import Bus, Event, FaultAdded, FaultChanged, FaultExpired, FaultRemoved
from chaosproxy.model.fault import FaultSpec
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.timer.alarm import Alarm
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Faults"]


class Faults:
    """Changes the faults of proxies; belongs to the supervisor."""

    def __init__(self, kernel: Capabilities, bus: Bus, scheduler: Scheduler) -> None:
        self._kernel = kernel
        self._bus = bus
        self._scheduler = scheduler
        self._origins: dict[tuple[str, str], Origin] = {}
        """By proxy and fault, for every fault."""
        self._ends: dict[tuple[str, str], Alarm] = {}
        """The same, for faults with a ttl."""

    def origin(self, proxy: Proxy, fault: str) -> Origin:
        """Return who made a fault of a proxy, and when.

        :raises NotFound: the proxy has none of that name.
        """
        if (proxy.spec.name, fault) not in self._origins:
            raise _not_there(proxy, fault)
        return self._origins[proxy.spec.name, fault]

    def adopt(self, proxy: Proxy, fault: str, by: str) -> None:
        """Have the fault, if it is there, count as made by `by`."""
        where = (proxy.spec.name, fault)
        if where in self._origins:
            self._origins[where] = replace(self._origins[where], by=by)

    def prepare(self, proxy: Proxy, fault: FaultSpec) -> PreparedFault:
        """
        :raises InvalidInput: a file that it needs cannot be used.
        :raises Unsupported: it asks for a mode that is not supported here.
        """
        return granted(preflight_fault(fault, proxy.spec, self._kernel, proxy.tls))

    def place(self, proxy: Proxy, prepared: PreparedFault, by: str) -> None:
        """Place a fault, or change the one of that name, whose maker stays; its ttl begins again."""
        fault = prepared.spec
        known = proxy.spec.fault(fault.name) is not None
        if prepared.tls is not proxy.tls:
            proxy.use_tls(prepared.tls)
        proxy.put_fault(fault, prepared.resolved)
        self._note(proxy, fault, by)
        self._publish_placed(FaultChanged if known else FaultAdded, proxy, fault, by)

    def begun(self, proxy: Proxy, by: str) -> None:
        """Take in the faults that a proxy was started with."""
        for fault in proxy.spec.faults:
            self._note(proxy, fault, by)
            self._publish_placed(FaultAdded, proxy, fault, by)

    def remove(self, proxy: Proxy, fault: str, by: str) -> FaultSpec:
        """Remove a fault; what it held goes on at once.

        :raises NotFound: the proxy has none of that name.
        """
        gone = self._take_away(proxy, fault)
        self._publish(FaultRemoved, proxy=proxy.spec.name, fault=fault, type=gone.type, by=by)
        return gone

    def heal(self, proxies: Sequence[Proxy], fault: str | None, by: str) -> list[tuple[str, FaultSpec]]:
        """Remove every fault of these proxies, or those of one name; returns each with its proxy.

        :raises NotFound: none of them has a fault of that name.
        """
        found = [(proxy, one) for proxy in proxies for one in proxy.spec.faults if fault in (one.name, None)]
        if fault is not None and not found:
            known = [one.name for proxy in proxies for one in proxy.spec.faults]
            raise NotFound(f"there is no fault {fault!r}{nearest(fault, known)}")
        # From the last fault to the first: what one releases then passes through none that goes next.
        for proxy, one in reversed(found):
            self.remove(proxy, one.name, by)
        return [(proxy.spec.name, one) for proxy, one in found]

    def forget(self, proxy: Proxy) -> None:
        """Take out the faults of a proxy that ends."""
        for fault in proxy.spec.faults:
            self._forget(proxy, fault.name)

    def _take_away(self, proxy: Proxy, fault: str) -> FaultSpec:
        if proxy.spec.fault(fault) is None:
            raise _not_there(proxy, fault)
        self._forget(proxy, fault)
        return proxy.remove_fault(fault)

    def _note(self, proxy: Proxy, fault: FaultSpec, by: str) -> None:
        self._origins.setdefault((proxy.spec.name, fault.name), Origin(by, self._scheduler.clock()))
        self._set_end(proxy, fault)

    def _forget(self, proxy: Proxy, fault: str) -> None:
        del self._origins[proxy.spec.name, fault]
        self._cancel_end(proxy, fault)

    def _set_end(self, proxy: Proxy, fault: FaultSpec) -> None:
        self._cancel_end(proxy, fault.name)
        ttl = fault.placement.ttl
        if ttl is not None:
            end = Alarm(self._scheduler, partial(self._expire, proxy, fault.name))
            end.set(self._scheduler.clock() + ttl)
            self._ends[proxy.spec.name, fault.name] = end

    def _cancel_end(self, proxy: Proxy, fault: str) -> None:
        end = self._ends.pop((proxy.spec.name, fault), None)
        if end is not None:
            end.cancel()

    def _expire(self, proxy: Proxy, fault: str) -> None:
        gone = self._take_away(proxy, fault)
        self._publish(FaultExpired, proxy=proxy.spec.name, fault=fault, type=gone.type)

    def _publish_placed(self, event: Callable[..., Event], proxy: Proxy, fault: FaultSpec, by: str) -> None:
        active = proxy.active_fault(fault.name)
        mode, why = (active.resolved.mode or "", active.resolved.why) if active is not None else ("", "")
        facts = {"fault": fault.name, "type": fault.type, "effective_mode": mode, "mode_reason": why}
        self._publish(event, proxy=proxy.spec.name, by=by, **facts)

    def _publish(self, event: Callable[..., Event], **facts: object) -> None:
        self._bus.publish(event(at=self._scheduler.clock(), **facts))


def _not_there(proxy: Proxy, fault: str) -> NotFound:
    known = [present.name for present in proxy.spec.faults]
    return NotFound(f"proxy {proxy.spec.name!r} has no fault {fault!r}{nearest(fault, known)}")
