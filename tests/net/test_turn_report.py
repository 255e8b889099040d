"""The counts of a proxy's turns, interval by interval."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import pytest

from chaosproxy.endings import Ending
from chaosproxy.events import Event, TurnsCounted
from chaosproxy.net.placement.active_faults import ActiveFaults
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.turn_counts import FailedTurns, ProxyTurns
from chaosproxy.net.stream.turns import Turns
from chaosproxy.net.turn_report import TurnReport
from chaosproxy.tallies import ProxyTally


class Line:
    """As much of a connection as a report looks at."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.downstream, self.bytes = turns, self, 0

    def look_for_reset(self) -> None:
        pass


class Scene:
    def __init__(self) -> None:
        self.now, self.events = 10.0, list[Event]()
        self.tally = ProxyTally()
        self.turns = ProxyTurns("db", self.events.append, FailedTurns(b"key"))
        self.report = TurnReport(self.turns, self.tally, ActiveFaults(), self.events.append, lambda: self.now)
        self.lines: list[Line] = []

    def line(self) -> Turns:
        self.tally.opened += 1
        turns = Turns(self.turns, self.tally.opened, "h:1", self.now)
        turns.is_connected = True
        self.lines.append(Line(turns))
        return turns

    def look(self) -> int:
        """Look at all connections; return the number of steps."""
        return sum(1 for _ in self.report.look_at(cast(list[Connection], self.lines)))

    def counted(self) -> list[TurnsCounted]:
        found = [one for one in self.events if isinstance(one, TurnsCounted)]
        self.events.clear()
        return found


def durations(turns: Turns, now: float, many: Iterable[float], is_delayed: bool = False) -> None:
    for seconds in many:
        turns.sent(now - seconds, b"x")
        if is_delayed:  # as a chain on the way to the client does
            turns.arrive(now)
        turns.answer(now)


def test_an_interval_has_the_turns_since_the_one_before() -> None:
    scene = Scene()
    turns = scene.line()
    durations(turns, 10.5, [0.5, 0.1])
    scene.now = 11.0
    scene.look()
    [one] = scene.counted()
    assert (one.at, one.seconds, one.answered, one.opened, one.open) == (11.0, 1.0, 2, 1, 0)
    assert one.clients == {"h": (2, 0.5, 0.5)} and sum(one.felt.values()) == 2 == sum(one.service.values())
    assert scene.tally.turns["answered"] == 2 and sum(scene.tally.turn_seconds.counts) == 2
    scene.now = 12.0
    scene.look()
    assert scene.counted() == [], "nothing has happened"


def test_open_turns_are_counted_until_they_are_answered() -> None:
    scene = Scene()
    turns = scene.line()
    turns.sent(10.0, b"x")
    scene.now = 11.5
    scene.look()
    scene.now = 12.0
    scene.report.end_interval()
    first, changed = scene.counted()
    assert (first.open, first.longest_open_s, changed.open, changed.longest_open_s) == (1, 1.5, 1, 2.0)
    assert scene.tally.open_turns == 1
    turns.answer(12.5)
    scene.now = 13.0
    scene.look()
    [last] = scene.counted()
    assert (last.open, last.answered) == (0, 1)


def test_the_longest_answer_belongs_to_one_interval() -> None:
    scene = Scene()
    turns = scene.line()
    turns.sent(10.0, b"x")
    turns.answer(10.2)
    turns.answer_more(10.5)
    scene.now = 11.0
    scene.look()
    scene.now = 12.0
    scene.look()
    turns.answer_more(12.3)
    scene.now = 13.0
    scene.look()
    counted = [(one.at, one.answered, round(one.longest_answer_s, 6)) for one in scene.counted()]
    assert counted == [(11.0, 1, 0.5), (13.0, 0, 2.3)]


def test_many_turns_are_counted_in_slices_and_published_in_order() -> None:
    scene = Scene()
    turns = scene.line()
    durations(turns, 10.5, [0.001 * number for number in range(1, 6001)], is_delayed=True)
    scene.now = 11.0
    scene.report.end_interval()
    assert scene.counted() == [], "a change of faults must not take long"
    durations(turns, 11.5, [0.5])
    scene.now = 12.0
    assert scene.look() > 3
    assert [(one.at, one.answered) for one in scene.counted()] == [(11.0, 6000), (12.0, 1)]


def test_what_is_left_is_published_at_the_end() -> None:
    scene = Scene()
    durations(scene.line(), 10.5, [0.001] * 3000, is_delayed=True)
    scene.report.end_interval()
    scene.report.publish_all()
    assert [one.answered for one in scene.counted()] == [3000]


def test_an_idle_proxy_costs_no_look() -> None:
    scene = Scene()
    scene.look()
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return scene.now

    scene.report._clock = clock
    scene.look()
    assert looks == 0
    turns = scene.line()
    durations(turns, 10.0, [0.1])
    scene.look()
    turns.connection_ended(Ending("client", "fin"), 10.0)
    scene.lines.clear()
    scene.tally.closed["client"] += 1
    scene.look()
    assert [(one.opened, one.closed) for one in scene.counted()] == [(1, 0), (0, 1)]
    scene.look()
    before = looks
    scene.look()
    assert looks == before


@pytest.mark.parametrize("number", [1, 100, 250])
def test_connections_are_looked_at_in_steps(number: int) -> None:
    scene = Scene()
    for _ in range(number):
        scene.line().sent(10.0, b"x")
    scene.now = 11.0
    assert scene.look() >= (number + 99) // 100
    [one] = scene.counted()
    assert one.open == number


def test_an_interval_after_idle_seconds_has_none_of_them() -> None:
    scene = Scene()
    for _ in range(30):
        scene.look()
        scene.now += 1
    scene.now -= 0.6
    scene.line().sent(scene.now, b"x")
    scene.now += 0.6
    scene.look()
    [counted] = scene.counted()
    assert counted.seconds == pytest.approx(1.0)
