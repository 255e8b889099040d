"""Pause: nothing is read or accepted, then everything goes on."""

from __future__ import annotations

import random

import pytest

from chaosproxy.faults.base import NEVER, Admission, HalfClose, Opening, Reset, Send
from chaosproxy.faults.pause import Pause
from chaosproxy.faults.stall import Stall
from tests.faults.playing import Wire, opened, play, read, wrong


def test_everything_is_held_and_what_is_not_yet_here_is_not_read() -> None:
    stage = opened(Pause())
    assert stage.unread
    assert play(stage, Send(1.0, b"a"), HalfClose(2.0), Reset(3.0)) == [
        Send(NEVER, b"a"), HalfClose(NEVER), Reset(NEVER),
    ]  # fmt: skip
    assert not opened(Stall()).unread, "a stall takes from the sender what it holds"


def test_after_it_everything_goes_on_at_once() -> None:
    wire = Wire(it=Pause()).send(Send(0.0, b"a"), Send(1.0, b"b")).wait_until(30.0)
    assert wire.left == []
    wire.set()
    assert wire.send(Send(31.0, b"c")).arrived() == [(30.0, b"a"), (30.0, b"b"), (31.0, b"c")]


def test_new_clients_find_themselves_connected_and_wait() -> None:
    assert Pause().admission() == Admission(reply="hold", existing="keep")


def test_nothing_gets_through_and_the_kernel_has_no_part_in_it() -> None:
    opening = Opening(random.Random, 0.0, None)
    assert Pause().severs()
    assert (Pause.in_kernel, Pause().loss(opening), Pause().pacing()) == (None, None, None)


def test_it_reads_as_users_write_it() -> None:
    spec = read({"type": "pause", "direction": "both", "ttl": "2s"})
    assert spec.settings == Pause()
    assert spec.placement.ttl == 2.0


@pytest.mark.parametrize("given", [{"mode": "packet"}, {"existing": "reset"}, {"for": "2s"}])
def test_it_has_no_parameters_of_its_own(given: dict[str, object]) -> None:
    assert wrong({"type": "pause", **given}) == [(field, "unknown-key") for field in given]
