"""The programs that a filter attaches to a socket, when it does, and its counts. The kernel's socket is a stand-in."""

from __future__ import annotations

import ctypes
import errno
import logging
import math
import random
import socket
import struct
from collections.abc import Callable

import pytest

from chaosproxy.faults.base import NEVER, Drop, Loss, Opening
from chaosproxy.faults.packet_loss import Burst, PacketLoss
from chaosproxy.net.kernel import filter as filtering
from chaosproxy.net.kernel.bpf import Program, encode, losing
from chaosproxy.net.kernel.filter import Filter
from chaosproxy.net.timer.scheduler import Scheduler
from tests.net.bpf_machine import run, segment

SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_MEMINFO = 26, 27, 55
ALL, HALF = Drop(), Drop(0.5)


class KernelSocket:
    """A stand-in for a TCP socket: the attached program, and the history of them; None stands for a detach."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.code: bytes | None = None
        self.history: list[bytes | None] = []
        self.drops = 0
        self.resets_on_exit = self.sends_keepalives = False
        self.refuses: int | None = None
        """The error number with which it refuses a filter."""
        self.lent = 0

    def fileno(self) -> int:
        return 99

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        if level != socket.SOL_SOCKET:
            return
        if name == SO_ATTACH_FILTER:
            if self.refuses is not None:
                raise OSError(self.refuses, "refused")
            assert isinstance(value, bytes)
            length, where = struct.unpack("HP", value)
            self.code = ctypes.string_at(where, 8 * length)
            self.history.append(self.code)
        elif name == SO_DETACH_FILTER:
            assert self.code is not None, "it would be ENOENT"
            self.code = None
            self.history.append(None)
        elif name == socket.SO_LINGER:
            assert isinstance(value, bytes)
            self.resets_on_exit = struct.unpack("ii", value) == (1, 0)
        elif name == socket.SO_KEEPALIVE:
            self.sends_keepalives = bool(value)

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        assert (level, name) == (socket.SOL_SOCKET, SO_MEMINFO)
        if self.refuses == errno.EBADF:
            raise OSError(errno.EBADF, "closed")
        return struct.pack("=9I", *[0] * 8, self.drops)

    def detach(self) -> int:
        self.lent -= 1
        return 99

    def loses(self, packet: bytes, *numbers: int) -> bool:
        return self.code is not None and run(self.code, packet, numbers) == 0


class Transport:
    def __init__(self, sock: KernelSocket) -> None:
        self._socket = sock

    def get_extra_info(self, name: str) -> KernelSocket:
        assert name == "socket"
        return self._socket


class Timer:
    def __init__(self, fire: Callable[[], None]) -> None:
        self.fire = fire

    def arm(self, due: float) -> None: ...

    def close(self) -> None: ...


class Bench:
    """A filter on such a socket, with a scheduler and a clock that the test sets."""

    def __init__(self, inherited: Program | None = None, watched: bool = True) -> None:
        self.now = 0.0
        self._reads = 0
        self.scheduler = Scheduler(self._read_clock, self._make)
        self.socket = KernelSocket()
        self.filter = Filter(self.scheduler, inherited)
        self.socket.code = None if inherited is None else encode(inherited)
        if watched:
            self.watch()

    def _read_clock(self) -> float:
        """Time stands still while the scheduler works, so a filter that schedules itself endlessly fails here."""
        self._reads += 1
        assert self._reads < 1000, f"it runs again and again, scheduled for {self.filter.scheduled_at} at {self.now}"
        return self.now

    def _make(self, fire: Callable[[], None]) -> Timer:
        self._timer = Timer(fire)
        return self._timer

    def watch(self) -> None:
        self.filter.attach_to(Transport(self.socket), self.now)  # type: ignore[arg-type]  # uses nothing else

    def use(self, *losses: Loss) -> None:
        self.filter.set_losses({f"fault {n}": loss for n, loss in enumerate(losses)}, self.now)

    def go_to(self, now: float) -> None:
        """Fire the timer at `now`, even if it was due earlier."""
        self.now, self._reads = now, 0
        self._timer.fire()


@pytest.fixture(autouse=True)
def _lend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace `borrow_socket`, which needs a file descriptor: the stand-in has none."""

    def lent(transport: Transport) -> KernelSocket:
        sock = transport.get_extra_info("socket")
        sock.lent += 1
        return sock

    monkeypatch.setattr(filtering, "borrow_socket", lent)


