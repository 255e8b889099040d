"""One running proxy: its listener, its connections, its faults."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from chaosproxy.events import Bus, Met
from chaosproxy.faults.base import Direction, Drop, Loss, Reply
from chaosproxy.faults.chain import Link
from chaosproxy.model.address import Address
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.attempts import Attempts, Hiding, SharedTap
from chaosproxy.net.http.service import HttpService
from chaosproxy.net.kernel.bpf import losing
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.kernel.sockopts import reset_socket, tcp_info, tcp_socket
from chaosproxy.net.placement.active_fault import ActiveFault, MessageContext
from chaosproxy.net.placement.modes import ResolvedMode, resolve_mode
from chaosproxy.net.sockets.binding import peer_name
from chaosproxy.net.sockets.listener import Listener
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.net.tls.endpoint import ProxyTls
from chaosproxy.seed import Seed
from chaosproxy.tallies import FaultTally, ProxyTally, Side, TcpInfo
from chaosproxy.tasks import TaskOwner

__all__ = ["SAMPLE", "Proxy"]

SAMPLE = 100
"""Connections asked for their TCP_INFO at a scrape, some 2 µs each."""
_STRENGTH: tuple[Reply, ...] = ("accept", "hold", "refuse", "silence")
"""Of several replies the last here is given: a paused process that is down refuses, a host out of reach is silent."""


class Proxy:
    """Runs what its spec says. Only the supervisor changes it."""

    def __init__(
        self, spec: ProxySpec, *, seed: Seed, bus: Bus, scheduler: Scheduler, tasks: TaskOwner, kernel: Capabilities,
        tap: SharedTap,
    ) -> None:  # fmt: skip
        """
        :raises Unsupported: one of its faults asks for a mode that cannot be had here.
        :raises InvalidInput: files of its TLS cannot be used.
        """
        self.spec = replace(spec, faults=())
        self.tls = ProxyTls.of(self.spec, scheduler.clock())
        """None where it speaks no TLS itself."""
        self.looks_at_hellos = False
        """A fault is for clients that ask for some server's name in TLS."""
        self.bus = bus
        self.scheduler = scheduler
        self.tasks = tasks
        self.tally = ProxyTally()
        self.attempts = Attempts(spec.name, self.tally, bus, scheduler, tap)
        self.http = HttpService(self)
        """What its HTTP mode needs; idle where it has none."""
        self.connections: dict[int, Connection] = {}
        """The registry: every connection, by ordinal, until both its sockets are gone."""
        self.kernel = kernel
        """What this machine can do."""
        self._seed = seed
        self._faults: dict[str, ActiveFault] = {}
        self._cuts: dict[str, ActiveFault] = {}
        """Partitions that go through it: no faults of its own, so a change of those leaves them alone."""
        self._past: dict[str, FaultTally] = {}
        self._listener: Listener | None = None
        self.http.configure(spec)
        for fault in spec.faults:
            self.put_fault(fault)

    # ── listening ─────────────────────────────────────────────────────────────────────

    @property
    def listening_on(self) -> list[Address]:
        """Where it is bound, with real port numbers; empty when disabled."""
        return [] if self._listener is None else self._listener.addresses

    async def bind(self, address: Address) -> Listener:
        """A listener that hands its clients to this proxy.

        :raises CannotListen: with the system's reason.
        """
        return await Listener.bind(address, self._accepted)

    def use_listener(self, listener: Listener | None) -> None:
        """Listen there from now on, and no longer where it did."""
        if self._listener is not None and self._listener is not listener:
            self._listener.close()
        self._listener = listener
        self._update_admission()

    def _accepted(self, client: socket.socket, address: object) -> None:
        self.tally.opened += 1
        ordinal = self.tally.opened
        delay = 0.0
        for active in self._active():
            admission = active.admission
            if admission is None or not (admission.delay or admission.reply == "refuse") or not active.touches(ordinal):
                continue
            active.tally.chunks += 1
            if admission.reply == "refuse":
                self.tally.closed["injected"] += 1
                reset_socket(client)
                self.attempts.count(Hiding("reset", active.spec.name), peer_name(address), self.scheduler.clock())
                return
            delay += admission.delay
        connection = self.connections[ordinal] = Connection(self, ordinal, address)
        connection.start(client, delay, None if self._listener is None else self._listener.inherited)

    # ── faults ────────────────────────────────────────────────────────────────────────

    def resolve_mode(self, fault: FaultSpec) -> ResolvedMode:
        """How a fault would act here.

        :raises Unsupported: not at all in the mode it asks for.
        """
        return resolve_mode(fault, self.spec, self.kernel)

    def put_fault(self, fault: FaultSpec) -> ActiveFault:
        """Place a fault, or change the one of that name; live connections feel it at once.

        :raises Unsupported: as `acting`; nothing has changed.
        """
        return self._put(self._faults, fault.name, fault)

    def remove_fault(self, name: str) -> FaultSpec:
        """Take a fault away; what it held goes on at once. KeyError when there is none."""
        return self._take(self._faults, name)

    def sever(self, partition: str, fault: FaultSpec) -> ActiveFault:
        """Let a partition go through this proxy, with `fault` saying how.

        :raises Unsupported: as `acting`; nothing has changed.
        """
        before = self._cuts.get(partition)
        if before is not None and before.spec == fault and before.resolved == self.resolve_mode(fault):
            return before
        return self._put(self._cuts, partition, fault)

    def restore(self, partition: str) -> None:
        """That partition goes through here no longer; where it did not, nothing happens."""
        if partition in self._cuts:
            self._take(self._cuts, partition)

    def settle(self) -> None:
        """Its settings may have changed: what acts in another mode now is placed anew."""
        if self.http.configure(self.spec):
            for connection in list(self.connections.values()):
                self.arrange(connection)
        for name, active in list(self._faults.items()):
            if self.resolve_mode(active.spec) != active.resolved:
                self._put(self._faults, name, active.spec)

    @property
    def partitions(self) -> list[str]:
        """The partitions that go through it."""
        return list(self._cuts)

    def active_fault(self, fault: str) -> ActiveFault | None:
        """The fault of that name at work."""
        return self._faults.get(fault)

    def arrange(self, connection: Connection) -> None:
        """Have each pipe of a connection run the faults that touch it."""
        pipes = (connection.upstream, connection.downstream)
        active = self._active()
        if not active and all(pipe.is_plain for pipe in pipes) and not self.http.are_treated(connection):
            return
        touching = [one for one in active if one.is_for(connection.sni) and one.touches(connection.ordinal)]
        now = self.scheduler.clock()
        for pipe in pipes:
            if pipe.connection is not None:
                active_here = [active for active in touching if active.acts(pipe.direction)]
                pipe.lose(_losses(active_here, pipe, connection.ordinal, now), now)
                pipe.pace(min((one.pacing for one in active_here if one.pacing is not None), default=None))
                messages = self.http.of(connection)
                pipe.arrange(list(_links(active_here, pipe, connection.ordinal, now, messages)), now)

    def attempts_obstacle(self) -> str:
        """The reason why attempts that a fault hides are not visible here; empty where they are."""
        if self.spec.listen.is_unix:
            return "a unix socket has no packets to be seen"
        tap = self.attempts.capability
        return "" if tap.available else f"{tap.lacking}; {tap.remedy}"

    def is_active(self, fault: str) -> bool:
        """Whether a fault, or a partition's part in this proxy, of that name is on."""
        return fault in self.http.caller_tallies() or any(active.spec.name == fault for active in self._active())

    def severed(self, direction: Direction) -> bool:
        """Whether nothing gets through that way."""
        return not self.spec.enabled or any(active.severs(direction) for active in self._active())

    def fault_tallies(self) -> dict[str, FaultTally]:
        """What each fault has done, also those that are gone."""
        active = {active.spec.name: active.tally for active in self._active()}
        return {**self._past, **active, **self.http.caller_tallies()}

    def _active(self) -> list[ActiveFault]:
        """All that acts, in order: a cut is nearest to the sender."""
        return [*self._cuts.values(), *self._faults.values()]

    def use_tls(self, spec: ProxySpec) -> None:
        """New connections shake hands as `spec` says.

        :raises InvalidInput: its files cannot be used.
        :raises Unsupported: one of its faults needs what is not there.
        """
        before, self.tls = self.tls, ProxyTls.of(spec, self.scheduler.clock(), self.tls)
        if before is not None and self.tls is not None:
            self.tls.take_over(before)

    def handshake_fault(self, connection: Connection) -> ActiveFault | None:
        """The fault that makes a client's TLS handshake go wrong."""
        for active in self._active():
            admission = active.admission
            if admission is not None and admission.handshake is not None and active.is_for(connection.sni):
                if active.touches(connection.ordinal):
                    return active
        return None

    def _put(self, where: dict[str, ActiveFault], key: str, fault: FaultSpec) -> ActiveFault:
        before = where.get(key)
        now = self.scheduler.clock()
        active = ActiveFault(fault, self.resolve_mode(fault), self.spec.name, self._seed, now, before)
        if self.tls is not None and active.admission is not None and active.admission.handshake is not None:
            self.tls.prepare(active.admission.handshake, now)
        if before is None and fault.name in self._past:
            active.tally = self._past.pop(fault.name)  # counters never go back
        where[key] = active
        self._faults_changed(active)
        return active

    def _take(self, where: dict[str, ActiveFault], key: str) -> FaultSpec:
        active = where.pop(key)
        self._past[active.spec.name] = active.tally
        self._faults_changed(None)
        return active.spec

    def _faults_changed(self, begun: ActiveFault | None) -> None:
        self.spec = replace(self.spec, faults=tuple(active.spec for active in self._faults.values()))
        self.http.watch(self._faults.values())
        self.looks_at_hellos = any(active.spec.sni is not None for active in self._active())
        for connection in list(self.connections.values()):
            self.arrange(connection)
        if self.tls is not None:
            self.tls.faults_changed()
        self._update_admission()
        if begun is not None and begun.admission is not None and begun.spec.placement.touches_all:
            if begun.admission.reply != "accept" and begun.admission.existing != "keep":
                self.end_connections(begun.admission.existing, begun.spec.name)

    def _update_admission(self) -> None:
        """New clients meet what the strongest of the faults says."""
        if self._listener is None:
            self.attempts.hide(None, None)
            return
        admissions = [
            (active, active.admission)
            for active in self._active()
            if active.admission is not None and active.spec.placement.touches_all
        ]
        reply: Reply = max((admission.reply for _, admission in admissions), key=_STRENGTH.index, default="accept")
        drops = [one.drop for active, one in admissions if one.drop is not None and active.acts("upstream")]
        if reply == "silence" and any(admission.by_filter for _, admission in admissions):
            drops = [Drop()]
        elif reply == "silence":
            drops = []
        met: Met = "refused" if reply == "refuse" else "unanswered"
        hiding = next((Hiding(met, active.spec.name) for active in self._active() if active.hides == met), None)
        self.attempts.catch_up()
        self._listener.meet(reply, losing(tuple(drops)) if drops else None)
        self.attempts.hide(hiding, self._listener)

    def end_connections(self, how: str, fault: str | None = None) -> None:
        """Close or reset every connection, for a fault or, without one, for the operator."""
        for connection in list(self.connections.values()):
            end = connection.reset if how == "reset" else connection.close
            if fault is None:
                end("operator", f"{how} by the operator")
            else:
                end("injected", f"{how} by fault {fault}")

    # ── counting ──────────────────────────────────────────────────────────────────────

    def bytes(self, direction: Direction) -> int:
        """Bytes taken from one side so far, open connections included."""
        upstream = direction == "upstream"
        past = self.tally.bytes_upstream if upstream else self.tally.bytes_downstream
        return past + sum((one.upstream if upstream else one.downstream).bytes for one in self.connections.values())

    def dropped(self, direction: Direction) -> int:
        """Packets that the kernel has dropped for faults, as far as it told before their sockets were gone."""
        pipes = (one.upstream if direction == "upstream" else one.downstream for one in self.connections.values())
        filters = [pipe.filter for pipe in pipes if pipe.filter is not None]
        for one in filters:
            one.count()
        past = self.tally.dropped_upstream if direction == "upstream" else self.tally.dropped_downstream
        return past + sum(one.dropped for one in filters)

    def fault_modes(self) -> dict[str, str]:
        """The mode that each active fault acts in, for those that have one."""
        return {one.spec.name: one.resolved.mode for one in self._active() if one.resolved.mode is not None}

    def tcp(self, side: Side) -> list[TcpInfo]:
        """What the kernel tells of sockets on one side: of the SAMPLE latest connections, so that asking is quick."""
        if not self.kernel.tcp_info.available:
            return []
        found = []
        for connection in islice(reversed(self.connections.values()), SAMPLE):
            transport = (connection.upstream if side == "client" else connection.downstream).source
            sock = None if transport is None else tcp_socket(transport)
            with contextlib.suppress(OSError):  # it is closing
                if sock is not None and (info := tcp_info(sock)) is not None:
                    found.append(info)
        return found

    def held(self, direction: Direction) -> int:
        """Bytes that faults hold now."""
        pipes = (one.upstream if direction == "upstream" else one.downstream for one in self.connections.values())
        return sum(pipe.chain.held for pipe in pipes if pipe.chain is not None)

    def exchanges_in_flight(self) -> int:
        """HTTP requests not yet answered."""
        conversations = (connection.conversation for connection in self.connections.values())
        return sum(one.outstanding for one in conversations if one is not None)

    def forget(self, connection: Connection) -> None:
        """Both sockets of a connection are gone."""
        del self.connections[connection.ordinal]
        for active in self._active():
            active.forget(connection.ordinal)
        tally = self.tally
        tally.closed[connection.cause] += 1
        tally.bytes_upstream += connection.upstream.bytes
        tally.bytes_downstream += connection.downstream.bytes
        if connection.upstream.filter is not None:
            tally.dropped_upstream += connection.upstream.filter.dropped
        if connection.downstream.filter is not None:
            tally.dropped_downstream += connection.downstream.filter.dropped

    def close(self) -> None:
        """Take no more clients and close every connection."""
        self.use_listener(None)
        self.attempts.close()
        self.end_connections("close")
        self.http.close()


def _links(
    active_here: Iterable[ActiveFault], pipe: Pipe, connection: int, now: float, messages: MessageContext | None
) -> Iterable[Link]:
    """The links a pipe shall have: those that stay as they are, and new ones."""
    standing = {} if pipe.chain is None else {link.owner: link for link in pipe.chain.links}
    for active in active_here:
        link = standing.get(active) or active.link(connection, pipe.direction, now, messages)
        if link is not None:
            yield link


def _losses(active_here: Iterable[ActiveFault], pipe: Pipe, connection: int, now: float) -> dict[object, Loss]:
    """What the kernel shall lose of a pipe: losses that stay as they are, and new ones."""
    standing = {} if pipe.filter is None else pipe.filter.losses
    found: dict[object, Loss] = {}
    for active in active_here:
        loss = standing.get(active) or active.loss(connection, pipe.direction, now)
        if loss is not None:
            found[active] = loss
    return found
