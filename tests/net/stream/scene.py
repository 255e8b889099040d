"""Connections between virtual peers, with an owner that a test controls, and a check that nothing is left at the end.

    Scene        a loop, an owner and its faults; on exit it checks for everything that a connection may leave behind
    Line         one connection with both its peers
    StandIn      the `Owner` of the connections, in place of a proxy

Methods that return results settle the loop first. So a test is a list of acts, each followed by its results.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import cast

from chaosproxy.endings import Ending
from chaosproxy.events import ClientEnded, ConnectionClosed, ConnectionOpened, DialFailed, Event, PeerEnded
from chaosproxy.faults.base import NEVER, Direction, Fault, Opening, Stage
from chaosproxy.faults.chain import Link
from chaosproxy.model.address import Address
from chaosproxy.net.sockets.binding import is_refused_half_close
from chaosproxy.net.sockets.dial import DialError
from chaosproxy.net.stream.connection import CLOSE_GRACE, Connection
from chaosproxy.net.stream.held import HeldBytes
from chaosproxy.net.stream.pipe import DIAL_QUEUE, Pipe
from chaosproxy.net.stream.readers import STREAM_READERS
from chaosproxy.net.stream.turn_counts import FailedTurns, ProxyTurns
from chaosproxy.net.timer.scheduler import LoopTimer, Scheduler
from chaosproxy.seed import Seed
from chaosproxy.tallies import FaultTally
from chaosproxy.tasks import TaskOwner
from tests.net.stream.virtual import Flavour, Peer, VirtualHangups, VirtualLoop, connect

__all__ = ["BOTH", "REFUSED", "UNANSWERED", "Line", "Scene", "StandIn"]

BOTH: tuple[Direction, ...] = ("upstream", "downstream")
REFUSED = DialError(Address("server", 1), "Connection refused", "server", "reset")
UNANSWERED = DialError(Address("server", 1), "no answer within 5 s")


class Placed:
    """A fault on some directions; a changed fault is a new object."""

    def __init__(self, name: str, fault: Fault, directions: tuple[Direction, ...]) -> None:
        self.name, self.fault, self.directions = name, fault, directions
        self.tally = FaultTally()
        self._common = {direction: fault.common() for direction in directions}

    def link(self, direction: Direction, now: float, wrap: Callable[[str, Direction, Stage], Stage]) -> Link:
        opening = Opening(lambda: Seed(7).at(self.name, direction), now, self._common[direction])
        stage = self.fault.open(opening)
        assert stage is not None
        return Link(self.name, wrap(self.name, direction, stage), self.tally, self)


class StandIn:
    """The owner of connections, which implements the Protocol of a connection's owner."""

    name = "proxy"
    upstream = Address("server", 1)

    def __init__(self, loop: VirtualLoop, queue: int) -> None:
        self.queue = queue
        self.scheduler = Scheduler(loop.time, lambda fire: LoopTimer(fire, loop, loop.time))
        self.hangups: VirtualHangups = loop.hangups
        self.held_bytes = HeldBytes(self.scheduler, lambda event: None)
        self.connections: dict[int, Connection] = {}
        self.lines: dict[int, Line] = {}
        self.events: list[Event] = []
        self.faults: dict[str, Placed] = {}
        self.wrap: Callable[[str, Direction, Stage], Stage] = lambda name, direction, stage: stage
        self.tasks = TaskOwner("stand-in")
        self.dial_failures = 0
        self.turn_events: list[Event] = []
        self.turns = ProxyTurns("proxy", self.turn_events.append, FailedTurns(b"key"))

    def make_pipes(self, connection: Connection) -> tuple[Pipe, Pipe]:
        upstream = Pipe(connection, "upstream", min(DIAL_QUEUE, self.queue), STREAM_READERS["upstream"])
        return upstream, Pipe(connection, "downstream", self.queue, STREAM_READERS["downstream"])

    def start_task(self, coroutine: Coroutine[object, object, None], name: str) -> object:
        return self.tasks.start(coroutine, name)

    def arrange(self, connection: Connection) -> None:
        now = self.scheduler.clock()
        for pipe in (connection.upstream, connection.downstream):
            if pipe.ends is not None:
                pipe.arrange(list(self._links(pipe, now)), now)

    def _links(self, pipe: Pipe, now: float) -> Iterator[Link]:
        standing = {} if pipe.chain is None else {link.owner: link for link in pipe.chain.links}
        for placed in self.faults.values():
            if pipe.direction in placed.directions:
                yield standing.get(placed) or placed.link(pipe.direction, now, self.wrap)

    async def attach_client(self, connection: Connection, accepted: socket.socket, is_delayed: bool) -> None:
        line = self.lines[connection.ordinal]
        try:
            await connect(line.client, connection.upstream.reader, line.attached)
        except OSError as error:
            connection.note_ending(Ending("client", "reset", error=str(error.strerror), during="accept"))
        if is_delayed:
            connection.may_cancel(True)
            await asyncio.sleep(line.delay)

    async def dial(self, connection: Connection) -> None:
        line = self.lines[connection.ordinal]
        await connect(line.server, connection.downstream.reader, line.reached)
        await line.ready

    def count_dial_failure(self) -> None:
        self.dial_failures += 1

    def pass_end(self, pipe: Pipe) -> None:
        self.lines[cast(Connection, pipe.ends).ordinal].passed.append(pipe.direction)

    def publish(self, event: Event) -> None:
        self.events.append(event)

    def forget(self, connection: Connection) -> None:
        del self.connections[connection.ordinal]


