"""One running proxy: its listener, its connections and its faults.

A Proxy owns a Listener, a Front (which attaches clients and dials the upstream), the ActiveFaults, an
HttpService, its Attempts (which count clients that faults keep out), and the registry of connections. It
is the `Owner` of each connection: it makes the pipes and applies the faults to them, and the connection
calls it to attach its client, to dial, to publish events and to be forgotten. The supervisor calls
everything else; nothing but the supervisor and the partitions that it owns changes a proxy.

Invariants:
- No change awaits. When its method returns, new connections have it, and so have the first of the open ones;
  the others get it in slices, and `settled` waits for the last of them.
- A connection is in the registry from its accept until both its sockets are gone.
- When faults change, the spec, every connection, every stalled handshake and the listener are
  updated together (`_apply_faults`).
- Counters never decrease: those of ended connections and removed faults are added to the tallies.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace

from chaosproxy.endings import Ending, How
from chaosproxy.errors import CannotListen
from chaosproxy.events import Bus, ListenFailed, ListenRecovered
from chaosproxy.faults.base import Direction
from chaosproxy.model.address import Address
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.attempts import Attempts, SharedTap
from chaosproxy.net.front import Front
from chaosproxy.net.http.copies import Copies
from chaosproxy.net.http.service import HttpService
from chaosproxy.net.intake import Intake, SharedIntake
from chaosproxy.net.kernel.bpf import losing
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.kernel.hangups import Hangups
from chaosproxy.net.kernel.sockopts import reset_socket
from chaosproxy.net.kernel.tap import PacketKind
from chaosproxy.net.placement.active_fault import ActiveFault
from chaosproxy.net.placement.active_faults import ActiveFaults, Hiding, arrange_pipe
from chaosproxy.net.placement.modes import ResolvedMode
from chaosproxy.net.registry import Registry
from chaosproxy.net.sockets.binding import peer_name
from chaosproxy.net.sockets.listener import Listener
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.held import HeldBytes
from chaosproxy.net.stream.pipe import DIAL_QUEUE, Pipe
from chaosproxy.net.stream.readers import STREAM_READERS
from chaosproxy.net.stream.turn_counts import FailedTurns, ProxyTurns
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.net.tls.endpoint import ProxyTls
from chaosproxy.net.tls.transport import TlsTransport, pass_truncation
from chaosproxy.net.turn_report import TurnReport
from chaosproxy.seed import Seed
from chaosproxy.tallies import FaultTally, ProxyTally, Side, TcpInfo
from chaosproxy.tasks import TaskOwner

__all__ = ["Proxy"]


class Proxy:
    """Runs one proxy as its spec says."""

    def __init__(
        self,
        spec: ProxySpec,
        tls: ProxyTls | None,
        modes: Mapping[str, ResolvedMode],
        *,
        seed: Seed, bus: Bus, scheduler: Scheduler, hangups: Hangups, held: HeldBytes, tap: SharedTap,
        tasks: TaskOwner, kernel: Capabilities, intake: SharedIntake, failed: FailedTurns,
    ) -> None:  # fmt: skip
        """`control.preflight` has made `tls`, and `modes` by fault name, for this spec."""
        self.name, self.tally = spec.name, ProxyTally()
        self._accepted_clients = 0
        """Clients accepted so far; each gets this number, also one that a fault resets at once."""
        self.scheduler = scheduler
        self.hangups, self.held_bytes = hangups, held
        self.kernel = kernel
        """The features of this machine."""
        self.registry = Registry(scheduler, self.arrange)
        self.connections = self.registry.connections
        self.faults = ActiveFaults()
        self._seed = seed
        self._tasks = tasks
        self.listener: Listener | None = None
        """None if the address of a disabled proxy could not be bound. Only `use_listener` sets it."""
        own = replace(spec, faults=())
        self._changing, self._is_changed = 0, False
        """The number of `changing` blocks that the caller is in; True if faults have changed in one."""
        self.attempts = Attempts(spec.name, self.tally, bus, scheduler, tap)
        self.attempts.on_packet = self._packet_seen
        self._intake = Intake(spec.name, self.tally, bus, scheduler, intake, self.connections)
        self._front = Front(own, tls, self.faults, self.tally, scheduler, bus.publish, intake)
        copies = Copies(spec.name, tasks, self._front.dial_copy, intake.descriptors)
        self.http = HttpService(spec.name, self.tally, scheduler.clock, bus.publish, copies)
        """The state of HTTP mode; unused if the proxy's protocol is tcp."""
        self.http.configure(spec)
        # A connection calls these directly: it calls each once or several times in its short life.
        self.publish = bus.publish
        self.turns = ProxyTurns(spec.name, bus.publish, failed)
        self.turns.service = spec.service
        self._report = TurnReport(self.turns, self.tally, self.faults, bus.publish, scheduler.clock)
        self.attach_client = self._front.attach_client
        self.dial = self._front.dial
        self.count_dial_failure = self._front.count_dial_failure
        with self.changing():
            for fault in spec.faults:
                self.put_fault(fault, modes[fault.name])

    @property
    def spec(self) -> ProxySpec:
        """The desired state, faults included."""
        if self._is_changed:  # made when it is needed, so that many changes make one
            return replace(self._front.spec, faults=tuple(active.spec for active in self.faults.own.values()))
        return self._front.spec

    @spec.setter
    def spec(self, spec: ProxySpec) -> None:
        self._front.spec, self.turns.service = spec, spec.service

    @property
    def tls(self) -> ProxyTls | None:
        """TLS for the handshakes of new connections; None if the proxy uses no TLS itself."""
        return self._front.tls

    @tls.setter
    def tls(self, tls: ProxyTls | None) -> None:
        self._front.tls = tls

    # ── listening ─────────────────────────────────────────────────────────────────────

    @property
    def listening_on(self) -> list[Address]:
        """The addresses that clients can use, with real port numbers; empty if it is disabled."""
        return [] if self.listener is None or not self.spec.enabled else self.listener.listening_on

    async def bind(self, address: Address, ipv6only: bool, listening: bool) -> Listener:
        """Return a listener that passes its clients to this proxy, from `use_listener` on.

        :raises CannotListen: with the system's reason.
        """
        return await Listener.bind(
            address, self._accepted, self.scheduler, self._intake.descriptors,
            changed=self._address_changed, ipv6only=ipv6only, listening=listening,
        )  # fmt: skip

    def use_listener(self, listener: Listener | None) -> None:
        """Replace the listener, begin to accept its clients, and close the one before."""
        if self.listener is not None and self.listener is not listener:
            self.listener.close()
        self.listener = listener
        self._intake.listen(() if listener is None else listener.addresses)
        self._update_admission()

    def _address_changed(self, address: Address, reason: CannotListen | None) -> None:
        now, listen = self.scheduler.clock(), str(address)
        if reason is None:
            self.publish(ListenRecovered(proxy=self.name, at=now, listen=listen))
        else:
            self.publish(ListenFailed(proxy=self.name, at=now, listen=listen, reason=str(reason)))

    def _accepted(self, client: socket.socket, address: object) -> None:
        came_from = self._intake.admit(self, client, address)
        if came_from is False:
            return
        self._accepted_clients += 1
        ordinal = self._accepted_clients
        refused_by, is_delayed = self.faults.admit(ordinal)
        if refused_by is not None:
            self.faults.forget(ordinal)
            reset_socket(client)
            self.attempts.count(Hiding("reset", refused_by.spec.name), peer_name(address), self.scheduler.clock())
            return
        self.tally.opened += 1
        connection = Connection(self, ordinal, address)
        self._intake.begin(connection, came_from)
        self.registry.add(connection)
        connection.start(client, is_delayed, None if self.listener is None else self.listener.inherited)

    def _packet_seen(self, kind: PacketKind, source: tuple[str, int], _port: int, _at: float) -> None:
        """Note the end of a client whose packets a filter drops."""
        connection = self.registry.by_client(source)
        if kind == "syn" or connection is None or connection.upstream.filter is None:
            return
        if dropping := connection.upstream.filter.faults:
            connection.note_leaving("client", "reset" if kind == "rst" else "fin", dropping[0])

    def _update_admission(self) -> None:
        """Set the listener's reply to new clients, as the active faults say."""
        if self.listener is None or not self.spec.enabled:
            self.attempts.hide(None, None)
            if self.listener is not None:
                self.listener.hold()
            return
        reply, drops = self.faults.admission()
        self.attempts.catch_up()
        self.listener.size_clients(self.faults.sizes("upstream", self.queue))
        self.listener.set_reply(reply, losing(drops) if drops else None)
        self.attempts.hide(self.faults.hiding(reply), self.listener)

    # ── the owner of its connections ──────────────────────────────────────────────────

    @property
    def queue(self) -> int:
        return self._front.spec.queue

    @property
    def upstream(self) -> Address:
        return self._front.spec.upstream

    def make_pipes(self, connection: Connection) -> tuple[Pipe, Pipe]:
        if self.spec.protocol == "http":
            return self.http.make_pipes(connection)
        upstream = Pipe(connection, "upstream", DIAL_QUEUE, STREAM_READERS["upstream"])
        return upstream, Pipe(connection, "downstream", self.queue, STREAM_READERS["downstream"])

    def start_task(self, coroutine: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        return self._tasks.start(coroutine, name)

    def pass_end(self, pipe: Pipe) -> None:
        if isinstance(pipe.source, TlsTransport):
            pass_truncation(pipe.source, pipe.sink)

    def arrange(self, connection: Connection) -> None:
        up, down, touching = connection.upstream, connection.downstream, self.faults.touching(connection)
        connection.turns.faults = tuple(one.spec.name for one in touching) if touching else ()
        if not touching and up.is_plain and down.is_plain and not self.http.are_treated(connection):
            return
        now, messages = self.scheduler.clock(), self.http.of(connection)
        for pipe in (up, down):
            if pipe.ends is not None:
                arrange_pipe(pipe, touching, connection.ordinal, now, messages)

    def forget(self, connection: Connection) -> None:
        self.registry.remove(connection)
        self.faults.forget(connection.ordinal)
        self._intake.forget(connection)
        tally, up, down = self.tally, connection.upstream, connection.downstream
        tally.closed[connection.cause] += 1
        tally.bytes_upstream += up.bytes
        tally.bytes_downstream += down.bytes
        tally.dropped_upstream += 0 if up.filter is None else up.filter.dropped
        tally.dropped_downstream += 0 if down.filter is None else down.filter.dropped

    # ── faults ────────────────────────────────────────────────────────────────────────

    def put_fault(self, fault: FaultSpec, resolved: ResolvedMode) -> ActiveFault:
        """Add a fault, or replace the one with that name; it acts on open connections at once."""
        return self._put(self.faults.own, fault.name, fault, resolved)

    def remove_fault(self, name: str) -> FaultSpec:
        """Remove a fault, and release everything that it holds; KeyError if there is none."""
        return self._take(self.faults.own, name)

    def sever(self, partition: str, fault: FaultSpec, resolved: ResolvedMode) -> ActiveFault:
        """Cut this proxy for a partition; `fault` and its mode say in which way."""
        before = self.faults.partitions.get(partition)
        if before is not None and before.spec == fault and before.resolved == resolved:
            return before
        return self._put(self.faults.partitions, partition, fault, resolved)

    def restore(self, partition: str) -> None:
        """End the cut of a partition, if it cuts this proxy."""
        if partition in self.faults.partitions:
            self._take(self.faults.partitions, partition)

    def apply_settings(self, modes: Mapping[str, ResolvedMode]) -> None:
        """Apply changed settings to open connections, and replace each fault whose mode in `modes` is another now."""
        if self.http.configure(self.spec):
            self.registry.arrange_all()
        for name, active in list(self.faults.own.items()):
            if modes[name] != active.resolved:
                self._put(self.faults.own, name, active.spec, modes[name])

    @property
    def partitions(self) -> list[str]:
        """The ids of the partitions that cut this proxy."""
        return list(self.faults.partitions)

    def active_fault(self, fault: str) -> ActiveFault | None:
        """Return the proxy's own fault of that name, if there is one."""
        return self.faults.own.get(fault)

    def attempts_obstacle(self) -> str:
        """Return the reason why attempts that a fault hides are not visible here; empty if they are."""
        if self.spec.listen.is_unix:
            return "its listen address is a unix socket, which has no packets"
        tap = self.attempts.capability
        return "" if tap.available else f"{tap.lacking}; {tap.remedy}"

    def severed(self, direction: Direction) -> bool:
        """Return whether nothing passes in that direction."""
        return not self.spec.enabled or self.faults.severs(direction)

    def fault_tallies(self) -> dict[str, FaultTally]:
        """Return the counts of every fault, by name, including removed ones."""
        return {**self.faults.tallies(), **self.http.caller_tallies()}

    def fault_modes(self) -> dict[str, str]:
        """Return the mode of each active fault whose type has modes."""
        return {one.spec.name: one.resolved.mode for one in self.faults if one.resolved.mode is not None}

    def _put(self, where: dict[str, ActiveFault], key: str, fault: FaultSpec, resolved: ResolvedMode) -> ActiveFault:
        self._report.before_change(self.faults.name_of(where, key))
        active = ActiveFault(fault, resolved, self.name, self._seed, self.scheduler.clock(), where.get(key))
        self.faults.put(where, key, active)
        self._faults_changed()
        admission = active.admission
        if admission is not None and admission.reply != "accept" and active.spec.placement.touches_all:
            if admission.existing != "keep":
                how: How = "reset" if admission.existing == "reset" else "closed"
                self.registry.end_all(Ending("injected", how, active.spec.name))
        return active

    def _take(self, where: dict[str, ActiveFault], key: str) -> FaultSpec:
        self._report.before_change(self.faults.name_of(where, key))
        spec = self.faults.take(where, key).spec
        self._faults_changed()
        return spec

    def _faults_changed(self) -> None:
        self._is_changed = True
        if not self._changing:
            self._apply_faults()

    def _apply_faults(self) -> None:
        self.spec, self._is_changed = self.spec, False
        self.http.watch(self.faults.own.values())
        self.registry.arrange_all()
        self._front.faults_changed()
        self._update_admission()

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Apply the changes of faults in this block to the connections once, at its end."""
        self._changing += 1
        try:
            yield
        finally:
            self._changing -= 1
            if self._is_changed:
                self._faults_changed()

    @property
    def is_settled(self) -> bool:
        """True if `settled` returns at once."""
        return self.registry.is_settled and (self.listener is None or self.listener.is_settled)

    async def settled(self) -> None:
        """Return when the latest change acts on every connection and client, and each that must end has been ended."""
        await self.registry.settled()
        if self.listener is not None:
            await self.listener.settled()

    # ── end ───────────────────────────────────────────────────────────────────────────

    def end_connections(self, how: str) -> None:
        """Close or reset every connection, for the operator."""
        self.registry.end_all(Ending("operator", "reset" if how == "reset" else "closed"))

    def close(self, keep_port: bool = False) -> None:
        """Stop listening, and close every connection. `keep_port` keeps the address of a disabled proxy bound."""
        self.use_listener(self.listener if keep_port else None)
        self.attempts.close()
        self._intake.close()
        self.end_connections("close")
        self._report.end_interval()
        self._report.publish_all()
        self.http.close()

    # ── counting ──────────────────────────────────────────────────────────────────────

    def count_turns(self) -> Iterator[None]:
        """Publish the counts of the turns until now, in many steps."""
        return self._report.look_at(self.connections.values())

    def bytes(self, direction: Direction) -> int:
        """Count the bytes received in one direction so far, including those of open connections."""
        past = self.tally.bytes_upstream if direction == "upstream" else self.tally.bytes_downstream
        return past + self.registry.bytes(direction)

    def dropped(self, direction: Direction) -> int:
        """Count the packets that the kernel has dropped for faults, as far as its counts could be read."""
        past = self.tally.dropped_upstream if direction == "upstream" else self.tally.dropped_downstream
        return past + self.registry.dropped(direction)

    def exchanges_in_flight(self) -> int:
        """Count the HTTP requests that have no complete response yet."""
        return self.http.in_flight(self.connections.values())

    def tcp(self, side: Side) -> list[TcpInfo]:
        """Return the TCP_INFO of the sockets to one side, for the SAMPLE latest connections."""
        return self.registry.tcp(side) if self.kernel.tcp_info.available else []
