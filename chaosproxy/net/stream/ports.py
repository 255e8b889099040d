"""All that the kernel of the data plane knows of the rest: a pipe of its connection, a connection of its proxy.

Both Protocols are generic over the classes they speak of, so that nothing here imports those.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from chaosproxy.endings import Ending, How
from chaosproxy.events import Event
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Ends", "HangupWatch", "Owner", "ReaderKind", "Readers"]

P = TypeVar("P")
"""The class of pipes."""
C = TypeVar("C", contravariant=True)
"""The class of connections."""


ReaderKind = Literal["plain", "chained", "discarding"]


@dataclass(frozen=True, slots=True)
class Readers(Generic[P]):
    """The classes of protocols that a pipe chooses from; one is made with the pipe it feeds and the opposite one."""

    plain: Callable[[P, P], asyncio.Protocol]
    """Nothing acts on this direction."""
    chained: Callable[[P, P], asyncio.Protocol]
    """Bytes, end-of-stream and reset go through a chain of faults."""
    discarding: Callable[[P, P], asyncio.Protocol]
    """The receiver is gone for ever."""

    def of(self, kind: ReaderKind) -> Callable[[P, P], asyncio.Protocol]:
        """Return the reader of that kind."""
        return self.plain if kind == "plain" else self.chained if kind == "chained" else self.discarding


class HangupWatch(Protocol):
    """Watches sockets that are not read; `net.kernel.hangups` does it by epoll."""

    def watch(self, who: object, transport: asyncio.BaseTransport, report: Callable[[How], None]) -> None:
        """Call `report` once with `fin` or `reset` when the peer ends, or soon if it has."""

    def forget(self, who: object) -> None:
        """End a watch; nothing happens where there is none."""


class Ends(Protocol[P]):
    """The connection, as one of its pipes sees it."""

    @property
    def scheduler(self) -> Scheduler: ...

    def opposite(self, pipe: P) -> P:
        """Return the other direction."""

    def source_made(self, pipe: P, transport: asyncio.Transport) -> None:
        """Take the transport of the socket that feeds `pipe`."""

    def note_end_of_stream(self, pipe: P) -> None:
        """Note that the end-of-stream of the socket that feeds `pipe` has arrived."""

    def publish_ended(self, pipe: P) -> None:
        """Publish what was noted, now that it is known whether a fault holds it."""

    def watch_hangup(self, pipe: P, source: asyncio.Transport) -> None:
        """Note the end of the socket that feeds `pipe` also while it is not read."""

    def forget_hangup(self, pipe: P) -> None:
        """Watch that socket no longer."""

    def source_lost(self, pipe: P, error: Exception | None) -> None:
        """Note that the socket that feeds `pipe` is gone."""

    def half_close(self, pipe: P) -> None:
        """Pass an end-of-stream on to the sink of `pipe`."""

    def break_off(self) -> None:
        """End both sides with RST, since a peer's reset has passed every fault."""

    def close(self, ending: Ending) -> None:
        """End both sides in good order."""

    def reset(self, ending: Ending) -> None:
        """End both sides with RST."""

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
    def scheduler(self) -> Scheduler: ...
    @property
    def hangups(self) -> HangupWatch: ...

    def make_pipes(self, connection: C) -> tuple[P, P]:
        """Return the pipes upstream and downstream, as the proxy's protocol needs them."""

    def start_task(self, coroutine: Coroutine[object, object, None], name: str) -> object:
        """Run `coroutine` as a task that ends with the proxy."""

    def arrange(self, connection: C) -> None:
        """Have each pipe run the faults that touch the connection."""

    async def attach_client(self, connection: C, accepted: socket.socket, delay: float) -> float:
        """Attach the client's socket, or end the connection; return the seconds of `delay` that are left."""

    async def dial(self, connection: C) -> None:
        """Reach the upstream and attach its socket.

        :raises DialError: with the reason.
        """

    def pass_end(self, pipe: P) -> None:
        """Do what the transports of `pipe` need before its end-of-stream is passed on."""

    def publish(self, event: Event) -> None:
        """Publish an event on the bus."""

    def forget(self, connection: C) -> None:
        """Take a connection whose sockets are gone out of the registry, and count it."""