class Planned(Loss):
    """Follows a plan of (time at which it ends, drop)."""

    def __init__(self, *plan: tuple[float, Drop | None]) -> None:
        self.plan = list(plan)
        self.changed: list[float] = []
        self._next()

    def change(self, now: float) -> None:
        self.changed.append(now)
        self._next()

    def _next(self) -> None:
        self.changes_at, self.drop = self.plan.pop(0)


# ── attaching ─────────────────────────────────────────────────────────────────────────────


def test_a_program_is_attached_only_when_it_is_another() -> None:
    bench = Bench()
    bench.use(Loss(ALL))
    bench.use(Loss(ALL))
    bench.filter.refresh(5.0)
    assert bench.socket.history == [encode(losing((ALL,)))]
    bench.use(Loss(HALF), Loss(Drop(spare_acks=True)))
    assert bench.socket.history[1:] == [encode(losing((HALF, Drop(spare_acks=True))))], "in one step, never without"


def test_every_loss_is_part_of_the_program() -> None:
    bench = Bench()
    bench.use(Loss(HALF), Loss(Drop(spare_acks=True)), Loss(None))
    assert bench.socket.loses(segment(b"data"))
    assert bench.socket.loses(segment(), 0)
    assert not bench.socket.loses(segment(), 2**32 - 1)


def test_nothing_is_attached_where_nothing_was_asked_for() -> None:
    bench = Bench()
    bench.use()
    bench.filter.end()
    assert bench.socket.history == []
    assert not bench.socket.resets_on_exit and not bench.socket.sends_keepalives


def test_what_was_asked_for_before_the_socket_is_there_is_attached_then() -> None:
    bench = Bench(watched=False)
    bench.use(Loss(ALL))
    assert bench.socket.history == []
    bench.watch()
    assert bench.socket.history == [encode(losing((ALL,)))]


def test_it_is_detached_when_the_last_loss_goes() -> None:
    bench = Bench()
    bench.use(Loss(ALL), Loss(HALF))
    bench.use(Loss(HALF))
    bench.use()
    assert bench.socket.history[-2:] == [encode(losing((HALF,))), None]
    bench.filter.end()
    assert len(bench.socket.history) == 3


@pytest.mark.parametrize("end", [Filter.end, Filter.on_bug])
def test_it_is_detached_at_the_end_and_wakes_no_more(end: Callable[[Filter], None]) -> None:
    bench = Bench()
    bench.use(Planned((1.0, ALL), (2.0, HALF)))
    end(bench.filter)
    assert bench.socket.history[-1] is None
    assert bench.filter.scheduled_at == NEVER
    bench.go_to(1.0)
    assert len(bench.socket.history) == 2
    bench.filter.end()
    assert len(bench.socket.history) == 2


def test_while_it_is_attached_the_socket_is_reset_if_the_process_dies() -> None:
    bench = Bench()
    bench.use(Loss(ALL))
    assert bench.socket.resets_on_exit
    bench.use()
    assert not bench.socket.resets_on_exit


