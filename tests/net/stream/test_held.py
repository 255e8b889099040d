"""The limit of the bytes that faults hold in the whole process: beyond it, the pipes that hold more are not read."""

from __future__ import annotations

from chaosproxy.events import Event, HeldLimitReached
from chaosproxy.faults.chain import CHUNK_COST
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.stall import Stall
from chaosproxy.net.stream.held import PROCESS_FULL, HeldBytes
from chaosproxy.net.timer.scheduler import Scheduler
from tests.net.stream.scene import Scene
from tests.net.stream.virtual import Flavour

LIMIT = 16_000


class Pipe:
    """Stands in for a pipe: it notes the reasons for which it is paused."""

    def __init__(self) -> None:
        self.counted = 0
        self.paused = 0

    def pause(self, reason: int) -> None:
        self.paused |= reason

    def resume(self, reason: int) -> None:
        self.paused &= ~reason


class NoTimer:
    """Never fires: these tests call `on_due` themselves."""

    def arm(self, due: float) -> None: ...
    def close(self) -> None: ...


class Desk:
    """A HeldBytes without a loop, and the events that it publishes."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = 0.0
        self.held = HeldBytes(Scheduler(lambda: self.now, lambda fire: NoTimer()), self.events.append)
        self.held.limit = LIMIT


def test_a_pipe_that_grows_beyond_the_limit_is_paused_and_one_that_shrinks_is_not() -> None:
    desk = Desk()
    one, two = Pipe(), Pipe()
    desk.held.update(one, LIMIT)
    assert (one.paused, desk.held.total) == (0, LIMIT)
    desk.held.update(two, 1)
    desk.held.update(one, LIMIT - 1)
    desk.held.update(two, 2)
    assert (one.paused, two.paused, desk.held.total) == (0, PROCESS_FULL, LIMIT + 1)


def test_the_limit_is_told_once_each_time_it_is_reached_but_not_too_often() -> None:
    desk = Desk()
    one, two = Pipe(), Pipe()
    for _ in range(3):
        desk.held.update(one, LIMIT + 1)
        desk.held.update(two, 5)
        desk.held.update(one, 0)
        desk.held.on_due(0.0)
    assert desk.held.times_full == 3
    assert desk.events == [HeldLimitReached(at=0.0, held=LIMIT + 1, limit=LIMIT)]
    desk.now = 10.0
    desk.held.update(one, LIMIT + 1)
    assert len(desk.events) == 2


def test_all_continue_when_a_sixteenth_is_free_some_in_each_turn() -> None:
    desk = Desk()
    large, small = Pipe(), [Pipe() for _ in range(120)]
    desk.held.update(large, LIMIT)
    for pipe in small:
        desk.held.update(pipe, 1)
    assert all(pipe.paused for pipe in small)
    desk.held.update(large, LIMIT - LIMIT // 16)
    desk.held.on_due(0.0)
    assert all(pipe.paused for pipe in small), "120 bytes more than a sixteenth are free"
    desk.held.update(large, 0)
    resumed = []
    while any(pipe.paused for pipe in small):
        desk.held.on_due(0.0)
        resumed.append(sum(not pipe.paused for pipe in small))
    assert resumed == [50, 100, 120]


def test_a_pipe_that_holds_nothing_continues_while_others_fill_the_limit() -> None:
    desk = Desk()
    stalled, late, plain = Pipe(), Pipe(), Pipe()
    desk.held.update(stalled, LIMIT)
    for _ in range(3):
        desk.held.update(late, 9)
        desk.held.update(plain, 5)
        desk.held.update(late, 4)
        desk.held.update(plain, 0)
        desk.held.on_due(0.0)
        assert (late.paused, plain.paused) == (PROCESS_FULL, 0)
    assert desk.held.times_full == 1, "it has been full all the time"
    desk.held.update(plain, 5)
    desk.held.update(plain, 0)
    desk.held.forget(plain)
    desk.held.on_due(0.0)
    assert plain.paused == PROCESS_FULL, "nothing is called on a pipe that has ended"


def test_a_pipe_that_has_ended_counts_nothing() -> None:
    desk = Desk()
    one, two = Pipe(), Pipe()
    desk.held.update(one, LIMIT)
    desk.held.update(two, LIMIT)
    desk.held.forget(two)
    assert (two.counted, desk.held.total) == (0, LIMIT)
    desk.held.update(one, 0)
    desk.held.on_due(0.0)
    assert two.paused == PROCESS_FULL, "nothing is called on a pipe that has ended"


def test_connections_wait_for_each_other_at_the_limit_and_lose_nothing(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        held = scene.owner.held_bytes
        held.limit = 8 * 1024
        scene.put("late", Latency(delay=10.0), "upstream")
        one, two = scene.open(), scene.open()
        data = bytes(range(256)) * 16
        one.client.send(data * 2)
        assert one.held == (len(data) * 2, 0)
        two.client.send(data)
        assert two.held == (len(data), 0)
        assert held.total == 3 * len(data) + 2 * CHUNK_COST and held.times_full == 1
        two.client.send(data)
        assert two.held == (len(data), 0), "not read: all together hold too much"
        scene.advance(10.0)
        assert (one.server_got(), two.server_got()) == (data * 2, data)
        scene.advance(10.0)
        assert two.server_got() == data
        assert held.total == 0


def test_data_passes_in_portions_while_others_fill_the_limit(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.owner.held_bytes.limit = 1024
        scene.put("stopped", Stall(), "upstream")
        line = scene.open()
        line.client.send(bytes(5000))
        scene.put("late", Latency(delay=10.0), "downstream")
        for count in (1, 2, 3):
            line.server.send(bytes(2000))
            scene.advance(10.0)
            assert line.client_got() == bytes(2000), count
        scene.remove("late")
        line.server.send(b"soon")
        assert line.client_got() == b"soon"


def test_a_heal_gives_everything_back(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        held = scene.owner.held_bytes
        held.limit = 1024
        line = scene.open()
        scene.put("late", Latency(delay=10.0), "upstream")
        line.client.send(bytes(5000))
        assert line.held == (5000, 0) and held.total == 5000 + CHUNK_COST
        line.client.send(b"more")
        scene.remove("late")
        assert line.server_got() == bytes(5000) + b"more"
        assert held.total == 0


def test_a_connection_that_ends_gives_everything_back(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.put("late", Latency(delay=10.0), "upstream")
        line = scene.open()
        line.client.send(bytes(5000))
        assert line.held == (5000, 0) and scene.owner.held_bytes.total == 5000 + CHUNK_COST
        line.server.reset()
        scene.advance(20.0)
        assert scene.owner.held_bytes.total == 0


def test_a_healed_connection_no_longer_waits_for_the_limit(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.owner.held_bytes.limit = 8 * 1024
        scene.put("late", Latency(delay=10.0), "upstream")
        one, two = scene.open(), scene.open()
        one.client.send(bytes(8 * 1024))
        two.client.send(bytes(100))
        two.client.send(b"unread")
        assert (one.held, two.held) == ((8 * 1024, 0), (100, 0))
        scene.owner.faults.clear()
        scene.inside(lambda: scene.owner.arrange(two.connection))  # not the other one, which still holds too much
        assert two.server_got() == bytes(100) + b"unread"


def test_a_higher_limit_acts_at_once() -> None:
    desk = Desk()
    one, two = Pipe(), Pipe()
    desk.held.update(one, LIMIT)
    desk.held.update(two, 1)
    assert two.paused
    desk.held.set_limit(2 * LIMIT)
    assert desk.held.scheduled_at == desk.now
    desk.held.on_due(0.0)
    assert not two.paused
