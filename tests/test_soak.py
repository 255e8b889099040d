"""What a soak finds broken, and that a short one runs to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from chaosproxy.model.types import FAULT_TYPES
from tests.soak.choices import CHOICES, LOSSLESS, choose
from tests.soak.ear import Ear
from tests.soak.verdict import Findings, Sample, Wait, judge, waits_of

ROOT = Path(__file__).parents[1]
QUICK = Wait(0.001, 0.002, 0.0, 0.0, 0.003, 0.0, 0.0, 0.001)


def good() -> Findings:
    return Findings(
        waits=[QUICK] * 100, idle=Sample(30, 50_000_000), samples=[Sample(400, 80_000_000)] * 90,
        settled=Sample(32, 80_000_000), checked_bytes=1, changes=1, abused=1, most_unread=100_000, exit_code=0,
    )  # fmt: skip


def waited(times: int = 1, **seconds: float) -> Callable[[Findings], None]:
    """Return a change: so many looks have these times."""
    return lambda found: found.waits.extend([replace(QUICK, **seconds)] * times)


def noted(**values: object) -> Callable[[Findings], None]:
    def change(found: Findings) -> None:
        for name, value in values.items():
            setattr(found, name, value)

    return change


def test_a_slower_machine_may_take_longer() -> None:
    found = good()
    waited(proxied=0.15)(found)
    assert judge(found)
    found.slowness = 2.0
    assert judge(found) == []
    waited(proxied=0.25)(found)
    assert judge(found)


STALL = '12:00 WARNING loop_stalled seconds=0.412 cpu_s={} held_by="proxy web" where=x\n'


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (waited(proxied=0.15), "a round trip on an untouched proxy took 150 ms (1 of 101 above 100)"),
        (waited(2, health=0.15), "/healthz took 150 ms (2 of 102 above 100)"),
        (waited(2, health=0.35, health_queued=0.2), "/healthz took 150 ms"),
        (waited(proxied=0.35, proxied_stolen=0.2, health_stolen=0.2), "a round trip on an untouched proxy took 150 ms"),
        (waited(6, proxied=0.06), "a round trip on an untouched proxy took 60 ms at the median of ten"),
        (
            lambda found: [waited(1000)(found), waited(6, health=0.12)(found)],
            "/healthz took 120 ms at the median of ten",
        ),
        (waited(500, before=0.03), "the machine was too busy to judge waits: 100 of 600 looks count"),
        (noted(waits=[QUICK] * 9), "the machine was too busy to judge waits: 9 of 9 looks count"),
        (noted(log=STALL.format("0.2")), "the loop was held for 0.412 s, of which 0.2 s of CPU time"),
        (noted(damaged=["a byte is lost"]), "a byte is lost"),
        (noted(settled=Sample(36, 80_000_000)), "36 open descriptors after the load, 30 before"),
        (noted(samples=[Sample(9, 80_000_000)] * 60 + [Sample(9, 140_000_000)]), "resident memory grew from 80 to 140"),
        (noted(log="Traceback (most recent call last):\n  …"), "the log has a traceback"),
        (noted(exit_code=1), "the server ended with code 1"),
        (noted(exit_code=None), "the server ended with code None"),
        (noted(most_unread=4096), "the log was always read in time"),
        (noted(checked_bytes=0), "no byte was checked"),
        (noted(changes=0), "no fault was changed"),
        (noted(abused=0), "no abusive client connected"),
    ],
)
def test_each_broken_promise_is_told(change: Callable[[Findings], None], told: str) -> None:
    found = good()
    change(found)
    [broken] = judge(found)
    assert broken.startswith(told)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: None,
        waited(proxied=0.15, proxied_queued=0.1),
        waited(health=0.15, health_queued=0.1),
        waited(proxied=0.15, proxied_queued=0.03, proxied_stolen=0.03),
        waited(health=0.15, health_stolen=0.1),
        waited(proxied=0.15, after=0.03),
        waited(proxied=0.15, before=0.03),
        waited(3, proxied=0.09, health=0.09),
        waited(6, health=0.09),
        noted(log=STALL.format("0.012")),
        noted(settled=Sample(35, 80_000_000)),
    ],
)
def test_what_the_machine_does_breaks_no_promise(change: Callable[[Findings], None]) -> None:
    found = good()
    change(found)
    assert judge(found) == []


def test_a_line_of_the_sentinel_is_a_look() -> None:
    assert waits_of(["0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 2", ""]) == [Wait(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 2)]


def test_a_wait_for_the_disk_that_has_the_program_does_not_count() -> None:
    assert QUICK.is_quiet and not replace(QUICK, major_faults=1).is_quiet


def test_each_fault_type_has_its_choices() -> None:
    assert sorted(CHOICES) == sorted(FAULT_TYPES)
    assert set(LOSSLESS) < set(CHOICES)


def test_the_same_seed_draws_the_same_faults() -> None:
    types = list(CHOICES)
    drawn = [[choose(dice, types) for _ in range(200)] for dice in (Random(3), Random(3))]
    assert drawn[0] == drawn[1]
    assert {fault["type"] for fault in drawn[0]} == set(types)


def test_the_ear_is_deaf_until_it_has_to_hear() -> None:
    ear = Ear()
    os.set_blocking(ear.write, False)
    assert os.write(ear.write, b"x" * 4096) == 4096
    with pytest.raises(BlockingIOError):
        os.write(ear.write, b"y")
    ear.hear()
    os.set_blocking(ear.write, True)
    os.write(ear.write, b"y")
    os.close(ear.write)
    assert ear.end(20) == "x" * 4096 + "y"


@pytest.mark.slow
def test_a_short_soak_runs_to_its_end_and_passes() -> None:
    command = [sys.executable, "-m", "tests.soak", "--seconds", "5", "--seed", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert "the soak has passed" in ended.stdout, ended.stdout + ended.stderr
    assert ended.returncode == 0
