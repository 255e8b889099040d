"""Whatever happens to a connection, in whatever order: its bytes, its ends and what it leaves behind.

A state machine sends, ends, dials, places faults, fills sinks and lets time pass, on either flavour of loop, and turns
the loop as often as it likes in between. Beside it runs a model that is told by the virtual sockets, not by the code
under test, which bytes were swallowed and in which order the ends arrived. What must hold at any moment:

- A byte is delivered once and in order, or it is held, or a fault that declares loss has swallowed it. Only once its
  receiver is gone or the connection is ended may it be dropped.
- The side that ended first is the one whose end arrived first, and each end is published once, at the time of its
  arrival.
- A connection is closed once, for the reason that ended it.

And once it is over: the registry is empty, no socket is open or watched, no link is left, nothing is scheduled, no task
runs, nothing is logged, and no cycle waits for the collector.

CHAOSPROXY_ORDERS=20000 plays that many orders in place of some hundreds.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chaosproxy.endings import How
from chaosproxy.events import ClientEnded, ConnectionOpened, DialFailed, PeerEnded
from chaosproxy.faults.bandwidth import Bandwidth
from chaosproxy.faults.base import Close, Direction, Fault, Reset, Send, Stage, Step
from chaosproxy.faults.blackhole import Blackhole
from chaosproxy.faults.corrupt import Corrupt
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.limit_data import LimitData
from chaosproxy.faults.limit_time import LimitTime
from chaosproxy.faults.packet_loss import PacketLoss
from chaosproxy.faults.pause import Pause
from chaosproxy.faults.reset import Reset as ResetFault
from chaosproxy.faults.slicer import Slicer
from chaosproxy.faults.slow_close import SlowClose
from chaosproxy.faults.stall import Stall
from chaosproxy.net.stream.connection import CLOSE_GRACE
from chaosproxy.tallies import Side
from tests.net.stream.scene import BOTH, REFUSED, UNANSWERED, Scene
from tests.net.stream.virtual import Flavour, Peer

ORDERS = int(os.environ.get("CHAOSPROXY_ORDERS", "0"))
WORD = 8
"""Bytes of a word. Each one sent is unique, and no fault used here cuts one in two, so that a receiver's words say
which were sent."""
QUEUE = 4096
MOST_WORDS = 400

LOSSLESS = (
    Latency(delay=0.1), Latency(delay=1.0, jitter=0.9), Bandwidth(rate=2000.0, chunk=12 * WORD),
    Bandwidth(rate=1e6, burst=1000), Stall(), Stall(hold=0.5), Stall(hold=0.5, every=2.0), Pause(), Slicer(size=WORD),
    Slicer(size=5 * WORD, gap=0.05), SlowClose(delay=1.0), PacketLoss(rate=0.5, mode="stream"),
    LimitData(size=16 * WORD, then="stall"), LimitTime(time=1.0, then="stall"),
)  # fmt: skip
LOSSY = (
    Blackhole(), Corrupt(rate=0.1), LimitData(size=16 * WORD, then="close"), LimitData(size=0, then="reset"),
    LimitTime(time=1.0, then="close"), LimitTime(time=0.5, then="reset"), ResetFault(), ResetFault(delay=1.0),
    ResetFault(size=8 * WORD),
)  # fmt: skip

_words: dict[Direction, list[bytes]] = {"upstream": [], "downstream": []}


def word(direction: Direction, index: int) -> bytes:
    known = _words[direction]
    while len(known) <= index:
        known.append(hashlib.blake2b(f"{direction} {len(known)}".encode(), digest_size=WORD).digest())
    return known[index]


@dataclass
class Stream:
    """The bytes of one direction, as the model knows them."""

    direction: Direction
    sent: int = 0
    """Words sent; the next one's index."""
    indices: dict[bytes, int] = field(default_factory=dict)
    """Of each word in the stream, also of those that a fault has made of others."""
    swallowed: set[int] = field(default_factory=set)
    delivered: list[int] = field(default_factory=list)

    def make(self, count: int) -> bytes:
        made = [word(self.direction, self.sent + index) for index in range(count)]
        self.indices.update({one: self.sent + index for index, one in enumerate(made)})
        self.sent += count
        return b"".join(made)

    def read(self, received: bytes | bytearray) -> None:
        """Take in what the receiver has got by now."""
        start, whole = len(self.delivered) * WORD, len(received) // WORD * WORD
        self.delivered += [self.indices[bytes(received[at : at + WORD])] for at in range(start, whole, WORD)]


