"""Run churn.py in a process of its own, so that a crash fails a test."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(("loop_name", "seconds"), [("uvloop", 30), ("asyncio", 10)])
@pytest.mark.parametrize("mood", ["quiet", "faulty", "tls"])
def test_clients_that_misbehave_leave_nothing_behind(loop_name: str, seconds: int, mood: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.net.churn", loop_name, str(seconds), mood],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "connections, closed" in done.stdout
