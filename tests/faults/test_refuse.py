"""Refuse: the door is shut."""

from __future__ import annotations

import random

import pytest

from chaosproxy.faults.base import Admission, Existing, Opening
from chaosproxy.faults.refuse import Refuse
from tests.faults.playing import read, wrong


@pytest.mark.parametrize("existing", ["keep", "close", "reset"])
def test_it_acts_at_the_door_alone(existing: Existing) -> None:
    fault = read({"type": "refuse", "existing": existing}).settings
    assert fault == Refuse(existing=existing)
    assert fault.admission() == Admission(reply="refuse", existing=existing)
    assert fault.open(Opening(random.Random, 0.0, fault.common())) is None


def test_open_connections_are_kept_unless_told_otherwise() -> None:
    assert read({"type": "refuse"}).settings.admission() == Admission(reply="refuse", existing="keep")


def test_an_unknown_fate_is_refused() -> None:
    assert wrong({"type": "refuse", "existing": "drop"}) == [("existing", "unknown-value")]