class Watched(Stage):
    """Another stage, with all that it swallows, changes or ends written down."""

    def __init__(self, name: str, stage: Stage, stream: Stream, ended_by: set[str]) -> None:
        self._name, self.stage, self._stream, self._ended_by = name, stage, stream, ended_by

    @property
    def quantum(self) -> int:  # type: ignore[override]
        return self.stage.quantum

    @property
    def alarm(self) -> float:  # type: ignore[override]
        return self.stage.alarm

    @property
    def unread(self) -> bool:  # type: ignore[override]
        return self.stage.unread

    def on_step(self, step: Step) -> Iterable[Step]:
        before = step.data if isinstance(step, Send) else b""
        steps = self._seen(self.stage.on_step(step), step)
        after = b"".join(one.data for one in steps if isinstance(one, Send))
        indices = self._stream.indices
        if len(after) == len(before):
            for at in range(0, len(before), WORD):
                indices[after[at : at + WORD]] = indices[before[at : at + WORD]]
        else:
            assert before.startswith(after), "a stage may swallow the end of a chunk, or all of it"
            lost = before[len(after) :]
            self._stream.swallowed.update(indices[lost[at : at + WORD]] for at in range(0, len(lost), WORD))
        return steps

    def on_alarm(self, now: float) -> Iterable[Step]:
        return self._seen(self.stage.on_alarm(now), None)

    def let_go(self) -> Iterable[Step]:
        return self.stage.let_go()

    def take_over(self, old: Stage) -> None:
        assert isinstance(old, Watched)
        self.stage.take_over(old.stage)

    def _seen(self, steps: Iterable[Step], given: Step | None) -> list[Step]:
        seen = list(steps)
        if any(isinstance(one, Close | Reset) and one is not given for one in seen):
            self._ended_by.add(self._name)
        return seen


@dataclass(frozen=True)
class Arrival:
    """The end of one side, as it arrived."""

    side: Side
    how: How
    after_s: float