class Line:
    """One connection, its client and its server."""

    def __init__(self, scene: Scene, ordinal: int) -> None:
        self._scene = scene
        self.ordinal = ordinal
        self.client, self.server = Peer("client"), Peer("server")
        self.delay = 0.0
        """The seconds by which faults delay it after it is attached."""
        self.attached: asyncio.Future[None] = scene.loop.create_future()
        """Done when the client's socket may be attached; an OSError if the client is gone."""
        self.reached: asyncio.Future[None] = scene.loop.create_future()
        """Done when the upstream is reached; a DialError if it is not."""
        self.ready: asyncio.Future[None] = scene.loop.create_future()
        """Done when the dial may return with its socket attached."""
        self.ready.set_result(None)
        self.passed: list[Direction] = []
        """The directions whose end-of-stream the owner has prepared."""
        self._seen = 0
        self._read = {"client": 0, "server": 0}
        owner = scene.owner
        owner.lines[ordinal] = self
        self.connection = owner.connections[ordinal] = Connection(owner, ordinal, None)

    # ── acts ──────────────────────────────────────────────────────────────────────────

    def dial_succeeds(self) -> None:
        self.reached.set_result(None)

    def dial_fails(self, error: DialError = REFUSED) -> None:
        self.reached.set_exception(error)

    def operator(self, how: str) -> None:
        """Close or reset the connection, as for a request of the operator."""
        if how == "reset":
            self.connection.reset(Ending("operator", "reset"))
        else:
            self.connection.close(Ending("operator", "closed"))

    # ── results ───────────────────────────────────────────────────────────────────────

    def client_got(self) -> bytes:
        """Return the bytes that the client has received since the last call."""
        return self._got(self.client)

    def server_got(self) -> bytes:
        return self._got(self.server)

    def _got(self, peer: Peer) -> bytes:
        self._scene.loop.settle()
        start, self._read[peer.name] = self._read[peer.name], len(peer.received)
        return bytes(peer.received[start:])

    def ends(self) -> tuple[str | None, str | None]:
        """Return how the streams to the client and to the server have ended, if they have."""
        self._scene.loop.settle()
        return self.client.end, self.server.end

    def events(self) -> list[Event]:
        """Return the events of this connection."""
        self._scene.loop.settle()
        return [one for one in self._scene.owner.events if getattr(one, "connection", None) == self.ordinal]

    def told(self) -> list[str]:
        """Return the events since the last call, in words."""
        events = self.events()
        new, self._seen = events[self._seen :], len(events)
        return [in_words(event) for event in new]

    @property
    def closed(self) -> ConnectionClosed:
        """Return the only ConnectionClosed event."""
        [closed] = [event for event in self.events() if isinstance(event, ConnectionClosed)]
        return closed

    @property
    def is_over(self) -> bool:
        self._scene.loop.settle()
        return self.ordinal not in self._scene.owner.connections

    @property
    def held(self) -> tuple[int, int]:
        """The bytes that faults hold, upstream and downstream."""
        self._scene.loop.settle()
        return self.connection.upstream.held, self.connection.downstream.held


