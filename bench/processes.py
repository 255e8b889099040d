"""Child processes of the benchmark: pinned to a core, measured from /proc, stopped by their ids."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psutil

__all__ = ["BenchError", "Child", "wait_for_port"]

_STOP_S = 5.0
T = TypeVar("T")


class BenchError(Exception):
    """The benchmark itself failed, so there is no result."""


class Child:
    """A process pinned to one core, with its standard input and output as pipes."""

    def __init__(
        self, argv: Sequence[str], core: int, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.argv, self._log = list(argv), log
        with log.open("ab") as errors, _on(core):
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(env or {})},
            )
        self._unread = b""
        self._watched = psutil.Process(self._process.pid)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def line(self, timeout: float) -> str:
        """Return the next line of standard output.

        :raises BenchError: if the process ends first, or prints nothing for `timeout` seconds.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            if not select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BenchError(f"{self} printed nothing for {timeout:g} s: {self.last_words()}")
            # Not readline(): it reads ahead, and select() then misses the buffered data.
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                self._process.wait(_STOP_S)
                raise BenchError(f"{self} ended with code {self._process.returncode}: {self.last_words()}")
            self._unread += data
        text, _, self._unread = self._unread.partition(b"\n")
        return text.decode()

    def last_words(self) -> str:
        """Return the end of its standard error."""
        return self._log.read_text(errors="replace")[-2000:].strip() or "it wrote no error"

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Return the user and system time of the process and its descendants, including ended ones."""
        return sum(
            times.user + times.system + times.children_user + times.children_system
            for process in self._tree()
            if (times := _or_none(process.cpu_times))
        )

    def resident_bytes(self) -> int:
        """Return the resident memory of the process and its descendants."""
        return sum(
            memory.rss for process in self._tree() if (memory := _or_none(process.memory_info)) is not None
        )

    def stop(self) -> None:
        """End the process and its descendants; kill them if they do not end in time."""
        tree = self._tree() if self.running else []
        for process in reversed(tree):
            _or_none(process.terminate)
        _, left = psutil.wait_procs(tree, timeout=_STOP_S)
        for process in left:
            _or_none(process.kill)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(_STOP_S)

    def _tree(self) -> list[psutil.Process]:
        try:
            return [*self._watched.children(recursive=True), self._watched]
        except psutil.NoSuchProcess:
            raise BenchError(f"{self} has died: {self.last_words()}") from None

    def __str__(self) -> str:
        return " ".join(self.argv[:3])


@contextmanager
def _on(core: int) -> Iterator[None]:
    """Pin this process to a core for the block, so that children inherit the core from the start."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def _or_none(ask: Callable[[], T]) -> T | None:
    """Return the result, or None if the process has just ended, as children of socat often do."""
    try:
        return ask()
    except psutil.NoSuchProcess:
        return None


def wait_for_port(port: int, child: Child, timeout: float = 10.0) -> None:
    """Wait until `child` accepts connections on `port` of 127.0.0.1.

    :raises BenchError: if it does not within `timeout` seconds, or ends.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not child.running:
            raise BenchError(f"{child} did not start: {child.last_words()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise BenchError(f"{child} does not listen on port {port} after {timeout:g} s: {child.last_words()}")
