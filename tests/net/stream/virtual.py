"""An event loop whose clock jumps, and sockets in memory that behave as those of each loop.

    VirtualLoop      runs callbacks as asyncio does; instead of waiting, it moves its clock to the next deadline
    VirtualSocket    the transport of one socket, with the behaviour of asyncio's or of uvloop's
    Peer             the far end of a socket and the network to it: a test controls what arrives and what is accepted
    VirtualHangups   reports the end of a socket that is not read, as epoll does

A run is deterministic: there is no file descriptor, no thread and no sleep. `test_virtual` runs the same scenarios
over real sockets on both loops, which proves that the two flavours behave as those loops.

The flavours differ in this:
- uvloop reads between the turns of the loop, so data may arrive between `connection_made` and the task that dialled;
- uvloop starts to read after `connection_made`, even if that has called `pause_reading`;
- uvloop makes the protocol of a dial before it connects;
- a dial cancelled at the moment it succeeds ends with `connection_lost` on asyncio, and without any call on uvloop;
- uvloop resumes writing at 16 bytes, asyncio at a quarter of the high-water mark;
- a write after `connection_lost` raises on uvloop; on asyncio so does an abort, where `close` had bytes to write;
- an end-of-stream written after the peer's reset raises on asyncio, and loses the connection on uvloop.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

from chaosproxy.endings import How

__all__ = ["FLAVOURS", "Flavour", "Hang", "Peer", "VirtualHangups", "VirtualLoop", "VirtualSocket", "connect"]

Flavour = Literal["asyncio", "uvloop"]
FLAVOURS: tuple[Flavour, ...] = ("asyncio", "uvloop")

HIGH_WATER = 64 * 1024
MOST_READ = 256 * 1024
_RESET = struct.pack("ii", 1, 0)
_MOST_TURNS = 10_000


class Hang(Exception):
    """A test awaits something that can never happen: nothing is scheduled, and no socket has pending calls."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Moves its clock to the next deadline instead of waiting."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, flavour: Flavour = "asyncio") -> None:
        super().__init__()
        self.flavour = flavour
        self.high_water = HIGH_WATER
        """The number of unsent bytes beyond which a new socket pauses writing."""
        self.sockets: dict[VirtualSocket, None] = {}
        """The open sockets, in the order in which they were made."""
        self.hangups = VirtualHangups()
        self.complaints: list[dict[str, Any]] = []
        """The contexts that the exception handler was called with."""
        self._now = 1000.0
        self._clock_resolution = 1e-9
        self._selector = self  # BaseEventLoop waits in its selector
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Callable[[], None]]:
        """Return the pending calls of sockets; if there are none, advance the clock."""
        news = [call for sock in self.sockets for call in sock.news()] + self.hangups.news()
        if news or timeout == 0:
            return news
        if timeout is None:
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
            raise Hang(f"nothing will ever happen, and these tasks wait: {', '.join(waiting) or 'none'}")
        self._now += timeout
        return []

    def _process_events(self, news: Iterable[Callable[[], None]]) -> None:
        for call in news:
            if self.flavour == "uvloop":
                call()  # libuv makes its callbacks while it polls
            else:
                self.call_soon(call)

    def _write_to_self(self) -> None:
        """Wake a waiting loop; this one never waits."""

    # ── control by tests ──────────────────────────────────────────────────────────────

    def turn(self, times: int = 1) -> None:
        """Run the callbacks that are ready, and the pending calls of sockets, without advancing the clock."""
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def settle(self) -> None:
        """Run turns until nothing more happens at this time."""
        for _ in range(_MOST_TURNS):
            if not self._ready and not self.select(0) and self.next_deadline > self._now:
                return
            self.turn()
        raise Hang(f"still busy after {_MOST_TURNS} turns without any time passing")

    def advance(self, seconds: float) -> None:
        """Advance the clock, stopping at each time at which something is due."""
        until = self._now + seconds
        self.settle()
        while self.next_deadline <= until:
            self._now = self.next_deadline
            self.settle()
        self._now = until
        self.settle()

    def lag(self, seconds: float) -> None:
        """Advance the clock without running anything, as on a busy machine."""
        self._now += seconds

    @property
    def next_deadline(self) -> float:
        """The time of the next timer; infinite if there is none."""
        return min((handle.when() for handle in self._scheduled if not handle.cancelled()), default=math.inf)


