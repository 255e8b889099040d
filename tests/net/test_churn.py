"""Run churn.py in a process of its own, so that a crash fails a test."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loop_name", "mood", "times"),
    [
        ("uvloop", "quiet", 6000),
        ("uvloop", "faulty", 4000),
        ("uvloop", "tls", 500),
        ("asyncio", "quiet", 2000),
        ("asyncio", "faulty", 1000),
        ("asyncio", "tls", 200),
    ],
)
def test_clients_that_misbehave_leave_nothing_behind(loop_name: str, mood: str, times: int) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.net.churn", loop_name, str(times), mood],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "connections, closed" in done.stdout