class Scene:
    """A loop, an owner and its connections; on exit it ends them and checks that nothing is left."""

    def __init__(self, flavour: Flavour = "asyncio", queue: int = 16 * 2**20) -> None:
        self.loop = VirtualLoop(flavour)
        self.owner = StandIn(self.loop, queue)
        self.errors: list[str] = []
        """The errors logged; a test that expects errors clears them."""
        self._handler = _Lines(self.errors)

    def accept(self, delay: float = 0.0, attach: bool = True) -> Line:
        """Accept a client; without `attach`, it is attached when `line.attached` is done."""
        line = Line(self, len(self.owner.lines) + 1)
        line.delay = delay
        if attach:
            line.attached.set_result(None)
        self.inside(lambda: line.connection.start(cast(socket.socket, None), delay > 0, None))
        return line

    def open(self) -> Line:
        """Return a connection whose dial has succeeded."""
        line = self.accept()
        line.dial_succeeds()
        assert line.told() == ["opened"]
        return line

    def put(self, name: str, fault: Fault, *directions: Direction) -> None:
        """Add a fault on every connection, or replace the one with that name."""
        self.owner.faults[name] = Placed(name, fault, directions or BOTH)
        self._arrange()

    def remove(self, name: str) -> None:
        del self.owner.faults[name]
        self._arrange()

    def remove_for_new(self, name: str) -> None:
        """Remove a fault for new connections, but keep it on the open ones."""
        del self.owner.faults[name]

    def heal(self) -> None:
        self.owner.faults.clear()
        self._arrange()

    def _arrange(self) -> None:
        for connection in list(self.owner.connections.values()):
            self.inside(lambda: self.owner.arrange(connection))  # noqa: B023  # called at once

    def advance(self, seconds: float) -> None:
        """Advance the clock by that many seconds."""
        self.loop.advance(seconds)

    def inside(self, call: Callable[[], object]) -> None:
        """Call a function from within the loop, before any callback that is ready."""
        asyncio.events._set_running_loop(self.loop)
        try:
            call()
        finally:
            asyncio.events._set_running_loop(None)

    # ── end ───────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Scene:
        logging.getLogger("chaosproxy").addHandler(self._handler)
        gc.collect(0)  # the young garbage of earlier tests in this process
        gc.disable()  # all objects made from now on stay in the youngest generation, where `cyclic_garbage` finds them
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._end()
        finally:
            logging.getLogger("chaosproxy").removeHandler(self._handler)
            gc.enable()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.turn(3)
            self.loop.close()

    def _end(self) -> None:
        """End every connection, and assert that nothing is left of it."""
        self.loop.settle()
        for line in self.owner.lines.values():
            if not line.is_over:
                line.operator("close")
        self.advance(2 * CLOSE_GRACE)  # after that time the scheduler has dropped its stale entries
        for line in self.owner.lines.values():
            check_over(line)
        assert not self.owner.connections, "the registry is not empty"
        assert not self.loop.sockets, "a socket is open"
        assert not self.owner.held_bytes.total, "bytes of ended pipes are counted"
        assert not len(self.loop.hangups), "a socket is watched for its end"
        assert not asyncio.all_tasks(self.loop)
        assert [repr(one) for one in self.loop.complaints if not is_refused_half_close(one)] == []
        assert self.errors == []
        self.owner.lines.clear()
        assert cyclic_garbage() == []


def check_over(line: Line) -> None:
    """Assert that every link of a connection is cut."""
    connection = line.connection
    for pipe in (connection.upstream, connection.downstream):
        assert (pipe.ends, pipe.chain, pipe.source, pipe.sink) == (None, None, None, None)
        assert pipe.scheduled_at == NEVER
    assert connection.scheduled_at == NEVER
    assert line.closed.connection == line.ordinal


def cyclic_garbage() -> list[str]:
    """Return the young objects of the data plane that only the garbage collector would free."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect(0)
        return [repr(one) for one in gc.garbage if type(one).__module__.startswith(("chaosproxy", "tests.net.stream"))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def in_words(event: Event) -> str:
    match event:
        case ConnectionOpened():
            return "opened"
        case DialFailed(reason=reason):
            return f"dial failed: {reason}"
        case PeerEnded(how=how, held_by=held_by):
            side = "client" if isinstance(event, ClientEnded) else "server"
            return f"{side} {how}" + (f", held by {held_by}" if held_by else "")
        case ConnectionClosed(cause=cause, detail=detail):
            return f"closed ({cause}): {detail}"
    return event.kind


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())