class Peer:
    """The far end of one socket, and the network to it, controlled by a test."""

    def __init__(self, name: str = "peer") -> None:
        self.name = name
        self.inbox: deque[bytes | OSError | None] = deque()
        """Data that was sent and not yet read; None is an end-of-stream."""
        self.received = bytearray()
        self.end: Literal["fin", "reset"] | None = None
        """The end of the stream to this peer, if it has ended."""
        self.room = math.inf
        """The number of bytes that this peer, and the kernels on the path, still accept."""
        self.finished = False
        """True after this peer has sent its end-of-stream."""
        self.broken: OSError | None = None
        """The error that a write to this peer gets."""
        self.sock: VirtualSocket | None = None
        """The socket that is connected to this peer."""
        self.on_end: Callable[[How], None] = lambda how: None
        """Called when this peer's end reaches the protocol."""
        self.on_hangup: Callable[[How], None] = lambda how: None
        """Called when this peer's end is reported although its socket is not read."""
        self.on_unread: Callable[[How], None] = lambda how: None
        """Called when this peer's end is found on a socket that is not read, while the other side's end arrives."""

    def send(self, data: bytes) -> None:
        self.inbox.append(data)

    def finish(self) -> None:
        """Send an end-of-stream."""
        self.finished = True
        self.inbox.append(None)

    def reset(self) -> None:
        self.lose(errno.ECONNRESET)

    def lose(self, number: int) -> None:
        """Make the socket fail with an errno; data sent before is still read."""
        self.inbox.append(_os_error(number))
        # Linux reports EPIPE if the peer has sent its FIN before (tcp_reset).
        self.broken = _os_error(errno.EPIPE if self.finished and number == errno.ECONNRESET else number)

    def stop_reading(self, room: int = 0) -> None:
        """Accept `room` more bytes, and then none."""
        self.room = room

    def read_on(self) -> None:
        """Accept all bytes again."""
        self.room = math.inf

    def take(self, data: bytes | bytearray) -> int:
        """Accept as many bytes as there is room for; return their number."""
        size = int(min(len(data), self.room))
        self.received += data[:size]
        self.room -= size
        return size


class _Options:
    """The socket object that a loop gives access to; it records whether the socket is to end with RST."""

    family = socket.AF_INET

    def __init__(self, owner: VirtualSocket) -> None:
        self._owner = owner

    def fileno(self) -> int:
        return -1 if self._owner.closed else 1_000_000

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        if name == socket.SO_LINGER:
            self._owner.lingers = value == _RESET

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        raise OSError(errno.ENOPROTOOPT, "no such option in memory")


