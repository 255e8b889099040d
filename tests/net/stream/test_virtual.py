"""The virtual loop and its sockets do what the real ones do: each scenario is played on all four."""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import pytest
import uvloop

from tests.net.harness import receive, turns
from tests.net.stream.virtual import Hang, Peer, VirtualLoop, connect

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "virtual-asyncio": lambda: VirtualLoop("asyncio"),
    "uvloop": uvloop.new_event_loop,
    "virtual-uvloop": lambda: VirtualLoop("uvloop"),
}
ENOUGH = 20_000_000
"""Bytes that no kernel takes for a peer which does not read."""


class Recorder(asyncio.Protocol):
    """Writes down all that a transport calls."""

    def __init__(self, on_made: Callable[[Recorder], None] = lambda recorder: None) -> None:
        self.log: list[object] = []
        self._on_made = on_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.log.append("made")
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        self.log.append(data)

    def eof_received(self) -> bool:
        self.log.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.append(("lost", getattr(exc, "errno", None)))

    def pause_writing(self) -> None:
        self.log.append("full")

    def resume_writing(self) -> None:
        self.log.append("ready")

    async def until(self, count: int) -> list[object]:
        """Wait for that many entries, and return them all."""
        async with asyncio.timeout(20):
            while len(self.log) < count:
                await asyncio.sleep(0)
        await turns()
        return self.log

    def attempt(self, name: str, call: Callable[[], object]) -> None:
        """Call, and write down what it raises."""
        try:
            call()
        except Exception as error:
            self.log.append((name, getattr(error, "errno", None) or type(error).__name__))


