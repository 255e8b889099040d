"""Which accepted clients a proxy takes in: not those that lead in a circle, and no more than the limit of connections.

    SharedIntake   one per process: the descriptors that are free, and the dials that may reach a listener
    Intake         one per proxy: resets the clients that it does not take in, counts and publishes them

A flood of clients brings thousands per second. So an event is published for the first one that is turned away and
then once per second, and stands for those before it that had none.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence, Sized
from typing import Literal

from chaosproxy.events import Bus, TooManyConnections
from chaosproxy.faults.base import NEVER
from chaosproxy.model.address import Address
from chaosproxy.net.kernel.descriptors import Descriptors
from chaosproxy.net.kernel.sockopts import reset_socket
from chaosproxy.net.sockets.binding import peer_name
from chaosproxy.net.sockets.hops import Hops
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.path import LoopLog, end_loop, loop_to
from chaosproxy.net.timer.scheduler import Clock, Scheduler
from chaosproxy.tallies import ProxyTally

__all__ = ["Intake", "SharedIntake"]

_WINDOW = 1.0
"""Seconds between two events."""


class SharedIntake:
    """The state of a process that decides which clients its proxies take in."""

    def __init__(self, clock: Clock) -> None:
        self.descriptors = Descriptors()
        self.hops: Hops[Connection] = Hops(clock)
        self.loops = LoopLog()


class Intake:
    """The clients of one proxy, before they are connections."""

    def __init__(
        self,
        proxy: str,
        tally: ProxyTally,
        bus: Bus,
        scheduler: Scheduler,
        shared: SharedIntake,
        connections: Sized,
    ) -> None:
        """`connections` are the open connections of the proxy."""
        self.scheduled_at = NEVER
        self._proxy = proxy
        self._tally = tally
        self._bus = bus
        self._scheduler = scheduler
        self.descriptors = shared.descriptors
        self._hops, self._loops = shared.hops, shared.loops
        self._connections = connections
        self._addresses: Sequence[Address] = ()
        self._next_at = 0.0
        """The time from which an event may be published."""
        self._suppressed = 0
        self._latest: object = None
        """The address of the latest client without an event."""

    def listen(self, addresses: Sequence[Address]) -> None:
        """Note the addresses on which the proxy listens from now on."""
        self._hops.unlisten(self._addresses)
        self.descriptors.proxies += bool(addresses) - bool(self._addresses)
        self._hops.listen(addresses)
        self._addresses = addresses

    def admit(self, owner: object, client: socket.socket, address: object) -> Connection | Literal[False] | None:
        """Take a client in: return the connection that has dialled it, None for a client from elsewhere.

        Return False if it was reset instead.
        """
        sender = self._hops.sender(address) if self._hops.noted else None
        if sender is not None and (loop := loop_to(owner, sender)):
            reset_socket(client)
            end_loop(loop, self._loops)
            return False
        if not self.descriptors.admits(len(self._connections)):
            self._turn_away(client, address)
            return False
        return sender

    def begin(self, connection: Connection, sender: Connection | None) -> None:
        """Take the descriptors of the connection of a client that was taken in."""
        self.descriptors.begin()
        connection.came_from = sender

    def forget(self, connection: Connection) -> None:
        """Release the descriptors of a connection whose sockets are gone."""
        self.descriptors.end()
        if self._hops.names:
            self._hops.forget(connection)

    def close(self) -> None:
        """Publish an event for the clients that had none."""
        self._scheduler.schedule(self, NEVER)
        self.on_due(self._scheduler.clock())

    def on_due(self, now: float) -> None:
        if self._suppressed:
            self._suppressed -= 1  # the event is that of the latest
            self._publish(self._latest, now)

    def on_bug(self) -> None:
        self._suppressed = 0

    def _turn_away(self, client: socket.socket, address: object) -> None:
        """Reset a client that is beyond the limit of connections, and count it."""
        reset_socket(client)
        self._tally.too_many += 1
        now = self._scheduler.clock()
        if now >= self._next_at:
            self._publish(address, now)
            return
        self._suppressed += 1
        self._latest = address
        if self.scheduled_at == NEVER:
            self._scheduler.schedule(self, self._next_at)

    def _publish(self, address: object, now: float) -> None:
        suppressed, self._suppressed, self._latest = self._suppressed, 0, None
        self._next_at = now + _WINDOW
        self._bus.publish(
            TooManyConnections(
                proxy=self._proxy,
                at=now,
                client=peer_name(address),
                most=self.descriptors.most_connections,
                suppressed=suppressed,
            )
        )
