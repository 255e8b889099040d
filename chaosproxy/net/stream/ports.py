"""The interfaces of the data plane's core: a pipe knows its connection as `Ends`, a connection its proxy as `Owner`.

Both Protocols are generic over the classes of pipes and connections, so this module imports neither.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from chaosproxy.endings import Ending, How
from chaosproxy.events import Event
from chaosproxy.model.address import Address
from chaosproxy.net.stream.held import HeldBytes
from chaosproxy.net.stream.turn_counts import ProxyTurns
from chaosproxy.net.stream.turns import Turns
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Ends", "HangupWatch", "MakeReader", "Owner", "Readers"]

P = TypeVar("P")
"""The class of pipes."""
C = TypeVar("C", contravariant=True)
"""The class of connections."""

MakeReader = Callable[[P, P], asyncio.Protocol]
"""A class of readers, which takes the pipe that a reader feeds and the opposite pipe."""


@dataclass(frozen=True, slots=True)
class Readers(Generic[P]):
    """The classes of readers that a pipe chooses from."""

    plain: MakeReader[P]
    """For a direction without faults: write at once."""
    chained: MakeReader[P]
    """For a direction with faults: bytes, end-of-stream and reset go through a chain."""
    discarding: MakeReader[P]
    """For a direction whose receiver is gone: drop the bytes."""


class HangupWatch(Protocol):
    """Watches sockets that are not read; `net.kernel.hangups` implements it with epoll."""

    def watch(self, key: object, transport: asyncio.BaseTransport, report: Callable[[How], None]) -> None:
        """Call `report` once with `fin` or `reset` when the peer ends, or soon if it already has."""

    def ended(self, transport: asyncio.BaseTransport) -> How | None:
        """Return how the peer has ended; None if it has not, or if this cannot be found out."""

    def forget(self, key: object) -> None:
        """Stop watching; do nothing if `key` is not watched."""


class Ends(Protocol[P]):
    """The connection, as one of its pipes sees it."""

    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def held(self) -> HeldBytes: ...
    @property
    def turns(self) -> Turns: ...

    def opposite(self, pipe: P) -> P:
        """Return the other direction."""

    def source_made(self, pipe: P, transport: asyncio.Transport) -> None:
        """Note the transport of the socket that feeds `pipe`."""

    def note_end_of_stream(self, pipe: P) -> None:
        """Note that the end-of-stream of the socket that feeds `pipe` has arrived."""

    def publish_ended(self, pipe: P) -> None:
        """Publish the end that was just noted, with the fault that holds it in `pipe`, if one does."""

    def watch_hangup(self, pipe: P, source: asyncio.Transport) -> None:
        """Watch for the end of the socket that feeds `pipe` while it is not read."""

    def forget_hangup(self, pipe: P) -> None:
        """Stop watching that socket."""

    def source_lost(self, pipe: P, error: Exception | None) -> None:
        """Note that the socket that feeds `pipe` is gone."""

    def half_close(self, pipe: P) -> None:
        """Forward an end-of-stream to the sink of `pipe`."""

    def break_off(self) -> None:
        """Reset both sides: a peer's reset has passed every fault."""

    def close(self, ending: Ending) -> None:
        """Close both sides after their last bytes were sent."""

    def reset(self, ending: Ending) -> None:
        """Reset both sides with RST."""

    def log_bug(self) -> None:
        """Log the exception being handled as a defect that ends this connection."""


class Owner(Protocol[C, P]):
    """The proxy, as one of its connections sees it."""

    @property
    def name(self) -> str: ...
    @property
    def queue(self) -> int:
        """Bytes that one pipe may hold."""

    @property
    def upstream(self) -> Address:
        """The address that it dials."""

    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def hangups(self) -> HangupWatch: ...
    @property
    def held_bytes(self) -> HeldBytes:
        """The bytes that all pipes of the process hold."""

    @property
    def turns(self) -> ProxyTurns:
        """The counts of the turns of its connections."""

    def make_pipes(self, connection: C) -> tuple[P, P]:
        """Return the upstream and the downstream pipe, for the proxy's protocol."""

    def start_task(self, coroutine: Coroutine[object, object, None], name: str) -> object:
        """Run `coroutine` as a task that ends with the proxy."""

    def arrange(self, connection: C) -> None:
        """Apply to each pipe the faults that touch the connection."""

    async def attach_client(self, connection: C, accepted: socket.socket, is_delayed: bool) -> None:
        """Attach the client's socket, and wait while faults delay it, if `is_delayed`; or end the connection."""

    async def dial(self, connection: C) -> None:
        """Connect to the upstream and attach its socket.

        :raises DialError: with the reason.
        """

    def count_dial_failure(self) -> None:
        """Count a dial that has failed; the client is reset next."""

    def pass_end(self, pipe: P) -> None:
        """Prepare the transports of `pipe` for an end-of-stream, which is forwarded next."""

    def publish(self, event: Event) -> None:
        """Publish an event on the bus."""

    def forget(self, connection: C) -> None:
        """Remove a connection whose sockets are gone from the registry, and count it."""