class VirtualSocket(asyncio.Transport):
    """The transport of one socket."""

    def __init__(
        self, loop: VirtualLoop, peer: Peer, protocol: asyncio.Protocol, waiter: asyncio.Future[None] | None = None
    ) -> None:
        super().__init__()
        self.peer = peer
        peer.sock = self
        self.high = loop.high_water
        self.let_go = False
        """True after the user of the transport has closed or aborted it."""
        self.lingers = False
        """True if the socket ends with RST."""
        self.closed = False
        self._loop, self._protocol, self._waiter = loop, protocol, waiter
        self._is_uvloop = loop.flavour == "uvloop"
        self._connected = not self._is_uvloop
        self._closing = self._lost = self._eof = self._reading = self._paused = self._protocol_paused = False
        self._buffer = bytearray()
        loop.sockets[self] = None
        if self._is_uvloop:
            loop.call_soon(self._make_uvloop)
        else:
            loop.call_soon(protocol.connection_made, self)
            loop.call_soon(self._start_reading)
            loop.call_soon(self._wake_waiter)

    # ── beginning ─────────────────────────────────────────────────────────────────────

    def _make_uvloop(self) -> None:
        if not self.closed:
            self._connected = True
            self._protocol.connection_made(self)
            self._start_reading()
        self._wake_waiter()

    def _wake_waiter(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None

    def cancel_dial(self) -> None:
        """End as the loop's socket does when its dial is cancelled at the moment it succeeds."""
        if not self._is_uvloop:
            self.close()
        elif not self.closed:
            self._reading = False
            self._end()

    # ── reading ───────────────────────────────────────────────────────────────────────

    def news(self) -> list[Callable[[], None]]:
        """Return the calls that a loop would make for data and ends that have arrived."""
        peer, calls = self.peer, list[Callable[[], None]]()
        if self._reading and peer.inbox:
            calls.append(self._read)
        if self._buffer and not self._lost and (peer.room > 0 or peer.broken):
            calls.append(self._write_on)
        return calls

    def _start_reading(self) -> None:
        if not self._closing and not self._paused:
            self._reading = True

    def _read(self) -> None:
        if not self._reading or not self.peer.inbox:
            return
        match self.peer.inbox[0]:
            case None:  # the end-of-stream stays in the inbox: reading again finds it again
                self._reading = False
                self.peer.on_end("fin")
                self._guard(self._protocol.eof_received)
            case OSError() as error:
                self.peer.inbox.popleft()
                self._fail(error)
            case bytes() as data:
                self.peer.inbox.popleft()
                if len(data) > MOST_READ:
                    self.peer.inbox.appendleft(data[MOST_READ:])
                self._guard(self._protocol.data_received, data[:MOST_READ])

    def pause_reading(self) -> None:
        if self._closing:
            return
        self._paused = not self._is_uvloop  # uvloop has no separate state for paused
        self._reading = False

    def resume_reading(self) -> None:
        if self._closing or (not self._is_uvloop and not self._paused):
            return
        self._ensure_alive()
        self._paused = False
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading

    # ── writing ───────────────────────────────────────────────────────────────────────

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._ensure_alive()
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._lost:
            return
        self._check_left()
        rest = bytes(data)
        if not self._buffer and not (self._is_uvloop and self._protocol_paused):
            if self.peer.broken is not None:
                self._fail(self.peer.broken)
                return
            rest = rest[self.peer.take(rest) :]
        self._buffer += rest
        if len(self._buffer) > self.high and not self._protocol_paused:
            self._protocol_paused = True
            self._protocol.pause_writing()

    def _write_on(self) -> None:
        peer = self.peer
        if self._lost or not self._buffer:
            return
        if peer.broken is not None:
            self._fail(peer.broken)
            return
        del self._buffer[: peer.take(self._buffer)]
        if self._protocol_paused and len(self._buffer) <= (16 if self._is_uvloop else self.high // 4):
            self._protocol_paused = False
            self._protocol.resume_writing()
        if not self._buffer:
            if self._closing and self._is_uvloop:
                self._lose(None)
            elif self._closing:
                self._connection_lost(None)
            elif self._eof:
                self._shut_down()

    def write_eof(self) -> None:
        self._ensure_alive()
        if self._eof or (self._closing and not self._is_uvloop):
            return
        self._eof = True
        if not self._buffer:
            self._shut_down()

    def _shut_down(self) -> None:
        if self._is_uvloop:
            self._loop.call_soon(self._shut_down_now)
        else:
            self._shut_down_now()

    def _shut_down_now(self) -> None:
        if self.peer.broken is not None:
            if not self._is_uvloop:
                raise _os_error(errno.ENOTCONN)
            self._fail(_os_error(errno.ENOTCONN))
        elif not self.closed and self.peer.end is None:
            self.peer.end = "fin"

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    # ── end ───────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        self.let_go = True
        if self._closing or self.closed:
            return
        self._closing, self._reading = True, False
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        self.let_go = True
        self._force_close(None)

    def is_closing(self) -> bool:
        return self._closing

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, OSError):
            self._loop.call_exception_handler({"message": "a protocol failed", "exception": error})
        self._force_close(error)

    def _force_close(self, error: Exception | None) -> None:
        if self._lost or (self.closed and self._is_uvloop):
            return
        self._check_left()
        self._buffer.clear()
        self._closing, self._reading = True, False
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        self._lost = True
        self._loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error: Exception | None) -> None:
        if self.closed:  # closed by `cancel_dial`
            return
        try:
            if error is not None:
                self.peer.on_end(how_of(error))
            if self._connected:
                self._protocol.connection_lost(error)
        finally:
            self._end()

    def _end(self) -> None:
        self.closed = True
        self._buffer.clear()
        self._loop.sockets.pop(self, None)
        self._protocol = None  # type: ignore[assignment]  # as both loops do
        if self.peer.broken is None and (self.lingers or self.peer.end is None):
            self.peer.end = "reset" if self.lingers else "fin"

    def _guard(self, call: Callable[..., object], *args: object) -> None:
        try:
            if call(*args) is False:  # the result of `eof_received`
                self.close()
        except Exception as error:  # both loops do the same
            self._fail(error)

    def _check_left(self) -> None:
        if self.closed:  # closed by `close` after its last byte was written; asyncio then has no check of its own
            raise AttributeError("'NoneType' object has no attribute 'call_soon'")

    def _ensure_alive(self) -> None:
        if self._is_uvloop and self.closed:
            raise RuntimeError("unable to perform operation; the handler is closed")

    # ── protocol and properties ───────────────────────────────────────────────────────

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol  # type: ignore[assignment]

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name != "socket" or (self._is_uvloop and self.closed):
            return default
        return _Options(self)


