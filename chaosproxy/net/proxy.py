"""One running proxy: its listener, its connections, its faults."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import replace

from chaosproxy.events import Bus
from chaosproxy.faults.base import Direction
from chaosproxy.faults.chain import Link
from chaosproxy.model.address import Address
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.connection import Connection
from chaosproxy.net.emitter import Emitter
from chaosproxy.net.listener import Listener
from chaosproxy.net.pipe import Pipe
from chaosproxy.net.placed import Placed
from chaosproxy.net.sockets import reset_socket
from chaosproxy.seed import Seed
from chaosproxy.tallies import FaultTally, ProxyTally
from chaosproxy.tasks import TaskOwner

__all__ = ["Proxy"]


class Proxy:
    """Runs what its spec says. Only the supervisor changes it."""

    def __init__(self, spec: ProxySpec, *, seed: Seed, bus: Bus, emitter: Emitter, tasks: TaskOwner) -> None:
        self.spec = replace(spec, faults=())
        self.bus = bus
        self.emitter = emitter
        self.tasks = tasks
        self.tally = ProxyTally()
        self.connections: dict[int, Connection] = {}
        """The registry: every connection, by ordinal, until both its sockets are gone."""
        self._seed = seed
        self._placed: dict[str, Placed] = {}
        self._past: dict[str, FaultTally] = {}
        self._listener: Listener | None = None
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
        self._mind_the_door(begins=False)

    def _accepted(self, client: socket.socket, address: object) -> None:
        self.tally.opened += 1
        ordinal = self.tally.opened
        delay = 0.0
        for placed in self._placed.values():
            if placed.door is not None and placed.touches(ordinal):
                placed.tally.segments += 1
                if placed.door.refuse:
                    self.tally.closed["injected"] += 1
                    reset_socket(client)
                    return
                delay += placed.door.delay
        connection = self.connections[ordinal] = Connection(self, ordinal, address)
        connection.start(client, delay)

    # ── faults ────────────────────────────────────────────────────────────────────────

    def put_fault(self, fault: FaultSpec) -> None:
        """Place a fault, or change the one of that name; live connections feel it at once."""
        before = self._placed.get(fault.name)
        placed = Placed(fault, self.spec.name, self._seed, before)
        if before is None and fault.name in self._past:
            placed.tally = self._past.pop(fault.name)  # counters never go back
        self._placed[fault.name] = placed
        self._faults_changed(fault.name)

    def remove_fault(self, name: str) -> FaultSpec:
        """Take a fault away; what it held goes on at once. KeyError when there is none."""
        placed = self._placed.pop(name)
        self._past[name] = placed.tally
        self._faults_changed(name)
        return placed.spec

    def arrange(self, connection: Connection) -> None:
        """Have each pipe of a connection run the faults that touch it."""
        if not self._placed and connection.upstream.chain is None and connection.downstream.chain is None:
            return
        touching = [placed for placed in self._placed.values() if placed.touches(connection.ordinal)]
        now = self.emitter.clock()
        for pipe in (connection.upstream, connection.downstream):
            if pipe.connection is not None:
                pipe.arrange(list(_links(touching, pipe, connection.ordinal, now)), now)

    def fault_tallies(self) -> dict[str, FaultTally]:
        """What each fault has done, also those that are gone."""
        return {**self._past, **{name: placed.tally for name, placed in self._placed.items()}}

    def _faults_changed(self, name: str) -> None:
        self.spec = replace(self.spec, faults=tuple(placed.spec for placed in self._placed.values()))
        for connection in list(self.connections.values()):
            self.arrange(connection)
        self._mind_the_door(begins=name in self._placed)

    def _mind_the_door(self, *, begins: bool) -> None:
        """Refuse or accept as the faults say; a refusal that begins may end what is open."""
        if self._listener is None:
            return
        refusing = [
            placed.door
            for placed in self._placed.values()
            if placed.door is not None and placed.door.refuse and placed.spec.placement.touches_all
        ]
        if not refusing:
            self._listener.accept()
            return
        self._listener.refuse()
        if begins:
            existing = {door.existing for door in refusing}
            if "reset" in existing:
                self.end_connections("reset", "refuse")
            elif "close" in existing:
                self.end_connections("close", "refuse")

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

    def held(self, direction: Direction) -> int:
        """Bytes that faults hold now."""
        pipes = (one.upstream if direction == "upstream" else one.downstream for one in self.connections.values())
        return sum(pipe.chain.held for pipe in pipes if pipe.chain is not None)

    def forget(self, connection: Connection) -> None:
        """Both sockets of a connection are gone."""
        del self.connections[connection.ordinal]
        for placed in self._placed.values():
            placed.forget(connection.ordinal)
        tally = self.tally
        tally.closed[connection.cause] += 1
        tally.bytes_upstream += connection.upstream.bytes
        tally.bytes_downstream += connection.downstream.bytes

    def close(self) -> None:
        """Take no more clients and close every connection."""
        self.use_listener(None)
        self.end_connections("close")


def _links(touching: Iterable[Placed], pipe: Pipe, connection: int, now: float) -> Iterable[Link]:
    """The links a pipe shall have: those that stay as they are, and new ones."""
    standing = {} if pipe.chain is None else {link.owner: link for link in pipe.chain.links}
    for placed in touching:
        link = standing.get(placed) or placed.link(connection, pipe.direction, now)
        if link is not None:
            yield link
