"""The supervisor, which owns everything that runs and makes every change to it.

REST, the configuration file and the demo all call a Supervisor. It owns the proxies, their `Faults`, the
`Partitions`, the event bus, and the scheduler, hangups and tap that all proxies share. For a change it
runs preflight first, and then applies the prepared objects.

Invariants:
- A change is applied completely or not at all: preflight and the binding of sockets, which can fail,
  come before the first step. No client is accepted before that step.
- Changes of faults and partitions are plain methods, complete when they return. Changes of proxies
  are coroutines, since they bind sockets. They hold the lock `_changing`, so that they run one at a time,
  and run preflight again after the last await, since faults and partitions may have changed meanwhile.
- Every proxy, fault and partition has a maker, on whom its removal by `apply` depends (`control.plan`).
- A removed proxy that has open connections is kept in `_ending`, so that `close` can end them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from chaosproxy.control.close import end_all
from chaosproxy.control.counts import Counts, ProxyCounts, counts_of, proxy_counts
from chaosproxy.control.desired import desired, owned_faults
from chaosproxy.control.ends import drawn_ports, ends_after
from chaosproxy.control.faults import Faults
from chaosproxy.control.file_reads import preflight_proxy_reading_files, preflight_reading_files
from chaosproxy.control.lease import Lease
from chaosproxy.control.listeners import bound_for, has_moved, needs_binding, real_address, reason_not_listening
from chaosproxy.control.origin import Origin
from chaosproxy.control.partitions import Partitions
from chaosproxy.control.plan import Changes, Plan, changes_of, plan
from chaosproxy.control.preflight import (
    Prepared,
    PreparedFault,
    PreparedProxy,
    Present,
    granted,
    preflight,
    preflight_proxy,
)  # fmt: skip
from chaosproxy.control.status import FaultStatus, ProxyStatus, fault_status, proxy_status
from chaosproxy.control.turn_counter import TurnCounter
from chaosproxy.declare import nearest
from chaosproxy.errors import Conflict, NotFound
from chaosproxy.events import Bus, Event, ProxyAdded, ProxyChanged, ProxyRemoved
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.settings import Config
from chaosproxy.net.attempts import SharedTap
from chaosproxy.net.intake import SharedIntake
from chaosproxy.net.kernel.capabilities import Capabilities, probe
from chaosproxy.net.kernel.hangups import Hangups
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.sockets.listener import Listener
from chaosproxy.net.stream.held import HeldBytes
from chaosproxy.net.stream.turn_counts import FailedTurns
from chaosproxy.net.timer.scheduler import Clock, MakeTimer, Scheduler, best_timer
from chaosproxy.net.tls.endpoint import ProxyTls
from chaosproxy.seed import Seed
from chaosproxy.tasks import TaskOwner

__all__ = ["Supervisor"]


class Supervisor:
    """The proxies, faults and partitions of one process. Create it inside a running loop."""

    def __init__(
        self, seed: Seed | None = None, bus: Bus | None = None, clock: Clock = time.monotonic,
        kernel: Capabilities | None = None, make_timer: MakeTimer | None = None,
    ) -> None:  # fmt: skip
        """`kernel` has the capabilities of this machine; if it is None, they are probed.

        All timed work runs on one scheduler: `clock` returns its time, `make_timer` makes its timer.
        """
        self.seed = seed or Seed.drawn()
        self.bus = bus or Bus()
        self._kernel = kernel or probe()
        self._clock = clock
        self.scheduler = Scheduler(clock, make_timer or best_timer(asyncio.get_running_loop(), clock))
        self._hangups = Hangups()
        self.held = HeldBytes(self.scheduler, self.bus.publish)
        self._tasks = TaskOwner("chaosproxy")
        self._intake = SharedIntake(clock)
        self._failed_turns = FailedTurns()
        self.descriptors = self._intake.descriptors
        self.tap = SharedTap(self._kernel.tap, clock, self.descriptors)
        self._changing = asyncio.Lock()
        self._proxies: dict[str, Proxy] = {}
        self._origins: dict[str, Origin] = {}
        """The origin of every proxy, by name."""
        self._ending: list[Proxy] = []
        """Removed proxies that may still have connections."""
        self._turn_counter = TurnCounter(self.proxies, self.scheduler)
        self.faults = Faults(self._kernel, self.bus, self.scheduler)
        self.partitions = Partitions(self.proxies, self.seed, self._kernel, self.bus, self.scheduler)

    @property
    def kernel(self) -> Capabilities:
        """The capabilities of this machine."""
        return replace(self._kernel, tap=self.tap.capability)

    def now(self) -> float:
        """Return the time on the data plane's clock, in seconds."""
        return self._clock()

    def proxy_status(self, proxy: Proxy) -> ProxyStatus:
        return proxy_status(proxy, self._origins[proxy.spec.name], partial(self.faults.origin, proxy))

    def fault_status(self, proxy: Proxy, fault: FaultSpec) -> FaultStatus:
        return fault_status(proxy, fault, self.faults.origin(proxy, fault.name))

    def counts(self, taken: tuple[ProxyCounts, ...] | None = None) -> Counts:
        """Return all counts, as a plain value; those of proxies query the kernel, unless they are `taken` already."""
        proxies = tuple(map(proxy_counts, self.proxies())) if taken is None else taken
        return counts_of(proxies, len(self.partitions.all()), self.partitions.cut_now(), self.tap, self.held)

    # ── proxies ───────────────────────────────────────────────────────────────────────

    def proxies(self) -> list[Proxy]:
        """Return every proxy, in the order in which they were added."""
        return list(self._proxies.values())

    def runs(self, proxy: Proxy) -> bool:
        """Return whether the proxy has not been removed."""
        return self._proxies.get(proxy.spec.name) is proxy

    def proxy(self, name: str) -> Proxy:
        """Return a proxy by its name.

        :raises NotFound: no proxy has this name; the message has the nearest one.
        """
        if name not in self._proxies:
            has = f"known proxies: {', '.join(list(self._proxies)[:20])}" if self._proxies else "there are none yet"
            raise NotFound(f"no proxy is called {name[:100]!r}{nearest(name, self._proxies)}; {has}")
        return self._proxies[name]

    def waiting_for(self) -> dict[str, str]:
        """Return the enabled proxies that do not listen, with the reasons; one whose fault refuses clients listens."""
        enabled = [proxy for proxy in self.proxies() if proxy.spec.enabled]
        return {proxy.spec.name: reason for proxy in enabled if (reason := reason_not_listening(proxy))}

    async def apply(self, wanted: Config | Prepared, by: str) -> None:
        """Apply a whole configuration, or change nothing. TLS endpoints that are already prepared are used as they are.

        Every part that it names belongs to `by` from then on. Parts that it does not name are removed if
        `by` made them, and stay otherwise (see `control.plan`).

        :raises CannotListen: an address could not be bound; nothing has changed.
        :raises InvalidInput: a TLS file is unusable; nothing has changed.
        :raises Unsupported: it requires a mode that is not supported here; nothing has changed.
        """
        config, made = (wanted.config, wanted.tls) if isinstance(wanted, Prepared) else (wanted, {})
        async with self._changing:
            steps, after, present = self._plan(config, by, made)
            prepared = granted(await preflight_reading_files(after, self.seed, self.kernel, present))
            listeners: dict[str, Listener | None] = {}
            changed = [(self._proxies[name], prepared.proxy(name).spec) for name in steps.change]
            leaving = [proxy for proxy, spec in changed if has_moved(proxy.spec, spec)]
            leaving += map(self.proxy, steps.proxies.remove)
            with contextlib.ExitStack() as undo:
                started = [self._make(prepared.proxy(name), undo) for name in steps.start]
                new = [(proxy, proxy.spec) for proxy in started]
                for proxy, spec in [*((one, to) for one, to in changed if needs_binding(one.spec, to)), *new]:
                    path = ("proxies", spec.name)
                    listeners[spec.name] = await bound_for(spec, proxy, self._proxies, leaving, undo, path)
                # Again, since faults and partitions may have been added meanwhile.
                steps, after, present = self._plan(config, by, prepared.tls)
                prepared = granted(preflight(after, self.seed, self.kernel, present))
                undo.pop_all()
            self.held.set_limit(config.max_held)
            self.descriptors.set_max(config.max_connections)
            self.partitions.retire(steps.partitions, by)
            for name in steps.proxies.remove:
                self._remove(name, by)
            for name in steps.change:
                self._change(prepared.proxy(name), steps.faults[name], listeners.get(name), by)
            for proxy in started:
                self._add(proxy, listeners[proxy.spec.name], by)
            self.partitions.apply(steps.partitions, prepared.cuts, by)
            for name in (*steps.proxies.put, *steps.proxies.keep):
                self._origins[name] = replace(self._origins[name], by=by)
                for fault in (*steps.faults[name].put, *steps.faults[name].keep):
                    self.faults.adopt(self._proxies[name], fault, by)

    async def add_proxy(self, spec: ProxySpec, by: str) -> Proxy:
        """Start a proxy with its faults, or change nothing.

        :raises Conflict: the name is taken.
        :raises CannotListen: the address could not be bound.
        :raises InvalidInput: a TLS file is unusable.
        :raises Unsupported: it requires a mode that is not supported here.
        """
        async with self._changing:
            if spec.name in self._proxies:
                raise Conflict.name_taken(f"the proxy {spec.name!r}")
            prepared = await self._prepare_proxy(spec, None)
            with contextlib.ExitStack() as undo:
                proxy = self._make(prepared, undo)
                listener = await bound_for(spec, proxy, self._proxies, (), undo)
                self._preflight_proxy(spec, prepared.tls, listener)  # again: a partition may have been added
                undo.pop_all()
            return self._add(proxy, listener, by)

    async def merge_proxy(self, name: str, merge: Callable[[Proxy], ProxySpec], by: str) -> Proxy:
        """Change a proxy to the spec that `merge` returns for it; if this fails, the proxy stays as it was.

        `merge` is called after the changes of proxies that wait already, so it merges into their outcome. Its
        errors are passed on. Faults that are added during this call stay, even if `merge` returns others.

        A new listen address or upstream applies to new connections; open ones continue.
        `enabled: false` closes every connection, and refuses new ones.

        :raises NotFound: no proxy has this name, or it was removed during this call.
        :raises CannotListen: the new address could not be bound.
        :raises InvalidInput: a TLS file is unusable.
        :raises Unsupported: it requires a mode that is not supported here.
        """
        proxy = self.proxy(name)
        known = {one.name for one in proxy.spec.faults}
        async with self._changing:
            if self.proxy(name) is not proxy:
                raise NotFound(f"the proxy {name!r} was removed before its change; another one has the name now")
            spec = merge(proxy)
            faults = changes_of(owned_faults(proxy, self.faults), {one.name: one for one in spec.faults}, None)
            faults = replace(faults, remove=tuple(one for one in faults.remove if one in known))
            prepared = await self._prepare_proxy(spec, proxy.tls)
            with contextlib.ExitStack() as undo:
                binds = needs_binding(proxy.spec, spec)
                listener = await bound_for(spec, proxy, self._proxies, (), undo) if binds else None
                # Again, since partitions and faults may have been added or removed meanwhile.
                after = faults.carried_out(owned_faults(proxy, self.faults), by)
                after_spec = replace(spec, faults=tuple(one.spec for one in after.values()))
                prepared = self._preflight_proxy(after_spec, prepared.tls, listener)
                undo.pop_all()
            self._change(prepared, faults, listener, by)
            return proxy

    async def remove_proxy(self, name: str, by: str) -> None:
        """Close a proxy's listener and connections, and forget the proxy.

        :raises NotFound: no proxy has this name.
        """
        async with self._changing:
            self.proxy(name)
            self._remove(name, by)

    def _plan(self, config: Config, by: str, made: Mapping[str, ProxyTls]) -> tuple[Plan, Config, Present]:
        """Plan the steps of `apply`; return also the desired state after them, and the objects that stay."""
        now = desired(self.proxies(), self._origins, self.faults, self.partitions)
        steps = plan(now, config, by)
        running = {name: proxy.tls for name, proxy in self._proxies.items() if proxy.tls is not None}
        present = Present({**running, **made}, self.partitions.cuts(steps.partitions), drawn_ports(self.proxies()))
        return steps, replace(config, proxies=steps.outcome(now).specs()), present

    def _preflight_proxy(self, spec: ProxySpec, tls: ProxyTls | None, bound: Listener | None = None) -> PreparedProxy:
        ends = ends_after(spec, self.proxies(), bound)
        return granted(preflight_proxy(spec, self.kernel, tls, self.partitions.cuts(), ends))

    async def _prepare_proxy(self, spec: ProxySpec, tls: ProxyTls | None) -> PreparedProxy:
        ends = ends_after(spec, self.proxies())
        return granted(await preflight_proxy_reading_files(spec, self.kernel, tls, self.partitions.cuts(), ends))

    def _make(self, prepared: PreparedProxy, undo: contextlib.ExitStack) -> Proxy:
        proxy = Proxy(
            prepared.spec, prepared.tls, prepared.modes, seed=self.seed, bus=self.bus, scheduler=self.scheduler,
            hangups=self._hangups, held=self.held, tap=self.tap, tasks=self._tasks, kernel=self._kernel,
            intake=self._intake, failed=self._failed_turns,
        )  # fmt: skip
        undo.callback(proxy.close)
        return proxy

    def _add(self, proxy: Proxy, listener: Listener | None, by: str) -> Proxy:
        spec = proxy.spec
        self._proxies[spec.name] = proxy
        self._origins[spec.name] = Origin(by, self._clock())
        self.partitions.arrange(proxy)  # before the first client: it must find the cut
        proxy.use_listener(listener)
        self._publish(ProxyAdded, proxy=spec.name, by=by, **_description(proxy))
        self.faults.begun(proxy, by)
        return proxy

    def _change(self, prepared: PreparedProxy, faults: Changes[FaultSpec], listener: Listener | None, by: str) -> None:
        spec = prepared.spec
        proxy = self._proxies[spec.name]
        before = proxy.spec
        if has_moved(before, spec):
            proxy.use_listener(None)
        with proxy.changing():
            for name in faults.remove:
                if proxy.active_fault(name) is not None:
                    self.remove_fault(spec.name, name, by)
            proxy.tls = prepared.tls
            proxy.spec = replace(spec, faults=proxy.spec.faults)
            self.partitions.arrange(proxy)
            for fault in faults.put.values():
                self.faults.place(proxy, PreparedFault(fault, prepared.modes[fault.name], prepared.tls), by)
            proxy.apply_settings(prepared.modes)
        if listener is not None:
            proxy.use_listener(listener)
        if not spec.enabled and before.enabled:
            proxy.close(keep_port=True)
        if replace(before, faults=()) != replace(spec, faults=()):
            self._publish(ProxyChanged, proxy=spec.name, enabled=spec.enabled, by=by, **_description(proxy))

    def _remove(self, name: str, by: str) -> None:
        proxy = self._proxies.pop(name)
        del self._origins[name]
        self.partitions.forget(name)
        self.faults.forget(proxy)
        proxy.close()
        if proxy.connections:
            self._ending = [one for one in self._ending if one.connections] + [proxy]
        self._publish(ProxyRemoved, proxy=name, by=by)

    # ── faults ────────────────────────────────────────────────────────────────────────

    def add_fault(self, proxy: str, fault: FaultSpec, by: str, lease: Lease | None = None) -> None:
        """Add a fault to a proxy.

        :raises NotFound: no proxy has this name, or the lease has ended.
        :raises Conflict: the proxy has a fault of that name.
        :raises InvalidInput, Unsupported: as for `put_fault`.
        """
        if self.proxy(proxy).active_fault(fault.name) is not None:
            raise Conflict.name_taken(f"the fault {fault.name!r} on proxy {proxy!r}")
        self.put_fault(proxy, fault, by, lease)

    def put_fault(self, proxy: str, fault: FaultSpec, by: str, lease: Lease | None = None) -> None:
        """Add a fault, or change the one of that name.

        :raises NotFound: no proxy has this name, or the lease has ended.
        :raises InvalidInput: a file that it needs is unusable; nothing has changed.
        :raises Unsupported: its type or its mode is not supported on this proxy; nothing has changed.
        """
        running = self.proxy(proxy)
        self.faults.place(running, self.faults.prepare(running, fault), by, lease)

    def remove_fault(self, proxy: str, fault: str, by: str) -> FaultSpec:
        """Remove a fault and release everything that it holds; return the fault.

        :raises NotFound: the proxy or the fault does not exist.
        """
        return self.faults.remove(self.proxy(proxy), fault, by)

    def heal(self, by: str, proxy: str | None = None, fault: str | None = None) -> list[tuple[str, FaultSpec]]:
        """Remove every fault and partition, or the faults of one proxy or name; return each with its proxy's name.

        A proxy that cannot listen again is in `waiting_for` until it can.

        :raises NotFound: the proxy or the fault does not exist.
        """
        proxies = self.proxies() if proxy is None else [self.proxy(proxy)]
        if proxy is None and fault is None:
            self.partitions.heal(by)
        return self.faults.heal(proxies, fault, by)

    async def settled(self) -> None:
        """Return when the latest changes act on every connection, and each that must end has been ended."""
        for number, proxy in enumerate((*self._ending, *self._proxies.values()), 1):
            if not proxy.is_settled:
                await proxy.settled()
            elif not number % 500:  # of which each takes 1 µs
                await asyncio.sleep(0)

    # ── end ───────────────────────────────────────────────────────────────────────────

    async def close(self) -> None:
        """Close every proxy and connection; this ends within a few seconds, even if peers do not respond."""
        async with self._changing:
            ending = [*self._ending, *self._proxies.values()]
            self.partitions.close()
            for name in list(self._proxies):
                self._remove(name, "shutdown")
            await end_all(ending, self.bus)
            self._turn_counter.close()
            await self._tasks.end()
            await asyncio.sleep(0)
            self.scheduler.close()
            self._hangups.close()

    def _publish(self, event: Callable[..., Event], **facts: object) -> None:
        self.bus.publish(event(at=self._clock(), **facts))


def _description(proxy: Proxy) -> dict[str, object]:
    """Return the fields that describe a proxy in the events of its changes."""
    spec = proxy.spec
    return {
        "listen": str(real_address(proxy)), "upstream": str(spec.upstream), "protocol": spec.protocol,
        "service": spec.service, "from_node": spec.from_node, "to_node": spec.to_node,
    }  # fmt: skip
