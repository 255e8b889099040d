"""The whole suite on a machine that is busy: four workers beside two endless loops, in rounds, summed up at the end.

    python -m tests.stress [ROUNDS] [OPTIONS OF PYTEST]

A round is green if no test failed in it, not even one that passed when it was run again (see flaky.py). The log of
each round is kept in build/stress.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOGS = Path(__file__).parent.parent / "build" / "stress"
ROUNDS = 3
WORKERS = 4
BUSY = 2


@dataclass(frozen=True)
class Round:
    number: int
    code: int
    counts: dict[str, int]
    """By outcome, from the closing line of pytest."""
    seconds: float
    not_green: list[str]
    """The lines of tests that failed, or failed once."""

    @property
    def is_green(self) -> bool:
        return self.code == 0 and not self.not_green

    def __str__(self) -> str:
        passed, failed, flaky = (self.counts.get(kind, 0) for kind in ("passed", "failed", "flaky"))
        errors = self.counts.get("error", 0) + self.counts.get("errors", 0)
        ended = "" if self.code == 0 else f", exit code {self.code}"
        return f"{passed} passed, {failed + errors} failed, {flaky} flaky, {self.seconds:.0f} s{ended}"


def read(number: int, code: int, log: str, seconds: float) -> Round:
    lines = log.splitlines()
    closing = lines[-1] if lines else ""
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) ([a-z]+)", closing.partition(" in ")[0])}
    not_green = [line for line in lines if line.startswith(("FAILED ", "ERROR ", "FLAKY "))]
    return Round(number, code, counts, seconds, not_green)


@contextmanager
def busy_machine() -> Iterator[None]:
    """Keep BUSY processors busy until the block ends."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def play(number: int, options: list[str]) -> Round:
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"round-{number}.log"
    began = time.monotonic()
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-n", str(WORKERS), *options],
            env=os.environ | {"CI": "true"}, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    return read(number, done.returncode, log.read_text(errors="replace"), time.monotonic() - began)


def main(arguments: list[str]) -> int:
    rounds = int(arguments[0]) if arguments else ROUNDS
    played = []
    with busy_machine():
        for number in range(1, rounds + 1):
            played.append(play(number, arguments[1:]))
            sys.stdout.write(f"round {number} of {rounds}: {played[-1]}\n")
            sys.stdout.flush()
    for one in played:
        for line in one.not_green:
            sys.stdout.write(f"round {one.number}: {line}\n")
    green = sum(one.is_green for one in played)
    total = sum(one.seconds for one in played)
    sys.stdout.write(f"{green} of {rounds} rounds green, {total:.0f} s, {WORKERS} workers beside {BUSY} busy loops\n")
    return 0 if green == rounds > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
