"""Real programs as children of a test: found, started, awaited, and stopped by their id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["Child", "do_without", "find", "free_port", "is_listening", "started", "wait_until"]

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 30.0


def find(program: str) -> str:
    """The program's path. Where it is missing the test is skipped, and with CI=true it fails."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, _postgres_directories())])
    path = shutil.which(program, path=places)
    if path is None:
        do_without(f"{program} is not installed; `make servers` as root installs it")
    return path


def do_without(message: str) -> NoReturn:
    """Skip the test for what is missing; with CI=true it fails, lest nobody notice."""
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def _postgres_directories() -> list[Path]:
    """Debian keeps the server's programs out of PATH; newest first."""
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)


def free_port() -> int:
    """A port that was free a moment ago; `started` tries another one if it has been taken since."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def wait_until(ready: Callable[[], bool], seconds: float, what: str, every: float = 0.01) -> None:
    """Poll every 10 ms: for facts of another process that nobody announces."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds:g} s still not: {what}")
        time.sleep(every)


class Child:
    """A running program, its output in a file."""

    def __init__(self, command: Sequence[str], directory: Path, environment: dict[str, str] | None = None) -> None:
        self.command = command
        self._log = directory / f"{Path(command[0]).name}.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait_until_ready(self, ready: Callable[[int], bool], port: int) -> None:
        """Until `ready(port)`, or until it has ended."""
        wait_until(lambda: self.ended or ready(port), START_SECONDS, f"{self.command} is ready")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and wait for it; its exit code."""
        if not self.ended:
            self.process.send_signal(sign)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
            raise


@contextmanager
def started(
    command: Callable[[int], Sequence[str]],
    directory: Path,
    ready: Callable[[int], bool] = is_listening,
    sign: signal.Signals = signal.SIGTERM,
    environment: dict[str, str] | None = None,
) -> Iterator[int]:
    """Run `command(port)` until the block ends; gives the port once `ready(port)`.

    `environment` is what it finds there beside what we have.
    """
    for attempt in range(3):
        port = free_port()
        child = Child(command(port), directory, os.environ | (environment or {}))
        try:
            child.wait_until_ready(ready, port)
            if not child.ended:
                yield port
                return
            if "in use" not in child.output or attempt == 2:
                raise RuntimeError(f"{child.command} ended with {child.process.returncode}:\n{child.output}")
        finally:
            child.stop(sign)