class Far(Protocol):
    """The far end of the socket."""

    def send(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def reset(self) -> None: ...
    async def end(self) -> tuple[int, str]:
        """Read to the end; return how many bytes came, and how the stream ended."""


class RealFar:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, data: bytes) -> None:
        assert self.sock.send(data) == len(data)

    def finish(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def end(self) -> tuple[int, str]:
        count = 0
        while True:
            try:
                data = await receive(self.sock, 2**18)
            except ConnectionResetError:
                return count, "reset"
            if not data:
                return count, "fin"
            count += len(data)


class VirtualFar:
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        peer.stop_reading(100_000)  # as a kernel's buffers do
        self.send, self.finish, self.reset = peer.send, peer.finish, peer.reset

    async def end(self) -> tuple[int, str]:
        self.peer.read_on()
        while self.peer.end is None:
            await asyncio.sleep(0)
        return len(self.peer.received), self.peer.end


class Rig:
    """One socket of the running loop, and its far end."""

    def __init__(self) -> None:
        self.far: Far
        self._open: list[socket.socket] = []
        self._recorders: list[Recorder] = []

    async def far_end(self) -> Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]]:
        """Make the far end, which may act before the socket is attached; return how to attach it."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop):
            peer = Peer()
            self.far = VirtualFar(peer)
            return lambda factory: connect(peer, factory)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        for sock in (near, far):
            sock.setblocking(False)
        self._open += [near, far]
        self.far = RealFar(far)
        return lambda factory: loop.create_connection(factory, sock=near)

    async def attach(self, *before: Callable[[Far], None], **settings: Callable[[Recorder], None]) -> Recorder:
        recorder = Recorder(**settings)
        self._recorders.append(recorder)
        attaching = await self.far_end()
        for act in before:
            act(self.far)
        await attaching(lambda: recorder)
        return recorder

    async def close(self) -> None:
        for recorder in self._recorders:
            if ("lost", None) not in recorder.log:
                recorder.transport.abort()
        await turns()
        for sock in self._open:
            sock.close()


Scenario = Callable[[Rig], Awaitable[list[object]]]


def played(loop_name: str, scenario: Scenario) -> list[object]:
    async def main() -> list[object]:
        rig = Rig()
        try:
            return list(await scenario(rig))
        finally:
            await rig.close()

    loop = LOOPS[loop_name]()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


async def half_closes(rig: Rig) -> list[object]:
    near = await rig.attach()
    rig.far.send(b"data")
    await near.until(2)
    rig.far.finish()
    await near.until(3)
    near.transport.write(b"answer")
    near.transport.write_eof()
    near.attempt("write", lambda: near.transport.write(b"more"))
    near.log.append(await rig.far.end())
    near.transport.close()
    near.log.append(near.transport.is_closing())
    return await near.until(7)


async def data_before_the_dial_returns(rig: Rig) -> list[object]:
    near = await rig.attach(lambda far: far.send(b"early"))
    near.log.append("returned")
    return await near.until(3)


async def pause_within_connection_made(rig: Rig) -> list[object]:
    near = await rig.attach(lambda far: far.send(b"early"), on_made=lambda near: near.transport.pause_reading())
    await turns(20)
    near.log.append("paused")
    near.transport.pause_reading()
    near.transport.resume_reading()
    return await near.until(3)


async def pause_and_resume(rig: Rig) -> list[object]:
    near = await rig.attach()
    near.transport.pause_reading()
    rig.far.send(b"later")
    await turns(20)
    near.log.append("paused")
    near.transport.resume_reading()
    return await near.until(3)


async def an_end_read_again(rig: Rig) -> list[object]:
    near = await rig.attach(lambda far: far.finish())
    await near.until(2)
    near.transport.resume_reading()
    await turns(20)
    return await near.until(2)


async def reset(rig: Rig) -> list[object]:
    near = await rig.attach()
    rig.far.reset()
    return await near.until(2)


async def reset_behind_data(rig: Rig) -> list[object]:
    near = await rig.attach()
    near.transport.pause_reading()
    rig.far.send(b"last words")
    rig.far.reset()
    await turns(20)
    near.log.append("paused")
    near.transport.resume_reading()
    return await near.until(4)


async def reset_behind_an_end(rig: Rig) -> list[object]:
    near = await rig.attach()
    rig.far.finish()
    await near.until(2)
    rig.far.reset()
    await turns(20)
    near.log.append("unseen")
    near.attempt("write", lambda: near.transport.write(b"x"))
    return await near.until(4)


async def half_close_after_an_unseen_reset(rig: Rig) -> list[object]:
    near = await rig.attach()
    near.transport.pause_reading()
    rig.far.reset()
    await turns(20)
    near.attempt("write_eof", near.transport.write_eof)
    await near.until(2)
    near.transport.abort()
    return await near.until(2)


async def write_after_the_end(rig: Rig) -> list[object]:
    near = await rig.attach()
    near.transport.abort()
    await near.until(2)
    near.attempt("write", lambda: near.transport.write(b"x"))
    near.attempt("write_eof", near.transport.write_eof)
    near.attempt("close", near.transport.close)
    near.attempt("abort", near.transport.abort)
    near.attempt("pause", near.transport.pause_reading)
    near.attempt("resume", near.transport.resume_reading)
    return near.log


async def back_pressure(rig: Rig) -> list[object]:
    near = await rig.attach()
    near.transport.write(b"x" * ENOUGH)
    near.log.append(near.transport.get_write_buffer_size() > 0)
    near.transport.write_eof()
    near.log.append(await rig.far.end())
    near.transport.close()
    return await near.until(6)


async def close_with_bytes_unsent(rig: Rig) -> list[object]:
    near = await rig.attach()
    near.transport.write(b"x" * ENOUGH)
    near.transport.close()
    near.log.append(near.transport.is_closing())
    await turns(20)
    near.log.append("open")
    end = await rig.far.end()
    return [*(one for one in await near.until(5) if one != "ready"), end]  # one loop resumes before, one does not


async def abort_after_the_last_byte(rig: Rig) -> list[object]:
    near = await rig.attach()
    near.transport.write(b"x" * ENOUGH)
    near.transport.close()
    await rig.far.end()
    while ("lost", None) not in near.log:
        await asyncio.sleep(0)
    near.attempt("abort", near.transport.abort)
    return [one for one in near.log if one != "ready"]


async def abort_with_bytes_unsent(rig: Rig) -> list[object]:
    near = await rig.attach()
    near.transport.write(b"x" * ENOUGH)
    near.transport.abort()
    await near.until(3)
    size, how = await rig.far.end()
    return [*near.log, size < ENOUGH, how]


async def abort_that_lingers(rig: Rig) -> list[object]:
    near = await rig.attach()
    sock = near.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.transport.abort()
    return [*await near.until(2), await rig.far.end()]


async def another_protocol(rig: Rig) -> list[object]:
    near, next_one = await rig.attach(), Recorder()
    near.transport.set_protocol(next_one)
    rig.far.send(b"for the next")
    await next_one.until(1)
    near.transport.abort()
    return [*near.log, *await next_one.until(2)]


async def a_dial_cancelled_as_it_succeeds(rig: Rig) -> list[object]:
    recorder = Recorder(lambda near: cancel())

    async def dial() -> None:
        try:
            await attaching(lambda: recorder)
        except asyncio.CancelledError:
            recorder.log.append(("closing", recorder.transport.is_closing()))
            recorder.transport.abort()
            raise

    def cancel() -> None:
        dialling.cancel()

    attaching = await rig.far_end()
    dialling = asyncio.ensure_future(dial())
    await asyncio.wait([dialling])
    await turns(20)
    return recorder.log


SCENARIOS: dict[Scenario, tuple[Sequence[object], Sequence[object]]] = {
    half_closes: ([
        "made", b"data", "eof", ("write", "RuntimeError"), (6, "fin"), True, ("lost", None)
    ],) * 2,
    data_before_the_dial_returns: (["made", "returned", b"early"], ["made", b"early", "returned"]),
    pause_within_connection_made: (["made", "paused", b"early"], ["made", b"early", "paused"]),
    pause_and_resume: (["made", "paused", b"later"],) * 2,
    an_end_read_again: (["made", "eof"], ["made", "eof", "eof"]),
    reset: (["made", ("lost", errno.ECONNRESET)],) * 2,
    reset_behind_data: (["made", "paused", b"last words", ("lost", errno.ECONNRESET)],) * 2,
    reset_behind_an_end: (["made", "eof", "unseen", ("lost", errno.EPIPE)],) * 2,
    half_close_after_an_unseen_reset: (
        ["made", ("write_eof", errno.ENOTCONN), ("lost", None)],
        ["made", ("lost", errno.ENOTCONN)],
    ),
    write_after_the_end: (
        ["made", ("lost", None)],
        ["made", ("lost", None), ("write", "RuntimeError"), ("write_eof", "RuntimeError")],
    ),
    back_pressure: (["made", "full", True, "ready", (ENOUGH, "fin"), ("lost", None)],) * 2,
    close_with_bytes_unsent: (["made", "full", True, "open", ("lost", None), (ENOUGH, "fin")],) * 2,
    abort_after_the_last_byte: (
        ["made", "full", ("lost", None), ("abort", "AttributeError")],
        ["made", "full", ("lost", None)],
    ),
    abort_with_bytes_unsent: (["made", "full", ("lost", None), True, "fin"],) * 2,
    abort_that_lingers: (["made", ("lost", None), (0, "reset")],) * 2,
    another_protocol: (["made", b"for the next", ("lost", None)],) * 2,
    a_dial_cancelled_as_it_succeeds: (["made", ("closing", True), ("lost", None)], ["made", ("closing", False)]),
}
"""What the protocol sees on asyncio, and on uvloop."""


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_virtual_sockets_do_what_real_ones_do(scenario: Scenario, loop_name: str) -> None:
    assert played(loop_name, scenario) == SCENARIOS[scenario]["uvloop" in loop_name]


@pytest.mark.parametrize("loop_name", LOOPS)
def test_uvloop_makes_the_protocol_of_a_dial_before_it_connects(loop_name: str) -> None:
    async def scenario() -> bool:
        loop = asyncio.get_running_loop()
        made = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        if isinstance(loop, VirtualLoop):
            await begin(connect(Peer(), factory, loop.create_future()))
            return bool(made)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            waiting = [socket.socket() for _ in range(3)]  # the backlog is full: nobody answers
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
            await begin(loop.create_connection(factory, *listener.getsockname()))
            for sock in waiting:
                sock.close()
        return bool(made)

    async def begin(dial: Awaitable[object]) -> None:
        dialling = asyncio.ensure_future(dial)
        await turns(20)
        dialling.cancel()
        await asyncio.wait([dialling])

    loop = LOOPS[loop_name]()
    try:
        assert loop.run_until_complete(scenario()) == ("uvloop" in loop_name)
    finally:
        loop.close()


# ── the clock ────────────────────────────────────────────────────────────────────────────


def test_an_hour_passes_at_once_and_exactly() -> None:
    loop, heard = VirtualLoop(), list[float]()
    started = loop.time()
    loop.call_later(3600, lambda: heard.append(loop.time() - started))
    loop.advance(3599)
    assert heard == []
    loop.advance(1)
    assert heard == [3600]
    loop.run_until_complete(asyncio.sleep(86_400 * 3))
    assert loop.time() - started == 3600 + 86_400 * 3
    assert loop.next_deadline == math.inf
    loop.close()


def test_settling_lets_no_time_pass() -> None:
    loop, heard = VirtualLoop(), list[str]()
    loop.call_soon(lambda: loop.call_soon(lambda: heard.append("soon")))
    loop.call_later(0, lambda: heard.append("now"))
    loop.call_later(0.001, lambda: heard.append("later"))
    now = loop.time()
    loop.settle()
    assert sorted(heard) == ["now", "soon"]
    assert loop.time() == now
    loop.close()


def test_waiting_for_nothing_is_a_hang() -> None:
    loop = VirtualLoop()
    never = loop.create_future()

    async def wait() -> None:
        await never

    task = loop.create_task(wait(), name="the one that waits")
    with pytest.raises(Hang, match="the one that waits"):
        loop.run_until_complete(task)
    task.cancel()
    loop.settle()
    loop.close()


def test_a_loop_that_never_rests_is_a_hang() -> None:
    loop = VirtualLoop()

    def again() -> None:
        loop.call_soon(again)

    again()
    with pytest.raises(Hang, match="busy"):
        loop.settle()
    loop.close()
