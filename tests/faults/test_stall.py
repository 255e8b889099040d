"""Stall: held for good, once, or again and again."""

from __future__ import annotations

import pytest

from chaosproxy.faults.base import NEVER, HalfClose, Send
from chaosproxy.faults.stall import Stall
from tests.faults.playing import Wire, opened, play, read, wrong


def test_without_a_time_it_holds_until_removed() -> None:
    wire = Wire(it=Stall()).send(Send(0.0, b"a"), HalfClose(1.0)).wait_until(1000.0)
    assert wire.left == []
    wire.set()
    assert wire.arrived() == [(1000.0, b"a"), (1000.0, "HalfClose")]


def test_stalls_without_a_pause_between_them_hold_until_removed() -> None:
    wire = Wire(it=Stall(hold=2.0, every=2.0)).send(Send(0.0, b"a")).wait_until(1000.0)
    assert wire.left == []
    assert Stall(hold=2.0, every=1.0).severs() and not Stall(hold=2.0, every=2.1).severs()


def test_once_it_releases_everything_at_the_same_moment() -> None:
    wire = Wire(it=Stall(hold=2.0)).send(Send(0.0, b"a"), Send(1.9, b"b"), Send(2.5, b"c")).wait_until(9.0)
    assert wire.arrived() == [(2.0, b"a"), (2.0, b"b"), (2.5, b"c")]


def test_again_and_again() -> None:
    sent = (0.5, 2.0, 9.9, 10.0, 11.9, 12.0, 20.1)
    steps = play(Stall(hold=2.0, every=10.0), *(Send(at, b"a") for at in sent))
    assert [step.due for step in steps] == [2.0, 2.0, 9.9, 12.0, 12.0, 12.0, 22.0]


def test_time_counts_from_when_it_began() -> None:
    assert [step.due for step in play(opened(Stall(hold=2.0), now=5.0), Send(6.0, b"a"), Send(7.0, b"b"))] == [7.0, 7.0]


def test_what_was_held_before_it_began_is_held_to_the_end_of_the_stall() -> None:
    assert play(opened(Stall(hold=2.0, every=5.0), now=50.0), Send(1.0, b"a")) == [Send(52.0, b"a")]


def test_repeated_stalls_are_in_step_on_all_connections() -> None:
    fault = Stall(hold=2.0, every=10.0)
    common = fault.common()
    first, second = opened(fault, 100.0, common=common), opened(fault, 105.0, common=common)
    assert play(first, Send(106.0, b"a"), Send(111.0, b"b")) == play(second, Send(106.0, b"a"), Send(111.0, b"b"))


def test_a_single_stall_is_each_connections_own() -> None:
    fault = Stall(hold=2.0)
    common = fault.common()
    opened(fault, 100.0, common=common)
    assert play(opened(fault, 105.0, common=common), Send(105.0, b"a")) == [Send(107.0, b"a")]


@pytest.mark.parametrize(("hold", "due"), [(5.0, 5.0), (3.0, 4.0), (60.0, 60.0)])
def test_a_changed_stall_counts_from_its_old_beginning(hold: float, due: float) -> None:
    wire = Wire(it=Stall(hold=10.0)).send(Send(0.0, b"a")).wait_until(4.0)
    wire.set(it=Stall(hold=hold))
    assert wire.wait_until(99.0).arrived() == [(due, b"a")]


def test_it_reads_as_users_write_it() -> None:
    assert read({"type": "stall", "for": "2s", "every": "10s"}).settings == Stall(hold=2.0, every=10.0)
    assert play(read({"type": "stall"}).settings, Send(0.0, b"a")) == [Send(NEVER, b"a")]


@pytest.mark.parametrize(
    ("given", "field", "code"),
    [
        ({"every": "1s"}, "every", "invalid-together"),
        ({"for": "0s"}, "for", "out-of-range"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], field: str, code: str) -> None:
    assert wrong({"type": "stall", **given}) == [(field, code)]