class Orders(RuleBasedStateMachine):
    """One connection, and all that may happen to it."""

    flavour: ClassVar[Flavour]

    @initialize(
        delay=st.sampled_from((0.0, 0.0, 1.0)),
        attach=st.sampled_from((True, True, True, False)),
        dial=st.sampled_from((True, True, False)),
        high_water=st.sampled_from((4 * WORD, 100 * WORD)),
        fault=st.none() | st.sampled_from(LOSSLESS),
    )
    def accept(self, delay: float, attach: bool, dial: bool, high_water: int, fault: Fault | None) -> None:
        self.scene = Scene(self.flavour, QUEUE)
        self.scene.__enter__()
        self.scene.loop.high_water = high_water
        self.streams: dict[Direction, Stream] = {way: Stream(way) for way in BOTH}
        self.ended_by: set[str] = set()
        self.scene.owner.wrap = lambda name, way, stage: Watched(name, stage, self.streams[way], self.ended_by)
        self.line = self.scene.accept(delay, attach)
        if dial:
            self.line.dial_succeeds()
        self.arrivals: list[Arrival] = []
        self.operator_hows: set[str] = set()
        """What the operator has asked for while the connection was there."""
        self.operator_was_first = self.left_before_opened = False
        self.closing_since: float | None = None
        """The time at which the operator has asked for a close; None if it has not, or came too late."""
        for peer in (self.line.client, self.line.server):
            peer.on_end = lambda how, peer=peer: self.arrived(peer, how)  # type: ignore[misc]
            peer.on_hangup = lambda how, peer=peer: self.arrived(peer, how, once=True)  # type: ignore[misc]
            peer.on_unread = lambda how, peer=peer: self.found(peer, how)  # type: ignore[misc]
        if fault is not None:
            self.put_fault("a", fault, BOTH, 0)

    # ── the model of ends ─────────────────────────────────────────────────────────────

    @property
    def is_over(self) -> bool:
        return self.line.ordinal not in self.scene.owner.connections

    @property
    def was_let_go(self) -> bool:
        """The connection has ended its sockets."""
        return any(peer.sock is not None and peer.sock.let_go for peer in (self.line.client, self.line.server))

    @property
    def was_opened(self) -> bool:
        return any(isinstance(event, ConnectionOpened) for event in self.scene.owner.events)

    def arrived(self, peer: Peer, how: How, once: bool = False) -> None:
        """An end has arrived; `once`: it was seen outside the stream, and counts only where none is known."""
        if self.was_let_go or self.is_over or self.left_before_opened:
            return
        side: Side = "client" if peer is self.line.client else "server"
        before = self.of(side)
        if before is None or (before.how != how and not once):
            after_s = self.scene.loop.time() - self.line.connection.accepted_at
            self.arrivals.append(Arrival(side, how, after_s))
        if side == "client" and how != "fin" and not once and not self.was_opened:
            self.left_before_opened = True

    def found(self, peer: Peer, how: How) -> None:
        """An unread end was found as the other side's end arrived: it came before that one."""
        side: Side = "client" if peer is self.line.client else "server"
        if self.of(side) is None:
            self.arrivals.insert(-1, Arrival(side, how, self.arrivals[-1].after_s))

    def of(self, side: Side) -> Arrival | None:
        """The first end of that side."""
        return next((one for one in self.arrivals if one.side == side), None)

    # ── what may happen ───────────────────────────────────────────────────────────────

    def peer(self, side: Side) -> Peer:
        return self.line.client if side == "client" else self.line.server

    def run(self, turns: int | None) -> None:
        """Turn the loop that often; None until nothing is left to do at this time."""
        if turns is None:
            self.scene.loop.settle()
        else:
            self.scene.loop.turn(turns)

    SIDE = st.sampled_from(("client", "server"))
    TURNS = st.sampled_from((None, None, 0, 1, 2, 3))

    @rule(side=SIDE, words=st.integers(1, MOST_WORDS), chunks=st.integers(1, 3), turns=TURNS)
    def send(self, side: Side, words: int, chunks: int, turns: int | None) -> None:
        peer, stream = self.peer(side), self.streams["upstream" if side == "client" else "downstream"]
        if not peer.finished and peer.broken is None:
            for _ in range(chunks):
                peer.send(stream.make(words))
        self.run(turns)

    @rule(side=SIDE, turns=TURNS)
    def finish(self, side: Side, turns: int | None) -> None:
        peer = self.peer(side)
        if not peer.finished and peer.broken is None:
            peer.finish()
        self.run(turns)

    @rule(
        side=SIDE,
        number=st.sampled_from((errno.ECONNRESET, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH)),
        turns=TURNS,
    )
    def lose(self, side: Side, number: int, turns: int | None) -> None:
        if self.peer(side).broken is None:
            self.peer(side).lose(number)
        self.run(turns)

    @precondition(lambda self: not self.line.attached.done())
    @rule(is_gone=st.sampled_from((False, False, True)), turns=TURNS)
    def attach(self, is_gone: bool, turns: int | None) -> None:
        if is_gone:
            self.line.attached.set_exception(OSError(errno.ENOTCONN, "not connected"))
        else:
            self.line.attached.set_result(None)
        self.run(turns)

    @precondition(lambda self: not self.line.reached.done())
    @rule(outcome=st.sampled_from((None, None, None, REFUSED, UNANSWERED)), turns=TURNS)
    def dial(self, outcome: Exception | None, turns: int | None) -> None:
        if outcome is None:
            self.line.reached.set_result(None)
        else:
            self.line.reached.set_exception(outcome)
            self.line.reached.exception()  # it may be that nobody waits for it any more
        self.run(turns)

    @rule(
        name=st.sampled_from("abc"),
        fault=st.sampled_from(LOSSLESS) | st.sampled_from(LOSSLESS) | st.sampled_from(LOSSY),
        directions=st.sampled_from((BOTH, BOTH[:1], BOTH[1:])),
        turns=TURNS,
    )
    def put_fault(self, name: str, fault: Fault, directions: tuple[Direction, ...], turns: int | None) -> None:
        self.scene.put(name, fault, *directions)
        self.run(turns)

    @precondition(lambda self: self.scene.owner.faults)
    @rule(data=st.data(), turns=TURNS)
    def remove_fault(self, data: st.DataObject, turns: int | None) -> None:
        self.scene.remove(data.draw(st.sampled_from(sorted(self.scene.owner.faults))))
        self.run(turns)

    @rule(how=st.sampled_from(("close", "reset")), turns=TURNS)
    def operator(self, how: str, turns: int | None) -> None:
        if not self.is_over:
            if not self.was_let_go and not self.left_before_opened and not self.attach_failed and not self.ended_by:
                if how == "close" and not self.operator_was_first:
                    self.closing_since = self.scene.loop.time()
                self.operator_was_first = True
            self.operator_hows.add(how)
            self.line.operator(how)
        self.run(turns)

    @property
    def attach_failed(self) -> bool:
        attached = self.line.attached
        return attached.done() and attached.exception() is not None

    @rule(side=SIDE, room=st.sampled_from((0, WORD, 100 * WORD)), words=st.sampled_from((0, 60, 120)), turns=TURNS)
    def fill_sink(self, side: Side, room: int, words: int, turns: int | None) -> None:
        """One side stops reading; with `words`, the other one sends more than the sink takes."""
        self.peer(side).stop_reading(room)
        if words:
            self.send("server" if side == "client" else "client", words, 3, turns)
        else:
            self.run(turns)

    @rule(side=SIDE, words=st.sampled_from((60, 120)), seconds=st.sampled_from((0.0, 0.1, 1.0)), turns=TURNS)
    def fill_and_drain(self, side: Side, words: int, seconds: float, turns: int | None) -> None:
        """One side stops reading for a time, while the other one sends."""
        self.fill_sink(side, 0, words, turns)
        if seconds:
            self.pass_time(seconds)
        self.drain_sink(side, None)

    @rule(side=SIDE, turns=TURNS)
    def drain_sink(self, side: Side, turns: int | None) -> None:
        self.peer(side).read_on()
        self.run(turns)
        if turns is None:
            self.nothing_due_waits_for(self.peer(side))

    def nothing_due_waits_for(self, receiver: Peer) -> None:
        """A receiver that reads, and the loop has nothing left to do: only faults hold bytes."""
        connection = self.line.connection
        pipe = connection.downstream if receiver is self.line.client else connection.upstream
        if pipe.chain is not None and pipe.sink is not None and self.was_opened and not self.was_let_go:
            assert not pipe.chain.blocked
            assert pipe.chain.held == pipe.held

    @rule(seconds=st.sampled_from((0.001, 0.1, 0.5, 1.0, CLOSE_GRACE, 60.0)))
    def pass_time(self, seconds: float) -> None:
        self.scene.advance(seconds)
        since = self.closing_since
        if since is not None and self.line.attached.done() and self.scene.loop.time() >= since + CLOSE_GRACE:
            assert self.is_over, "a peer that does not read delays a close by CLOSE_GRACE at most"

    @rule(turns=st.integers(1, 3))
    def turn(self, turns: int) -> None:
        self.run(turns)

    # ── what must hold ────────────────────────────────────────────────────────────────

    @invariant()
    def nothing_has_failed(self) -> None:
        assert self.scene.errors == []

    @invariant()
    def bytes_are_accounted_for(self) -> None:
        connection = self.line.connection
        ways = ((connection.upstream, self.line.client, self.line.server),
                (connection.downstream, self.line.server, self.line.client))  # fmt: skip
        for pipe, sender, receiver in ways:
            stream = self.streams[pipe.direction]
            stream.read(receiver.received)
            delivered = stream.delivered
            assert all(one < other for one, other in zip(delivered, delivered[1:], strict=False)), "once and in order"
            assert not stream.swallowed.intersection(delivered)
            if pipe.ends is None:
                continue
            unread = sum(len(one) for one in sender.inbox if isinstance(one, bytes))
            assert pipe.bytes + unread == stream.sent * WORD
            held = 0 if pipe.chain is None else pipe.chain.held
            assert pipe.held <= held <= pipe.limit + 2 * MOST_WORDS * WORD
            if receiver.broken is None and not self.was_let_go:
                written = 0 if receiver.sock is None else receiver.sock.get_write_buffer_size()
                accounted = len(receiver.received) + written + held + len(stream.swallowed) * WORD
                assert accounted == pipe.bytes, f"{pipe.bytes - accounted} bytes {pipe.direction} are missing"

    @invariant()
    def ends_are_told_as_they_arrived(self) -> None:
        ended = [one for one in self.scene.owner.events if isinstance(one, PeerEnded)]
        told = [Arrival("client" if isinstance(one, ClientEnded) else "server", one.how, one.after_s) for one in ended]
        assert told == self.arrivals
        assert all(one.held_by is None or one.held_by in "abc" for one in ended)
        first = self.arrivals[0] if self.arrivals else None
        arrivals = self.line.connection.arrivals
        assert arrivals.first_side == (None if first is None or first.how == "timeout" else first.side)

    # ── its end ───────────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        if not hasattr(self, "line"):
            return
        scene = self.scene
        try:
            self.play_to_the_end()
        except BaseException as error:
            scene.__exit__(type(error), error, None)
            raise
        scene.__exit__(None, None, None)

    def play_to_the_end(self) -> None:
        line, scene = self.line, self.scene
        scene.heal()
        line.client.read_on()
        line.server.read_on()
        for future in (line.attached, line.reached):
            if not future.done():
                future.set_result(None)
        scene.advance(2 * CLOSE_GRACE)
        if not self.is_over:
            self.nothing_is_stuck()
            self.operator("close", None)
            scene.advance(CLOSE_GRACE)
        self.bytes_are_accounted_for()
        self.ends_are_told_as_they_arrived()
        self.it_was_closed_for_the_right_reason()

    def nothing_is_stuck(self) -> None:
        """Without faults, and with peers that read, everything has got through."""
        connection = self.line.connection
        assert not self.was_let_go
        for pipe in (connection.upstream, connection.downstream):
            sender = self.peer(pipe.sender)
            receiver = self.peer("server" if sender is self.line.client else "client")
            assert not [one for one in sender.inbox if isinstance(one, bytes)], "it is read"
            assert pipe.chain is None
            if receiver.broken is None:
                assert receiver.sock is not None and receiver.sock.get_write_buffer_size() == 0
                assert receiver.end == ("fin" if sender.finished else None)

    def it_was_closed_for_the_right_reason(self) -> None:
        line, closed = self.line, self.line.closed
        client, server = self.of("client"), self.of("server")
        assert closed.client_ended_s == (None if client is None else client.after_s)
        assert closed.server_ended_s == (None if server is None else server.after_s)
        failed = [one for one in line.events() if isinstance(one, DialFailed)]
        if self.operator_was_first or closed.cause == "operator":
            assert closed.cause == "operator" and self.operator_hows
        elif closed.cause == "injected":
            assert closed.detail.rpartition(" ")[2] in self.ended_by
        elif failed:
            assert "not reached" in closed.detail
        elif self.attach_failed:
            assert (closed.cause, line.client.sock) == ("client", None)
        else:
            first = self.arrivals[0]
            assert closed.cause == ("network" if first.how == "timeout" else first.side)
        is_cut_short = line.client.broken or line.server.broken or "reset" in self.operator_hows or self.ended_by
        if closed.detail in ("client closed first", "server closed first") and not is_cut_short:
            for stream in self.streams.values():
                assert len(stream.delivered) + len(stream.swallowed) == stream.sent, "all that was sent has arrived"


class OnAsyncio(Orders):
    flavour = "asyncio"


class OnUvloop(Orders):
    flavour = "uvloop"


_SETTINGS = settings(
    max_examples=ORDERS or 300, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestOnAsyncio = pytest.mark.slow(OnAsyncio.TestCase)
TestOnAsyncio.settings = _SETTINGS
TestOnUvloop = pytest.mark.slow(OnUvloop.TestCase)
TestOnUvloop.settings = _SETTINGS
