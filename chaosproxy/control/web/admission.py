"""Admit connections to the control server, and decide which of them makes room for another.

A connection is idle while no request is under way on it: before the first one, between two, and while a head is
incomplete. At a limit the connection that has been idle longest makes room. If none is idle, the new one is refused.
So neither silent clients nor incomplete heads keep others out, and no request is cut off for another.

No socket and no clock: `control.web.connection` has both.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, get_args

from chaosproxy.model import ControlLimits

__all__ = ["LIMITS", "Admission", "ControlTally", "Limit"]

Limit: TypeAlias = Literal[
    "connections", "connections_per_address", "head_timeout", "body_timeout", "send_timeout", "idle_timeout"
]
LIMITS: tuple[Limit, ...] = get_args(Limit)
"""The limits that may end a connection, under the names that they have in the configuration."""


@dataclass(slots=True)
class ControlTally:
    """Counts of the control server."""

    connections: int = 0
    """Connections open now."""
    limited: Counter[Limit] = field(default_factory=Counter)
    """Connections that were refused or closed, by the limit that they exceeded."""
    malformed: int = 0
    """Requests that are not HTTP, or whose body cannot be decoded."""


class Client(Protocol):
    """One connection of a client."""

    def end(self, limit: Limit) -> None:
        """End the connection, since this limit is exceeded."""


class Admission:
    """The open connections and their order of idleness."""

    def __init__(self, limits: ControlLimits, tally: ControlTally) -> None:
        self._limits = limits
        self._tally = tally
        self._open: dict[Client, str] = {}  # with the address of each; empty for a unix socket
        self._by_address: Counter[str] = Counter()
        self._idle: dict[Client, None] = {}  # the longest idle one first

    def admit(self, client: Client, address: str) -> Limit | None:
        """Add a connection, which is idle; return None, or the limit that refuses it."""
        if address and self._by_address[address] >= self._limits.connections_per_address:
            if not self._make_room("connections_per_address", address):
                return "connections_per_address"
        elif len(self._open) >= self._limits.connections and not self._make_room("connections", None):
            return "connections"
        self._open[client] = address
        self._by_address[address] += 1
        self._idle[client] = None
        self._tally.connections = len(self._open)
        return None

    def begin_request(self, client: Client) -> None:
        """Note that a request of the connection is complete up to its body."""
        self._idle.pop(client, None)

    def end_request(self, client: Client) -> None:
        """Note that nothing of the request and its response is left to do."""
        if client in self._open:
            self._idle[client] = None

    def leave(self, client: Client) -> None:
        """Remove a connection, if it is there."""
        address = self._open.pop(client, None)
        if address is None:
            return
        self._idle.pop(client, None)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        self._tally.connections = len(self._open)

    def clients(self) -> list[Client]:
        """Return the open connections."""
        return list(self._open)

    def _make_room(self, limit: Limit, address: str | None) -> bool:
        """End the longest idle connection, from `address` if it is given; return whether there was one."""
        for client in self._idle:
            if address is None or self._open[client] == address:
                self.leave(client)
                client.end(limit)
                return True
        return False
