"""The plug-in for flaky tests, seen from outside: what a run of pytest with CI=true says and how it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import flaky
from tests.servers import namespace

ROOT = Path(__file__).parent.parent
START = """
import pytest
from pathlib import Path

def nth(name):
    "How often this has been called, also by other processes."
    with Path(__file__).with_name(name).open("a+") as file:
        file.write("x")
        file.seek(0)
        return len(file.read())

def test_passes(): pass
"""
FLAKY = """
def test_flickers():
    assert nth("flickers") > 1, "only the first time"
"""
RED = """
def test_is_red():
    assert nth("is_red") > 2, "each time"
"""
BOTH_WAYS = pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-p", "no:xdist"), id="alone"),
        pytest.param(("-p", "xdist", "-n2"), id="xdist", marks=pytest.mark.slow),
    ],
)


def pytest_of(directory: Path, source: str, *options: str, ci: str = "true") -> tuple[int, list[str]]:
    """How a pytest ends that runs a module of that source, and the lines it prints."""
    (directory / "conftest.py").write_text("from tests.flaky import configure as pytest_configure\n")
    (directory / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    (directory / "test_it.py").write_text(START + source)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    for name in (flaky.AGAIN, namespace.INSIDE):
        inherited.pop(name, None)
    environment = {"CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=directory, env=inherited | environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines()


@BOTH_WAYS
def test_a_test_that_fails_once_is_named_and_the_run_passes(tmp_path: Path, options: tuple[str, ...]) -> None:
    code, lines = pytest_of(tmp_path, FLAKY, *options)
    assert code == 0, lines
    assert lines[-2] == "FLAKY test_it.py::test_flickers"
    assert re.fullmatch(r"=+ 1 passed, 1 flaky in .*s =+", lines[-1])
    assert any("only the first time" in line for line in lines), "it can be mended"


@pytest.mark.slow
@BOTH_WAYS
def test_a_test_that_fails_twice_fails_the_run(tmp_path: Path, options: tuple[str, ...]) -> None:
    code, lines = pytest_of(tmp_path, FLAKY + RED, *options)
    assert code == 1, lines
    assert lines[-2] == "FLAKY test_it.py::test_flickers"
    assert re.fullmatch(r"=+ 1 failed, 1 passed, 1 flaky in .*s =+", lines[-1])
    assert (tmp_path / "is_red").read_text() == "xx", "run again once, and not twice"


@pytest.mark.slow
def test_a_fixture_that_fails_once_is_flaky_too(tmp_path: Path) -> None:
    source = """
@pytest.fixture
def shaky():
    assert nth("up") > 1
    yield
    assert nth("down") > 1

def test_one(shaky): pass
def test_two(shaky): pass
"""
    code, lines = pytest_of(tmp_path, source)
    assert code == 0, lines
    assert sorted(lines[-3:-1]) == ["FLAKY test_it.py::test_one", "FLAKY test_it.py::test_two"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        (FLAKY, ("-x",), 1),
        (FLAKY, ("-k", "nothing"), 5),
        (FLAKY + "raise ValueError\n", (), 2),
        (FLAKY + "raise ValueError\n", ("-p", "xdist", "-n1"), 1),
        (FLAKY, ("--continue-on-collection-errors", "."), 1),
        (FLAKY + "import os\ndef test_crashes(): os._exit(0) if nth('crash') == 1 else None\n",
         ("-p", "xdist", "-n1"), 1),
        ("".join(FLAKY.replace("flickers", f"flickers_{number}") for number in range(flaky.MOST + 1)), (), 1),
    ],
    ids=["stopped", "nothing collected", "error of collection", "error of collection with xdist", "collected in part",
         "worker crashed", "too many"],
)  # fmt: skip
def test_a_run_that_failed_otherwise_fails(
    tmp_path: Path, source: str, options: tuple[str, ...], expected: int
) -> None:
    if "." in options:
        (tmp_path / "test_other.py").write_text("raise ValueError\n")
    code, lines = pytest_of(tmp_path, source, *options)
    assert code == expected, lines
    assert not any(line.startswith("FLAKY") for line in lines)


def test_a_test_that_is_skipped_the_second_time_has_not_passed(tmp_path: Path) -> None:
    source = "def test_one():\n    if nth('one') > 1: pytest.skip()\n    assert False\n"
    code, lines = pytest_of(tmp_path, source)
    assert code == 1, lines
    assert not any(line.startswith("FLAKY") for line in lines)


def test_outside_ci_nothing_is_run_again(tmp_path: Path) -> None:
    code, lines = pytest_of(tmp_path, FLAKY, ci="")
    assert code == 1, lines
    assert (tmp_path / "flickers").read_text() == "x"
