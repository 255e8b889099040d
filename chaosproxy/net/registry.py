"""The connections of one proxy: a registry, changes of all of them in slices, and counts over all of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from chaosproxy.endings import Ending
from chaosproxy.faults.base import Direction
from chaosproxy.net.kernel.sockopts import tcp_info_of
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.net.timer.sweep import Sweep
from chaosproxy.tallies import Side, TcpInfo

__all__ = ["SAMPLE", "Registry"]

SAMPLE = 100
"""Connections whose TCP_INFO is read at a scrape, which takes about 2 µs each."""


class Registry:
    """Holds every connection from its accept until both its sockets are gone."""

    def __init__(self, scheduler: Scheduler, arrange: Callable[[Connection], None]) -> None:
        """`arrange` applies the faults to one connection."""
        self.connections: dict[int, Connection] = {}
        """The connections by ordinal."""
        self._by_client: dict[object, Connection] = {}
        self._scheduler = scheduler
        self._arrange = arrange
        self._arranging = Sweep(scheduler, self._arrange_one)
        self._endings: list[Sweep[Connection]] = []

    def add(self, connection: Connection) -> None:
        self.connections[connection.ordinal] = connection
        self._by_client[connection.client_key] = connection

    def remove(self, connection: Connection) -> None:
        """Remove a connection whose sockets are gone."""
        del self.connections[connection.ordinal]
        if self._by_client.get(connection.client_key) is connection:
            del self._by_client[connection.client_key]

    def by_client(self, address: object) -> Connection | None:
        """Return the latest connection from that address and port of a client; None if there is none."""
        return self._by_client.get(address)

    # ── changes ───────────────────────────────────────────────────────────────────────

    def arrange_all(self) -> None:
        """Apply the faults to every connection, as they are when its turn comes."""
        self._arranging.start(self.connections.values())

    def end_all(self, ending: Ending) -> None:
        """Close or reset every connection."""
        act = Connection.reset if ending.how == "reset" else Connection.close
        sweep: Sweep[Connection] = Sweep(self._scheduler, lambda connection: act(connection, ending))
        self._endings = [one for one in self._endings if not one.is_done]
        self._endings.append(sweep)
        sweep.start(self.connections.values())

    @property
    def is_settled(self) -> bool:
        """True if `settled` returns at once."""
        return self._arranging.is_done and all(one.is_done for one in self._endings)

    async def settled(self) -> None:
        """Return when `arrange_all` and `end_all` have treated every connection, as called so far."""
        for sweep in (self._arranging, *self._endings):
            await sweep.wait()

    def _arrange_one(self, connection: Connection) -> None:
        if connection.ordinal in self.connections:
            self._arrange(connection)

    # ── counts ────────────────────────────────────────────────────────────────────────

    def bytes(self, direction: Direction) -> int:
        """Count the bytes received in one direction."""
        return sum(pipe.bytes for pipe in self._pipes(direction))

    def dropped(self, direction: Direction) -> int:
        """Count the packets that the kernel has dropped for faults, as far as its counts could be read."""
        filters = [pipe.filter for pipe in self._pipes(direction) if pipe.filter is not None]
        for one in filters:
            one.count()
        return sum(one.dropped for one in filters)

    def held(self, direction: Direction) -> int:
        """Count the bytes that faults hold now."""
        return sum(pipe.held for pipe in self._pipes(direction))

    def half_ended(self) -> int:
        """Count the connections that one side has ended and the other has not."""
        ends = (one.arrivals for one in self.connections.values())
        return sum((one.client is None) is not (one.server is None) for one in ends)

    def tcp(self, side: Side) -> list[TcpInfo]:
        """Return the TCP_INFO of the sockets to one side, for the SAMPLE latest connections."""
        found = []
        for connection in islice(reversed(self.connections.values()), SAMPLE):
            transport = (connection.upstream if side == "client" else connection.downstream).source
            if (info := tcp_info_of(transport)) is not None:
                found.append(info)
        return found

    def _pipes(self, direction: Direction) -> list[Pipe]:
        upstream = direction == "upstream"
        return [one.upstream if upstream else one.downstream for one in self.connections.values()]
