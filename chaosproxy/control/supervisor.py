"""The only way to change anything: REST, the configuration file and the demo all come here.

Everything about faults happens at once and never waits for a peer. Only what binds
sockets is a coroutine; those run one at a time, so that two changes cannot cross.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from chaosproxy.control.counts import Counts, counts_of
from chaosproxy.control.faults import Faults
from chaosproxy.control.origin import Origin
from chaosproxy.control.partitions import Partitions
from chaosproxy.control.plan import Changes, Desired, Owned, Plan, changes_of, plan
from chaosproxy.control.preflight import (
    Prepared,
    PreparedFault,
    PreparedProxy,
    Present,
    granted,
    preflight,
    preflight_proxy,
)
from chaosproxy.control.status import (
    FaultStatus,
    ProxyStatus,
    Status,
    fault_status,
    partition_status,
    proxy_status,
)
from chaosproxy.declare import nearest
from chaosproxy.errors import Conflict, NotFound
from chaosproxy.events import (
    Bus,
    Event,
    ProxyAdded,
    ProxyChanged,
    ProxyRemoved,
)
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.settings import Config
from chaosproxy.net.attempts import SharedTap
from chaosproxy.net.kernel.capabilities import Capabilities, probe
from chaosproxy.net.kernel.hangups import Hangups
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.sockets.listener import Listener
from chaosproxy.net.timer.scheduler import Clock, MakeTimer, Scheduler, best_timer
from chaosproxy.net.tls.endpoint import ProxyTls
from chaosproxy.seed import Seed
from chaosproxy.tasks import TaskOwner

__all__ = ["Supervisor"]

_CLOSE_TIMEOUT = 1.0
"""Seconds for which the end waits for connections to end."""


class Supervisor:
    """Holds the proxies of one process. To be made inside a running loop."""

    def __init__(
        self,
        seed: Seed | None = None,
        bus: Bus | None = None,
        clock: Clock = time.monotonic,
        kernel: Capabilities | None = None,
        make_timer: MakeTimer | None = None,
    ) -> None:
        """`kernel` is what this machine can do; without it, it is probed.

        Everything timed runs on one scheduler: `clock` gives its time, `make_timer` wakes it.
        """
        self.seed = seed or Seed.drawn()
        self.bus = bus or Bus()
        self._kernel = kernel or probe()
        self._clock = clock
        self._scheduler = Scheduler(clock, make_timer or best_timer(asyncio.get_running_loop(), clock))
        self._hangups = Hangups()
        self.tap = SharedTap(self._kernel.tap, clock)
        self._tasks = TaskOwner("chaosproxy")
        self._changing = asyncio.Lock()
        self._proxies: dict[str, Proxy] = {}
        self._origins: dict[str, Origin] = {}
        """Of every proxy, by name."""
        self._ending: list[Proxy] = []
        self.faults = Faults(self._kernel, self.bus, self._scheduler)
        self.partitions = Partitions(self.proxies, self.seed, self._kernel, self.bus, self._scheduler)

    @property
    def kernel(self) -> Capabilities:
        """What this machine can do."""
        return replace(self._kernel, tap=self.tap.capability)

    def now(self) -> float:
        """Seconds on the data plane's clock."""
        return self._clock()

    def status(self) -> Status:
        """Everything that runs, as a plain value."""
        proxies = self.proxies()
        partitions = tuple(partition_status(one, proxies) for one in self.partitions.all())
        return Status(
            self.seed.value, tuple(map(self.proxy_status, proxies)), partitions, self.kernel.all()
        )

    def proxy_status(self, proxy: Proxy) -> ProxyStatus:
        return proxy_status(proxy, self._origins[proxy.spec.name], partial(self.faults.origin, proxy))

    def fault_status(self, proxy: Proxy, fault: FaultSpec) -> FaultStatus:
        return fault_status(proxy, fault, self.faults.origin(proxy, fault.name))

    def counts(self) -> Counts:
        """Everything that was counted, as a plain value; asks the kernel about filters and a sample of sockets."""
        return counts_of(self.proxies(), len(self.partitions.all()), self.partitions.cut_now(), self.tap)

    # ── proxies ───────────────────────────────────────────────────────────────────────

    def proxies(self) -> list[Proxy]:
        """Every proxy, in the order they were added."""
        return list(self._proxies.values())

    def proxy(self, name: str) -> Proxy:
        """
        :raises NotFound: with the nearest name there is.
        """
        if name not in self._proxies:
            raise NotFound(f"there is no proxy {name!r}{nearest(name, self._proxies)}")
        return self._proxies[name]

    def waiting_for(self) -> list[str]:
        """The enabled proxies that are not bound; one that refuses by a fault is bound, too."""
        return [proxy.spec.name for proxy in self.proxies() if proxy.spec.enabled and not proxy.listening_on]

    async def apply(self, wanted: Config | Prepared, by: str) -> None:
        """Make a configuration true, all of it or nothing. What was prepared already is not prepared again.

        All that it names becomes `by`'s. What it does not name goes if `by` made it, and stays
        if another did (see `control.plan`).

        :raises CannotListen: an address could not be bound; nothing has changed.
        :raises InvalidInput: a file of TLS cannot be used; nothing has changed.
        :raises Unsupported: a mode that cannot be had here; nothing has changed.
        """
        config, made = (wanted.config, wanted.tls) if isinstance(wanted, Prepared) else (wanted, {})
        async with self._changing:
            steps, prepared = self._preflight(config, by, made)
            listeners: dict[str, Listener | None] = {}
            started: list[Proxy] = []
            with contextlib.ExitStack() as undo:
                for one in map(prepared.proxy, steps.change):
                    if self._must_move(one.spec):
                        proxy = self._proxies[one.spec.name]
                        listeners[one.spec.name] = await _bound_for(one.spec, proxy, undo)
                for one in map(prepared.proxy, steps.start):
                    started.append(self._make(one))
                    listeners[one.spec.name] = await _bound_for(one.spec, started[-1], undo)
                # Again: faults and partitions may have come meanwhile.
                steps, prepared = self._preflight(config, by, prepared.tls)
                undo.pop_all()
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
        """Start a proxy and its faults, in one go.

        :raises Conflict: the name is taken.
        :raises CannotListen: the address could not be bound.
        :raises InvalidInput: a file of its TLS cannot be used.
        :raises Unsupported: a mode that cannot be had here.
        """
        async with self._changing:
            if spec.name in self._proxies:
                raise Conflict(f"there is a proxy {spec.name!r} already; change it, or take another name", "name-taken")
            prepared = self._preflight_proxy(spec, None)
            proxy = self._make(prepared)
            with contextlib.ExitStack() as undo:
                listener = await _bound_for(spec, proxy, undo)
                self._preflight_proxy(spec, prepared.tls)  # again: a partition may have come meanwhile
                undo.pop_all()
            return self._add(proxy, listener, by)

    async def change_proxy(self, spec: ProxySpec, by: str) -> Proxy:
        """Make the proxy of that name what `spec` says; if that fails it stays as it was.

        A new listen address or upstream is for connections to come; those that are open go
        on. `enabled: false` closes the listener and every connection.

        :raises NotFound: there is none of that name.
        :raises CannotListen: the new address could not be bound.
        :raises InvalidInput: a file of its TLS cannot be used.
        :raises Unsupported: a mode that cannot be had here.
        """
        # Planned before anything is awaited: a fault that others add meanwhile stays.
        faults = changes_of(self._owned_faults(self.proxy(spec.name)), {one.name: one for one in spec.faults}, None)
        async with self._changing:
            proxy = self.proxy(spec.name)
            prepared = self._preflight_proxy(spec, proxy.tls)
            with contextlib.ExitStack() as undo:
                listener = await _bound_for(spec, proxy, undo) if self._must_move(spec) else None
                # Again: partitions and faults may have come meanwhile.
                after = faults.carried_out(self._owned_faults(proxy), by)
                after_spec = replace(spec, faults=tuple(one.spec for one in after.values()))
                prepared = self._preflight_proxy(after_spec, prepared.tls)
                undo.pop_all()
            self._change(prepared, faults, listener, by)
            return proxy

    async def remove_proxy(self, name: str, by: str) -> None:
        """Close a proxy's listener and connections and forget it.

        :raises NotFound: there is none of that name.
        """
        async with self._changing:
            self.proxy(name)
            self._remove(name, by)

    def _preflight(self, config: Config, by: str, made: Mapping[str, ProxyTls]) -> tuple[Plan, Prepared]:
        """Plan what `apply` has to do, and prepare all that there is afterwards."""
        now = self._desired()
        steps = plan(now, config, by)
        running = {name: proxy.tls for name, proxy in self._proxies.items() if proxy.tls is not None}
        present = Present({**running, **made}, self.partitions.cuts(steps.partitions))
        after = replace(config, proxies=steps.outcome(now).specs())
        return steps, granted(preflight(after, self.seed, self.kernel, present))

    def _desired(self) -> Desired:
        return Desired(
            {name: Owned(replace(one.spec, faults=()), self._origins[name].by) for name, one in self._proxies.items()},
            {name: self._owned_faults(proxy) for name, proxy in self._proxies.items()},
            {one.spec.id: Owned(one.spec, one.by) for one in self.partitions.all()},
        )

    def _owned_faults(self, proxy: Proxy) -> dict[str, Owned[FaultSpec]]:
        return {one.name: Owned(one, self.faults.origin(proxy, one.name).by) for one in proxy.spec.faults}

    def _preflight_proxy(self, spec: ProxySpec, tls: ProxyTls | None) -> PreparedProxy:
        return granted(preflight_proxy(spec, self.kernel, tls, self.partitions.cuts()))

    def _make(self, prepared: PreparedProxy) -> Proxy:
        return Proxy(
            prepared.spec, prepared.tls, prepared.modes, seed=self.seed, bus=self.bus, scheduler=self._scheduler,
            hangups=self._hangups, tap=self.tap, tasks=self._tasks, kernel=self._kernel,
        )  # fmt: skip

    def _must_move(self, spec: ProxySpec) -> bool:
        """Whether the change needs a socket to be bound."""
        proxy = self._proxies[spec.name]
        return spec.enabled and (not proxy.listening_on or spec.listen != proxy.spec.listen)

    def _add(self, proxy: Proxy, listener: Listener | None, by: str) -> Proxy:
        spec = proxy.spec
        self._proxies[spec.name] = proxy
        self._origins[spec.name] = Origin(by, self._clock())
        self.partitions.arrange(proxy)  # before it takes clients: they meet the cut
        proxy.use_listener(listener)
        listen = ", ".join(map(str, proxy.listening_on)) or str(spec.listen)
        self._publish(ProxyAdded, proxy=spec.name, listen=listen, upstream=str(spec.upstream), by=by)
        self.faults.begun(proxy, by)
        return proxy

    def _change(self, prepared: PreparedProxy, faults: Changes[FaultSpec], listener: Listener | None, by: str) -> None:
        spec = prepared.spec
        proxy = self._proxies[spec.name]
        before = proxy.spec
        for name in faults.remove:
            if proxy.spec.fault(name) is not None:
                self.remove_fault(spec.name, name, by)
        proxy.use_tls(prepared.tls)
        proxy.spec = replace(spec, faults=proxy.spec.faults)
        self.partitions.arrange(proxy)
        for fault in faults.put.values():
            self.faults.place(proxy, PreparedFault(fault, prepared.modes[fault.name], prepared.tls), by)
        proxy.apply_settings(prepared.modes)
        if listener is not None:
            proxy.use_listener(listener)
        elif not spec.enabled and before.enabled:
            proxy.close()
        if replace(before, faults=()) != replace(spec, faults=()):
            listen = ", ".join(map(str, proxy.listening_on)) or str(spec.listen)
            upstream = str(spec.upstream)
            self._publish(ProxyChanged, proxy=spec.name, listen=listen, upstream=upstream, enabled=spec.enabled, by=by)

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

    def add_fault(self, proxy: str, fault: FaultSpec, by: str) -> None:
        """Place a fault.

        :raises NotFound: there is no such proxy.
        :raises Conflict: the proxy has a fault of that name.
        """
        if self.proxy(proxy).spec.fault(fault.name) is not None:
            raise Conflict(f"proxy {proxy!r} has a fault {fault.name!r} already; use another name", "name-taken")
        self.put_fault(proxy, fault, by)

    def put_fault(self, proxy: str, fault: FaultSpec, by: str) -> None:
        """Place a fault, or change the one of that name and type anew what it holds.

        :raises NotFound: there is no such proxy.
        :raises InvalidInput: a file that it needs cannot be used; nothing has changed.
        :raises Unsupported: it asks for a mode that cannot be had here; nothing has changed.
        """
        running = self.proxy(proxy)
        self.faults.place(running, self.faults.prepare(running, fault), by)

    def put_on(self, proxies: Iterable[Proxy], fault: FaultSpec, by: str) -> None:
        """Place a fault on several proxies, or change it there, in one turn of the loop: on all or on none.

        :raises Unsupported: it asks for a mode that one of them cannot have.
        """
        for proxy, prepared in [(proxy, self.faults.prepare(proxy, fault)) for proxy in proxies]:
            self.faults.place(proxy, prepared, by)

    def remove_fault(self, proxy: str, fault: str, by: str) -> FaultSpec:
        """Take a fault away; what it held goes on at once.

        :raises NotFound: there is no such proxy or fault.
        """
        return self.faults.remove(self.proxy(proxy), fault, by)

    def heal(self, by: str, proxy: str | None = None, fault: str | None = None) -> list[tuple[str, FaultSpec]]:
        """Take away every fault and partition, the faults of one proxy, or one of them; answers which faults.

        :raises NotFound: there is no such proxy or fault.
        """
        proxies = self.proxies() if proxy is None else [self.proxy(proxy)]
        if proxy is None and fault is None:
            self.partitions.heal(by)
        return self.faults.heal(proxies, fault, by)

    # ── the end ───────────────────────────────────────────────────────────────────────

    async def close(self) -> None:
        """Close every proxy and connection; within a few seconds, whatever the peers do."""
        async with self._changing:
            ending = [*self._ending, *self._proxies.values()]
            self.partitions.close()
            for name in list(self._proxies):
                self._remove(name, "shutdown")
            await self._until_ended(ending)
            for proxy in ending:
                for connection in list(proxy.connections.values()):
                    connection.abort()
            await self._tasks.end()
            await asyncio.sleep(0)
            self._scheduler.close()
            self._hangups.close()

    async def _until_ended(self, proxies: list[Proxy]) -> None:
        one_closed = asyncio.Event()
        unsubscribe = self.bus.subscribe(lambda event: one_closed.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                while any(proxy.connections for proxy in proxies):
                    one_closed.clear()
                    await one_closed.wait()
        unsubscribe()

    def _publish(self, event: Callable[..., Event], **facts: object) -> None:
        self.bus.publish(event(at=self._clock(), **facts))


async def _bound_for(spec: ProxySpec, proxy: Proxy, undo: contextlib.ExitStack) -> Listener | None:
    """Bind a listener for `spec`; `undo` closes it."""
    if not spec.enabled:
        return None
    listener = await proxy.bind(spec.listen)
    undo.callback(listener.close)
    return listener
