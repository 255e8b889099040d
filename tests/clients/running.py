"""Client programs as processes of their own, which end with their standard input, and log to a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import find

__all__ = ["http_program", "running"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def http_program(kind: str, ports: Sequence[int], workers: int) -> list[str]:
    """The command of a kind of HTTP client; Node's and curl's take one port."""
    words = [sys.executable, str(HERE / "programs.py")]
    if kind.startswith("node"):
        words = [find("node"), str(HERE / "program.mjs")]
    elif kind.startswith("curl"):
        find("curl")
        words = ["bash", str(HERE / "curl.sh")]
    return [*words, kind, "+".join(map(str, ports)), str(workers)]


@contextmanager
def running(words: Sequence[str], log: Path) -> Iterator[None]:
    """Run a client program until the block ends. It fails if the program has ended before."""
    with log.open("w") as stdout:
        process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=stdout)
    assert process.stdin is not None
    try:
        yield
        assert process.poll() is None, f"{words} has ended by itself"
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
