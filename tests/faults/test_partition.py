"""Partition: cut in the kernel, held in the stream, or refused at once."""

from __future__ import annotations

import random

import pytest

from chaosproxy.faults.base import NEVER, Admission, Drop, HalfClose, Opening, Send
from chaosproxy.faults.hold import Hold
from chaosproxy.faults.partition import Partition
from tests.faults.playing import Wire, opened, play, read, wrong

OPENING = Opening(random.Random, 0.0, None)


@pytest.mark.parametrize("mode", ["auto", "stream"])
def test_in_a_stream_everything_is_held_and_the_door_is_silent(mode: str) -> None:
    fault = Partition(mode=mode)
    assert play(fault, Send(1.0, b"a"), HalfClose(2.0)) == [Send(NEVER, b"a"), HalfClose(NEVER)]
    assert not opened(fault).unread, "it is taken from the sender, as by a network"
    assert fault.loss(OPENING) is None
    assert fault.admission() == Admission(reply="silence", existing="keep", by_filter=False)


@pytest.mark.parametrize(("acks", "spare_acks"), [("pass", True), ("drop", False)])
def test_in_packets_the_kernel_loses_all_and_the_door_is_silent(acks: str, spare_acks: bool) -> None:
    fault = Partition(mode="packet", acks=acks)
    assert fault.open(OPENING) is None
    loss = fault.loss(OPENING)
    assert loss is not None
    assert (loss.drop, loss.changes_at) == (Drop(1.0, spare_acks), NEVER)
    assert fault.admission() == Admission(reply="silence", existing="keep", by_filter=True)


@pytest.mark.parametrize("mode", ["auto", "stream", "packet"])
def test_fail_fast_resets_and_refuses_and_nothing_else(mode: str) -> None:
    fault = Partition(mode=mode, fail_fast=True)
    assert (fault.open(OPENING), fault.loss(OPENING)) == (None, None)
    assert fault.admission() == Admission(reply="refuse", existing="reset")


def test_auto_needs_no_kernel_only_to_fail_fast() -> None:
    assert Partition().why_stream() == ""
    assert "fail_fast" in Partition(fail_fast=True).why_stream()


def test_what_was_held_arrives_once_and_in_order_when_it_is_healed() -> None:
    wire = Wire(it=Partition(mode="stream")).send(Send(0.0, b"a"), Send(1.0, b"b"), HalfClose(1.0)).wait_until(60.0)
    assert wire.left == []
    wire.set()
    assert wire.arrived() == [(60.0, b"a"), (60.0, b"b"), (60.0, "HalfClose")]


def test_from_packets_to_a_stream_and_back_nothing_is_forgotten() -> None:
    """As when a proxy's address becomes a unix socket: the stage takes over where a filter was."""
    fault = Partition(mode="packet")
    assert isinstance(fault.in_mode("stream").open(OPENING), Hold)
    assert fault.in_mode("stream").in_mode("packet") == fault


@pytest.mark.parametrize("mode", ["auto", "stream", "packet"])
@pytest.mark.parametrize("fail_fast", [False, True])
def test_nothing_gets_through(mode: str, fail_fast: bool) -> None:
    assert Partition(mode=mode, fail_fast=fail_fast).severs()


def test_it_reads_as_users_write_it() -> None:
    assert read({"type": "partition"}).settings == Partition(mode="auto", acks="pass", fail_fast=False)
    spec = read({"type": "partition", "direction": "both", "mode": "packet", "acks": "drop", "fail_fast": True})
    assert spec.settings == Partition(mode="packet", acks="drop", fail_fast=True)
    assert spec.placement.directions == ("upstream", "downstream")


@pytest.mark.parametrize(
    ("given", "code"),
    [({"acks": "hold"}, "unknown-value"), ({"mode": "kernel"}, "unknown-value"), ({"fail_fast": 1}, "wrong-type")],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], code: str) -> None:
    assert wrong({"type": "partition", **given}) == [(field, code) for field in given]