class VirtualHangups:
    """Reports once, for each `watch`, that the peer of an unread socket has ended."""

    def __init__(self) -> None:
        self._watches: dict[object, tuple[VirtualSocket, Callable[[How], None]]] = {}

    def watch(self, key: object, transport: asyncio.BaseTransport, report: Callable[[How], None]) -> None:
        assert isinstance(transport, VirtualSocket)
        self._watches[key] = (transport, report)

    def ended(self, transport: asyncio.BaseTransport) -> How | None:
        assert isinstance(transport, VirtualSocket)
        if transport.closed or not _has_ended(transport.peer):
            return None
        how: How = "reset" if transport.peer.broken is not None else "fin"
        transport.peer.on_unread(how)
        return how

    def forget(self, key: object) -> None:
        self._watches.pop(key, None)

    def __len__(self) -> int:
        return len(self._watches)

    def news(self) -> list[Callable[[], None]]:
        """Return the calls that a loop would make for ends that have arrived."""
        ended = [key for key, (sock, _) in self._watches.items() if not sock.closed and _has_ended(sock.peer)]
        return [partial(self._report, key) for key in ended]

    def _report(self, key: object) -> None:
        watch = self._watches.pop(key, None)
        if watch is not None and not watch[0].closed:
            how: How = "reset" if watch[0].peer.broken is not None else "fin"
            watch[0].peer.on_hangup(how)
            watch[1](how)


async def connect(
    peer: Peer, make_protocol: Callable[[], asyncio.Protocol], reached: asyncio.Future[None] | None = None
) -> VirtualSocket:
    """Connect to `peer` when `reached` is done, as `create_connection` of the running loop does."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    protocol = make_protocol() if loop.flavour == "uvloop" else None
    if reached is not None:
        await reached
    waiter: asyncio.Future[None] = loop.create_future()
    sock = VirtualSocket(loop, peer, protocol or make_protocol(), waiter)
    try:
        await waiter
    except BaseException:
        sock.cancel_dial()
        raise
    return sock


def how_of(error: Exception) -> How:
    """Return the `how` with which the loss of a socket with this error is reported."""
    unreachable = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
    return "timeout" if isinstance(error, OSError) and error.errno in unreachable else "reset"


def _has_ended(peer: Peer) -> bool:
    return peer.finished or peer.broken is not None


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
