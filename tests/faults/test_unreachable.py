"""Unreachable: SYNs are not answered."""

from __future__ import annotations

import random

import pytest

from chaosproxy.faults.base import Admission, Existing, Opening
from chaosproxy.faults.unreachable import Unreachable
from tests.faults.playing import read, wrong

OPENING = Opening(random.Random, 0.0, None)


@pytest.mark.parametrize("existing", ["keep", "close", "reset"])
@pytest.mark.parametrize(("mode", "by_filter"), [("auto", False), ("stream", False), ("packet", True)])
def test_it_acts_at_the_door_alone(existing: Existing, mode: str, by_filter: bool) -> None:
    fault = read({"type": "unreachable", "existing": existing, "mode": mode}).settings
    assert fault == Unreachable(existing=existing, mode=mode)
    assert fault.admission() == Admission(reply="silence", existing=existing, by_filter=by_filter)
    assert (fault.open(OPENING), fault.loss(OPENING), fault.pacing()) == (None, None, None)


def test_open_connections_are_kept_unless_told_otherwise() -> None:
    assert read({"type": "unreachable"}).settings == Unreachable(existing="keep", mode="auto")


@pytest.mark.parametrize("given", [{"existing": "drop"}, {"mode": "filter"}])
def test_what_makes_no_sense_is_refused(given: dict[str, object]) -> None:
    assert wrong({"type": "unreachable", **given}) == [(field, "unknown-value") for field in given]
