"""Slow accept: a delay at the door."""

from __future__ import annotations

import random

from chaosproxy.faults.base import Admission, Opening
from chaosproxy.faults.slow_accept import SlowAccept
from tests.faults.playing import read


def test_it_acts_at_the_door_alone() -> None:
    fault = read({"type": "slow_accept", "delay": "3s"}).settings
    assert fault == SlowAccept(delay=3.0)
    assert fault.admission() == Admission(reply="accept", existing="keep", delay=3.0)
    assert fault.open(Opening(random.Random, 0.0, fault.common())) is None