def test_a_socket_that_took_no_filter_ends_in_good_order(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.socket.refuses = errno.ENOMEM
    with caplog.at_level(logging.CRITICAL, "chaosproxy.net.kernel.filter"):
        bench.use(Loss(ALL))
        bench.filter.end()
    assert not bench.socket.resets_on_exit


def test_each_socket_that_is_lent_is_given_back(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(losing((ALL,)))
    with caplog.at_level(logging.CRITICAL, "chaosproxy.net.kernel.filter"):
        for refuses in (None, errno.EBADF, errno.ENOMEM, None):
            bench.socket.refuses = refuses
            bench.use(Loss(HALF))
            bench.use()
    bench.go_to(9.0)
    bench.filter.end()
    assert bench.socket.lent == 0


# ── the filter inherited from the listening socket ────────────────────────────────────────


def test_an_inherited_program_is_replaced() -> None:
    bench = Bench(losing((ALL,)), watched=False)
    bench.use(Loss(HALF))
    bench.watch()
    assert bench.socket.history == [encode(losing((HALF,)))]


def test_an_inherited_program_that_is_to_stay_stays() -> None:
    bench = Bench(losing((HALF,)), watched=False)
    bench.use(Loss(HALF))
    bench.watch()
    assert bench.socket.history == []
    assert bench.socket.resets_on_exit
    bench.use()
    assert bench.socket.history == [None]


def test_an_inherited_program_that_nobody_wants_is_taken_off() -> None:
    bench = Bench(losing((ALL,)))
    assert bench.socket.history == [None]
    assert not bench.socket.resets_on_exit


def test_what_an_inherited_program_dropped_counts() -> None:
    bench = Bench(losing((ALL,)), watched=False)
    bench.socket.drops = 3
    bench.watch()
    assert bench.filter.dropped == 3


# ── changes over time ─────────────────────────────────────────────────────────────────────


def test_it_changes_when_the_loss_says_so() -> None:
    bench = Bench()
    bench.use(Planned((1.0, ALL), (3.0, HALF), (4.0, None), (NEVER, ALL)))
    assert bench.filter.scheduled_at == 1.0
    fates = []
    for now, then in ((1.0, 3.0), (3.0, 4.0), (4.0, NEVER)):
        bench.go_to(now)
        assert bench.filter.scheduled_at == then
        fates.append((bench.socket.loses(segment(), 0), bench.socket.loses(segment(), 2**32 - 1)))
    assert fates == [(True, False), (False, False), (True, True)]


def test_it_is_woken_for_the_earliest_and_asks_nobody_else() -> None:
    bench = Bench()
    slow, quick, still = Planned((5.0, ALL), (9.0, ALL)), Planned((2.0, HALF), (7.0, None)), Loss(HALF)
    bench.use(slow, quick, still)
    assert bench.filter.scheduled_at == 2.0
    bench.go_to(2.0)
    assert bench.filter.scheduled_at == 5.0
    assert (slow.changed, quick.changed) == ([], [2.0])


def test_who_comes_late_is_changed_before_it_is_attached() -> None:
    bench = Bench(watched=False)
    bench.use(Planned((1.0, ALL), (NEVER, HALF)))
    bench.now = 6.0
    bench.watch()
    assert bench.socket.history == [encode(losing((HALF,)))]
    assert bench.filter.scheduled_at == NEVER


def test_a_bursty_channel_keeps_its_schedule_when_timers_are_late() -> None:
    burst = Burst(p=0.2, r=0.4, loss_good=0.1, step=0.01)

    def channel() -> Loss:
        loss = PacketLoss(burst=burst, mode="packet").loss(Opening(lambda: random.Random(3), 0.0, None))
        assert loss is not None
        return loss

    punctual, bench = channel(), Bench()
    bench.use(channel())
    seen = set()
    for late in range(1, 400):
        now = bench.filter.scheduled_at + late % 7 * 0.013
        bench.go_to(now)
        while punctual.changes_at <= now:
            punctual.change(punctual.changes_at)
        assert punctual.drop is not None
        assert bench.socket.code == encode(losing((punctual.drop,)))
        assert bench.filter.scheduled_at == punctual.changes_at > now
        seen.add(punctual.drop)
    assert seen == {Drop(0.1), Drop(1.0)}


# ── keepalive probes after a filter ───────────────────────────────────────────────────────


def test_probes_are_sent_when_a_loss_is_removed_and_another_stays() -> None:
    """The removed one may have dropped the peer's RST, which is not sent again."""
    bench = Bench()
    bench.use(Loss(HALF), Loss(ALL))
    assert not bench.socket.sends_keepalives
    bench.use(Loss(HALF))
    assert bench.socket.sends_keepalives and bench.socket.code == encode(losing((HALF,)))
    bench.go_to(bench.filter.scheduled_at)
    assert not bench.socket.sends_keepalives, "unanswered probes would end the connection"
    assert bench.filter.scheduled_at == NEVER


def test_while_everything_is_dropped_nothing_is_asked() -> None:
    """No response would arrive, and the kernel counts each probe without one, also those of earlier times."""
    bench = Bench()
    bench.use(Loss(HALF), Loss(ALL))
    bench.use(Loss(ALL))
    assert not bench.socket.sends_keepalives
    bench.use()
    assert bench.socket.sends_keepalives
    bench.use(Loss(ALL))
    assert not bench.socket.sends_keepalives and bench.filter.scheduled_at == NEVER
    bench.use(Loss(HALF), Loss(Drop(spare_acks=True)))
    bench.use(Loss(Drop(spare_acks=True)))
    assert bench.socket.sends_keepalives, "a response is an acknowledgement, which passes"


def test_for_a_while_after_a_filter_the_peer_is_asked_whether_it_is_alive() -> None:
    bench = Bench()
    bench.use(Loss(ALL))
    assert not bench.socket.sends_keepalives
    bench.now = 10.0
    bench.use()
    assert bench.socket.sends_keepalives
    end = bench.filter.scheduled_at
    assert 1.0 < end - 10.0 < 9.0, "a probe each second"
    bench.go_to(math.nextafter(end, 0.0))
    assert bench.socket.sends_keepalives
    bench.go_to(end)
    assert not bench.socket.sends_keepalives
    assert bench.filter.scheduled_at == NEVER


def test_a_new_filter_in_that_time_changes_nothing_about_when_asking_ends() -> None:
    bench = Bench()
    bench.use(Loss(ALL))
    bench.use()
    end = bench.filter.scheduled_at
    bench.now = 1.0
    bench.use(Planned((2.0, HALF), (50.0, HALF), (NEVER, ALL)))
    assert bench.filter.scheduled_at == 2.0
    bench.go_to(2.0)
    assert bench.filter.scheduled_at == end
    bench.go_to(end)
    assert not bench.socket.sends_keepalives
    assert bench.filter.scheduled_at == 50.0


def test_after_each_filter_it_is_asked_anew() -> None:
    bench = Bench()
    for now in (0.0, 2.0):
        bench.now = now
        bench.use(Loss(ALL))
        bench.use()
    first, second = bench.filter.scheduled_at - 2.0, bench.filter.scheduled_at
    bench.go_to(first)
    assert bench.socket.sends_keepalives
    bench.go_to(second)
    assert not bench.socket.sends_keepalives


# ── counting ──────────────────────────────────────────────────────────────────────────────


def test_what_is_dropped_while_it_is_attached_counts_once() -> None:
    bench = Bench()
    bench.socket.drops = 5  # dropped earlier, for lack of memory
    bench.use(Loss(ALL))
    bench.socket.drops = 12
    bench.filter.count()
    bench.filter.count()
    assert bench.filter.dropped == 7
    bench.socket.drops = 13
    bench.use(Loss(HALF))
    bench.socket.drops = 15
    bench.use()
    assert bench.filter.dropped == 10
    bench.socket.drops = 99
    bench.filter.count()
    bench.use(Loss(ALL))
    bench.socket.drops = 100
    bench.filter.end()
    bench.filter.count()
    assert bench.filter.dropped == 11


# ── errors ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("error", "logged"), [(errno.EBADF, 0), (errno.EPERM, 1), (errno.ENOMEM, 1)])
def test_a_filter_that_is_refused_is_logged_unless_the_socket_is_gone(
    error: int, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench.socket.refuses = error
    bench.use(Loss(ALL))
    assert [record.levelname for record in caplog.records] == ["ERROR"] * logged
    bench.filter.count()
    bench.filter.end()
    assert bench.socket.history == []
    assert bench.filter.dropped == 0


def test_after_a_refusal_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.socket.refuses = errno.ENOMEM
    with caplog.at_level(logging.CRITICAL, "chaosproxy.net.kernel.filter"):
        bench.use(Loss(ALL))
    bench.socket.refuses = None
    bench.filter.refresh(1.0)
    assert bench.socket.loses(segment())
