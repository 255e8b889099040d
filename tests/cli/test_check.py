"""`check`: every error of every file, or OK."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chaosproxy.cli import main

GOOD = """\
version: 1
proxies:
  db: {listen: 127.0.0.1:0, upstream: 127.0.0.1:5432, faults: {slow: {type: latency, delay: 10ms}}}
"""
BAD = """\
version: 1
proxies:
  db:
    listn: 127.0.0.1:1
    upstream: 127.0.0.1:5432
    faults:
      slow: {type: latency, delay: 10}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, words)])


def test_a_good_file_is_ok(good: Path) -> None:
    result = run(good)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{good}: OK, 1 proxy, 1 fault\n", "")


def test_all_errors_of_all_files_are_shown_where_they_stand(good: Path, bad: Path) -> None:
    result = run(bad, good)
    assert result.exit_code == 2
    headline, *problems = result.stderr.splitlines()
    assert headline == f"error: {bad} has 3 problems:"
    assert [line.split(": ")[:2] for line in problems] == [
        [f"{bad}:3:3", "proxies.db.listen"],
        [f"{bad}:4:5", "proxies.db.listn"],
        [f"{bad}:7:36", "proxies.db.faults.slow.delay"],
    ]
    assert result.stdout.startswith(f"{good}: OK")


def test_json_holds_the_same(good: Path, bad: Path) -> None:
    result = run("--json", bad, good)
    assert (result.exit_code, result.stderr) == (2, "")
    first, second = json.loads(result.stdout)
    assert (first["ok"], second) == (False, {"file": str(good), "ok": True, "problems": []})
    assert [(one["line"], one["column"], one["path"], one["code"]) for one in first["problems"]] == [
        (3, 3, "proxies.db.listen", "missing"),
        (4, 5, "proxies.db.listn", "unknown-key"),
        (7, 36, "proxies.db.faults.slow.delay", "unit-missing"),
    ]
    assert all(one["message"] for one in first["problems"])


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    result = run(tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert f"{tmp_path}/none.yaml: " in result.stderr
    [found] = json.loads(run("--json", tmp_path / "none.yaml").stdout)
    assert [(one["line"], one["path"], one["code"]) for one in found["problems"]] == [(None, "", "unreadable-file")]


def test_no_file_is_a_usage_error() -> None:
    assert run().exit_code == 2


def test_packets_on_a_unix_socket_are_an_error_on_every_machine(tmp_path: Path) -> None:
    path = tmp_path / "unix.yaml"
    text = GOOD.replace("127.0.0.1:0", "'unix:/run/x'")
    path.write_text(text.replace("latency, delay: 10ms", "unreachable, mode: packet"))
    result = run("--json", path)
    assert result.exit_code == 2
    [found] = json.loads(result.stdout)
    problems = [(one["line"], one["path"], one["code"]) for one in found["problems"]]
    assert problems == [(3, "proxies.db.faults.slow.mode", "unsupported-mode")]
