"""One direction of a connection: its steps, the faults that act on them, and back-pressure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import pytest

from chaosproxy.faults.bandwidth import Bandwidth
from chaosproxy.faults.base import NEVER, Direction, Fault, HalfClose, Opening, Reset, Send, Stage, Step
from chaosproxy.faults.blackhole import Blackhole
from chaosproxy.faults.corrupt import Corrupt
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.limit_data import LimitData
from chaosproxy.faults.limit_time import LimitTime
from chaosproxy.faults.pause import Pause
from chaosproxy.faults.reset import Reset as ResetFault
from chaosproxy.faults.slicer import Slicer
from chaosproxy.faults.slow_close import SlowClose
from chaosproxy.faults.stall import Stall
from chaosproxy.net.stream.readers import (
    ChainedReader,
    DiscardingReader,
    PlainDownstreamReader,
    PlainUpstreamReader,
)
from tests.net.stream.scene import Line, Scene
from tests.net.stream.virtual import HIGH_WATER, Flavour

KIB = 1024


def readers(line: Line) -> tuple[type, type]:
    """Return the types of the readers on the sockets of client and server."""
    assert line.client.sock is not None and line.server.sock is not None
    return type(line.client.sock.get_protocol()), type(line.server.sock.get_protocol())


# ── faults added, changed and removed during a stream ────────────────────────────────────


def test_a_fault_added_acts_from_then_on_and_removed_lets_go_at_once(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        assert readers(line) == (PlainUpstreamReader, PlainDownstreamReader)
        scene.put("slow", Latency(delay=10.0), "upstream")
        assert readers(line) == (ChainedReader, PlainDownstreamReader)
        line.client.send(b"one ")
        scene.advance(6)
        line.client.send(b"two ")
        scene.advance(3)
        assert (line.server_got(), line.held) == (b"", (8, 0))
        scene.advance(1)
        assert (line.server_got(), line.held) == (b"one ", (4, 0))
        scene.remove("slow")
        assert (line.server_got(), line.held) == (b"two ", (0, 0))
        assert readers(line) == (PlainUpstreamReader, PlainDownstreamReader)
        line.client.send(b"three")
        assert line.server_got() == b"three"


def test_a_changed_fault_times_again_what_it_holds(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("slow", Latency(delay=3600.0), "downstream")
        line.server.send(b"held")
        scene.advance(1.0)
        scene.put("slow", Latency(delay=1.5), "downstream")
        scene.advance(0.4)
        assert line.client_got() == b""
        scene.advance(0.1)
        assert line.client_got() == b"held"


def test_a_fault_of_another_type_takes_over_what_the_first_holds(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("it", Stall(), "upstream")
        line.client.send(b"x" * 2000)
        scene.advance(1.0)
        scene.put("it", Bandwidth(rate=1448.0, chunk=1448), "upstream")
        scene.advance(1.0)
        assert len(line.server_got()) == 1448
        scene.advance(552 / 1448)
        assert len(line.server_got()) == 552


def test_both_directions_are_apart(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("dark", Stall(), "downstream")
        line.client.send(b"heard")
        line.server.send(b"not heard")
        assert (line.server_got(), line.client_got(), line.held) == (b"heard", b"", (0, 9))


def test_bandwidth_meters_the_stream(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("thin", Bandwidth(rate=14_480.0), "downstream")
        line.server.send(b"x" * 14_480 * 3)
        for second in range(1, 4):
            scene.advance(1.0)
            line.client_got()
            assert abs(len(line.client.received) - second * 14_480) <= 1448, "in pieces of a segment"


def test_slicer_cuts_and_keeps_order(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("knife", Slicer(size=2, gap=1.0), "upstream")
        line.client.send(b"abcde")
        got = []
        for _ in range(3):
            scene.advance(1.0)
            got.append(line.server_got())
        assert got == [b"ab", b"cd", b"e"]


def test_corrupt_keeps_the_length(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("noise", Corrupt(rate=0.5), "downstream")
        sent = bytes(range(200))
        line.server.send(sent)
        got = line.client_got()
        assert len(got) == 200 and got != sent


def test_a_blackhole_swallows_bytes_and_keeps_the_end(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("hole", Blackhole(), "upstream")
        line.client.send(b"lost")
        line.client.finish()
        assert line.told() == ["client fin, held by hole"]
        assert line.ends() == (None, None)
        scene.heal()
        assert line.server_got() == b""
        assert line.ends() == (None, "fin")


def test_slow_close_delays_the_end_alone(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("linger", SlowClose(delay=5.0))
        line.client.send(b"bye")
        line.client.finish()
        assert line.server_got() == b"bye"
        assert line.told() == ["client fin, held by linger"]
        scene.advance(4.9)
        assert line.ends() == (None, None)
        scene.advance(0.1)
        assert line.ends() == (None, "fin")


@pytest.mark.parametrize(
    ("fault", "detail", "end"),
    [
        (LimitData(size=6, then="close"), "closed by fault cut", "fin"),
        (LimitData(size=6, then="reset"), "reset by fault cut", "reset"),
        (ResetFault(size=6), "reset by fault cut", "reset"),
    ],
    ids=repr,
)
def test_a_limit_of_data_ends_the_connection_after_the_last_byte(
    fault: Fault, detail: str, end: str, flavour: Flavour
) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("cut", fault, "upstream")
        line.client.send(b"four")
        assert line.server_got() == b"four"
        line.client.send(b"four more")
        line.server.send(b"nothing comes of this")
        assert line.server_got() == b"fo"
        assert line.told() == [f"closed (injected): {detail}"]
        assert line.ends() == (end, end)
        assert (line.closed.first, line.closed.client_ended_s) == (None, None)


def test_a_limit_of_time_ends_a_silent_connection(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("cut", LimitTime(time=30.0, then="close"), "downstream")
        scene.advance(29.9)
        assert line.told() == []
        scene.advance(0.1)
        assert line.told() == ["closed (injected): closed by fault cut"]


def test_a_limit_that_stalls_holds_what_follows(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("cut", LimitData(size=4, then="stall"), "upstream")
        line.client.send(b"four more")
        assert (line.server_got(), line.held) == (b"four", (5, 0))
        scene.heal()
        assert line.server_got() == b" more"


def test_an_injected_close_waits_for_a_slow_reader_and_a_slow_close(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("cut", LimitData(size=4, then="close"), "upstream")
        scene.put("linger", SlowClose(delay=5.0), "upstream")
        line.client.send(b"four more")
        assert line.server_got() == b"four"
        scene.advance(4.9)
        assert line.told() == []
        scene.advance(0.1)
        assert line.told() == ["closed (injected): closed by fault cut"]


# ── faults added or removed while the upstream is dialled ────────────────────────────────


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
def test_a_fault_added_during_the_dial_acts(direction: Direction, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        scene.loop.settle()
        scene.put("dark", Stall(), direction)
        line.dial_succeeds()
        line.client.send(b"up")
        line.server.send(b"down")
        assert (line.server_got(), line.client_got()) == ((b"", b"down") if direction == "upstream" else (b"up", b""))
        scene.heal()
        assert (line.server_got(), line.client_got()) == ((b"up", b"") if direction == "upstream" else (b"", b"down"))


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
def test_a_fault_removed_during_the_dial_acts_no_more(direction: Direction, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.put("dark", Stall(), direction)
        line = scene.accept()
        line.client.send(b"early ")
        assert line.held == ((6, 0) if direction == "upstream" else (0, 0))
        scene.heal()
        assert line.held == (0, 0)
        line.dial_succeeds()
        line.client.send(b"up")
        line.server.send(b"down")
        assert (line.server_got(), line.client_got()) == (b"early up", b"down")
        assert line.told() == ["opened"]
        assert readers(line) == (PlainUpstreamReader, PlainDownstreamReader)


def test_a_fault_removed_before_the_client_is_attached_leaves_no_chain(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.put("dark", Stall())
        line = scene.accept(attach=False)
        scene.loop.settle()
        scene.heal()
        line.attached.set_result(None)
        line.dial_succeeds()
        assert line.told() == ["opened"]
        assert readers(line) == (PlainUpstreamReader, PlainDownstreamReader)


def test_a_server_that_speaks_before_the_dial_returns_meets_the_faults(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.put("dark", Stall(), "downstream")
        line = scene.accept()
        line.server.send(b"welcome")
        line.dial_succeeds()
        assert (line.client_got(), line.held) == (b"", (0, 7))
        scene.heal()
        assert line.client_got() == b"welcome"


# ── back-pressure ────────────────────────────────────────────────────────────────────────


def test_a_full_sink_slows_the_sender_and_a_ready_one_lets_it_go_on(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.server.stop_reading()
        for _ in range(10):
            line.client.send(b"x" * 20 * KIB)
        assert line.server_got() == b""
        assert len(line.client.inbox) == 6, "four of 20 KiB fill 64 KiB"
        line.server.read_on()
        assert len(line.server_got()) == 200 * KIB
        assert not line.client.inbox


def test_the_queue_of_a_fault_is_bounded(flavour: Flavour) -> None:
    with Scene(flavour, queue=100 * KIB) as scene:
        line = scene.open()
        scene.put("dark", Stall(), "downstream")
        for _ in range(20):
            line.server.send(b"x" * 10 * KIB)
        assert line.held == (0, 100 * KIB)
        assert len(line.server.inbox) == 10
        scene.heal()
        assert len(line.client_got()) == 200 * KIB


def test_a_queue_of_tiny_chunks_is_bounded_too(flavour: Flavour) -> None:
    with Scene(flavour, queue=100 * KIB) as scene:
        line = scene.open()
        scene.put("dark", Stall(), "upstream")
        for _ in range(1000):
            line.client.send(b"x")
        assert 350 < line.held[0] < 450
        scene.heal()
        assert len(line.server_got()) == 1000


def test_a_client_that_sends_ahead_of_the_dial_is_slowed(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        for _ in range(10):
            line.client.send(b"x" * 10 * KIB)
        scene.loop.settle()
        assert len(line.client.inbox) == 3, "seven of 10 KiB fill 64 KiB"
        line.dial_succeeds()
        assert len(line.server_got()) == 100 * KIB


@pytest.mark.parametrize("queue", [4 * KIB, 64 * KIB, 100 * KIB])
def test_a_queue_that_has_drained_is_filled_again(queue: int, flavour: Flavour) -> None:
    """This holds even if the sink's write buffer, which is not full, holds more bytes than the queue's limit."""
    with Scene(flavour, queue=queue) as scene:
        line = scene.open()
        scene.put("slow", Latency(delay=0.1), "upstream")
        line.server.stop_reading()
        for _ in range(20):
            line.client.send(b"x" * 4 * KIB)
            scene.advance(0.1)
        line.server.read_on()
        scene.advance(60)
        assert len(line.server_got()) == 80 * KIB
        assert not line.client.inbox


def test_what_a_removed_fault_held_leaves_even_toward_a_full_sink(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.server.stop_reading()
        scene.put("dark", Stall(), "upstream")
        line.client.send(b"x" * 100 * KIB)
        assert line.held == (100 * KIB, 0)
        scene.heal()
        assert line.held == (0, 0)
        assert line.server.sock is not None and line.server.sock.get_write_buffer_size() == 100 * KIB
        line.client.send(b"more")
        scene.loop.settle()
        assert line.client.inbox, "the client is slowed by the full sink"
        line.server.read_on()
        assert len(line.server_got()) == 100 * KIB + 4


def test_a_fault_added_while_the_sink_is_full_takes_what_the_sink_does_not(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.server.stop_reading()
        line.client.send(b"x" * 2 * HIGH_WATER)
        line.client.send(b"later")
        scene.loop.settle()
        assert line.client.inbox
        scene.put("slow", Latency(delay=1.0), "upstream")
        scene.loop.settle()
        assert not line.client.inbox
        scene.advance(1.0)
        assert line.held == (0, 0), "no fault holds it any more: it waits for the sink"
        line.server.read_on()
        assert line.server_got() == b"x" * 2 * HIGH_WATER + b"later"


def test_an_end_of_stream_waits_behind_bytes_for_a_full_sink(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("slow", Latency(delay=1.0), "upstream")
        line.server.stop_reading()
        line.client.send(b"x" * 2 * HIGH_WATER)
        line.client.send(b"last")
        line.client.finish()
        scene.advance(1.0)
        assert line.ends() == (None, None)
        line.server.read_on()
        assert line.server_got()[-4:] == b"last"
        assert line.ends() == (None, "fin")


def test_a_paused_side_is_not_read(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.put("frozen", Pause())
        line = scene.accept()
        line.client.send(b"unread")
        line.dial_succeeds()
        line.server.send(b"unread too")
        scene.loop.settle()
        if flavour == "asyncio":
            assert (len(line.client.inbox), len(line.server.inbox)) == (1, 1)
        assert (line.server_got(), line.client_got()) == (b"", b"")
        scene.heal()
        assert (line.server_got(), line.client_got()) == (b"unread", b"unread too")


# ── a receiver that is gone ──────────────────────────────────────────────────────────────


def gone(scene: Scene) -> Line:
    """Return a connection whose server is gone, with a fault that holds the reset toward the client."""
    line = scene.open()
    scene.put("dark", Stall(), "downstream")
    line.server.reset()
    assert line.told() == ["server reset, held by dark"]
    return line


def test_bytes_for_a_receiver_that_is_gone_are_dropped(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = gone(scene)
        assert line.client.sock is not None and type(line.client.sock.get_protocol()) is DiscardingReader
        line.client.send(b"x" * 100)
        assert line.held == (0, 0)
        assert line.connection.upstream.bytes == 100
        line.client.finish()
        assert line.told() == ["client fin"]
        scene.heal()
        assert line.told() == ["closed (server): server reset"]
        assert line.ends()[0] == "reset"


def test_a_fault_toward_a_receiver_that_is_gone_does_not_wait_for_it(flavour: Flavour) -> None:
    with Scene(flavour, queue=10 * KIB) as scene:
        line = gone(scene)
        scene.put("late", Latency(delay=1.0), "upstream")
        for _ in range(10):
            line.client.send(b"x" * 4 * KIB)
        line.client.finish()
        scene.advance(10)
        assert line.told() == ["client fin, held by late"]
        assert line.connection.upstream.bytes == 40 * KIB
        assert line.held == (0, 0)


@pytest.mark.parametrize("fault", [Stall(), Latency(delay=1.0), Pause()], ids=lambda fault: fault.type)
def test_a_removed_fault_toward_a_receiver_that_is_gone_leaves_nothing(fault: Fault, flavour: Flavour) -> None:
    with Scene(flavour, queue=10 * KIB) as scene:
        line = gone(scene)
        scene.put("late", fault, "upstream")
        for _ in range(10):
            line.client.send(b"x" * 4 * KIB)
        scene.loop.settle()
        scene.remove("late")
        assert line.held == (0, 0)
        assert line.connection.upstream.bytes == 40 * KIB
        assert line.client.sock is not None and type(line.client.sock.get_protocol()) is DiscardingReader


def test_a_fault_toward_a_receiver_that_is_gone_may_end_the_connection(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = gone(scene)
        scene.put("cut", LimitTime(time=1.0, then="close"), "upstream")
        scene.advance(1.0)
        assert line.told() == ["closed (injected): closed by fault cut"]


def test_a_sender_that_was_paused_is_read_again_once_its_receiver_is_gone(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("dark", Stall(), "downstream")
        scene.put("frozen", Pause(), "upstream")
        line.client.send(b"unread")
        line.server.reset()
        assert line.told() == ["server reset, held by dark"]
        scene.remove("frozen")
        scene.loop.settle()
        assert line.connection.upstream.bytes == 6
        line.client.finish()
        assert line.told() == ["client fin"]


# ── a failing fault ends one connection ──────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Broken(Fault):
    """Raises an exception at a certain kind of step, or at a scheduled time."""

    on: str
    type: ClassVar[str] = "broken"

    def open(self, opening: Opening) -> Stage:
        return _Broken(self.on, opening.now)


class _Broken(Stage):
    def __init__(self, on: str, now: float) -> None:
        self._on = on
        self.alarm = now + 1.0 if on == "alarm" else NEVER

    def on_step(self, step: Step) -> Iterable[Step]:
        kinds = {Send: "data", HalfClose: "fin", Reset: "reset"}
        if kinds.get(type(step)) == self._on:
            raise RuntimeError("a fault's defect")
        return (step,)

    def on_alarm(self, now: float) -> Iterable[Step]:
        raise RuntimeError("a fault's defect")

    def let_go(self) -> Iterable[Step]:
        if self._on == "let_go":
            raise RuntimeError("a fault's defect")
        return ()

    def take_over(self, old: Stage) -> None:
        if self._on == "take_over":
            raise RuntimeError("a fault's defect")


BUG = "closed (bug): a fault failed; the log has the traceback"


def fails_alone(scene: Scene, line: Line, other: Line) -> None:
    """Assert that only this connection has ended, and that the log has the reason."""
    assert line.told()[-1] == BUG
    assert other.told() == []
    assert [one for one in scene.errors if "connection 1 of proxy failed" in one], scene.errors
    assert scene.loop.complaints == []
    scene.errors.clear()
    scene.heal()
    other.client.send(b"still here")
    assert other.server_got() == b"still here"


@pytest.mark.parametrize("on", ["data", "fin", "reset", "alarm"])
def test_a_stage_that_raises_ends_its_connection_alone(on: str, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("bad", Broken(on), "upstream")
        scene.remove_for_new("bad")
        other = scene.open()
        match on:
            case "data":
                line.client.send(b"x")
            case "fin":
                line.client.finish()
            case "reset":
                line.client.reset()
        scene.advance(1.0)
        fails_alone(scene, line, other)


def test_a_stage_that_raises_when_a_full_sink_is_ready(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("bad", Broken("alarm"), "upstream")
        scene.remove_for_new("bad")
        other = scene.open()
        line.server.stop_reading()
        line.client.send(b"x" * 2 * HIGH_WATER)
        scene.loop.settle()
        scene.loop.lag(1.0)
        line.server.read_on()
        fails_alone(scene, line, other)


@pytest.mark.parametrize("on", ["let_go", "take_over"])
def test_a_stage_that_raises_as_the_fault_is_changed_ends_each_connection_it_acts_on(on: str, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.put("bad", Broken(on), "upstream")
        line, other = scene.open(), scene.open()
        scene.put("bad", Broken(on), "upstream")
        assert (line.told(), other.told()) == ([BUG], [BUG])
        assert len(scene.errors) == 2
        scene.errors.clear()
