"""How a round of tests/stress.py is read, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import stress

GREEN = "...\n===== 12 passed, 1 skipped in 3.21s =====\n"
FLAKY = "...\nFLAKY tests/a.py::test_b\n=== 11 passed, 1 flaky in 3.21s ===\n"
RED = "...\nFAILED a.py::test_b - assert\nERROR a.py::test_c\n= 2 failed, 9 passed, 1 error in 65.21s (0:01:05) =\n"
NONE = "= no tests ran in 0.01s =\n"


@pytest.mark.parametrize(
    ("code", "log", "is_green", "summed_up"),
    [
        (0, GREEN, True, "12 passed, 0 failed, 0 flaky, 3 s"),
        (0, FLAKY, False, "11 passed, 0 failed, 1 flaky, 3 s"),
        (1, RED, False, "9 passed, 3 failed, 0 flaky, 3 s, exit code 1"),
        (5, NONE, False, "0 passed, 0 failed, 0 flaky, 3 s, exit code 5"),
        (3, "", False, "0 passed, 0 failed, 0 flaky, 3 s, exit code 3"),
    ],
)
def test_a_round_is_green_if_nothing_failed_even_once(code: int, log: str, is_green: bool, summed_up: str) -> None:
    played = stress.read(1, code, log, 3.2)
    assert (played.is_green, str(played)) == (is_green, summed_up)


@pytest.mark.slow
@pytest.mark.parametrize(("passes", "code"), [(True, 0), (False, 1)])
def test_rounds_are_summed_up(
    passes: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stress, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(stress, "WORKERS", 1)
    monkeypatch.setattr(stress, "BUSY", 0)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    test = tmp_path / "test_it.py"
    test.write_text(f"def test_it(): assert {passes}\n")
    options = ["-p", "xdist", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "-c", "/dev/null"]
    assert stress.main(["2", *options, str(test)]) == code
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith(f"{2 if passes else 0} of 2 rounds green, ")
    assert ("FAILED" in " ".join(said)) is not passes
    assert len(list((tmp_path / "logs").iterdir())) == 2
