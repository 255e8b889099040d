"""Accept clients when the process runs out of descriptors."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_exhausted_descriptors_are_logged_once_and_recovered_from(loop_name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.net.starving", loop_name], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot accept on") == 1
    assert done.stdout.count("accepting again on") == 1
