"""Children of the benchmark: pinned to a core, watched from /proc, stopped by their ids."""

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
    """The benchmark itself could not do its work; nothing is said about speed."""


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
        """The next line of standard output.

        :raises BenchError: if the process ends first, or stays silent for `timeout` seconds.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            if not select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BenchError(f"{self} said nothing for {timeout:g} s: {self.last_words()}")
            # Not readline(): what it reads ahead, select() no longer sees.
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                self._process.wait(_STOP_S)
                raise BenchError(f"{self} ended with code {self._process.returncode}: {self.last_words()}")
            self._unread += data
        text, _, self._unread = self._unread.partition(b"\n")
        return text.decode()

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        return self._log.read_text(errors="replace")[-2000:].strip() or "it wrote no error"

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """User and system time of the process, its descendants, and those of them that have ended."""
        return sum(
            times.user + times.system + times.children_user + times.children_system
            for process in self._tree()
            if (times := _or_none(process.cpu_times))
        )

    def resident_bytes(self) -> int:
        """Resident memory of the process and its descendants."""
        return sum(
            memory.rss for process in self._tree() if (memory := _or_none(process.memory_info)) is not None
        )

    def stop(self) -> None:
        """End the process and what it forked; by force if it will not."""
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
    """Children started within the block inherit the core, from their first instruction on."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def _or_none(ask: Callable[[], T]) -> T | None:
    """The answer, or None when the process has just gone, as socat's children do all the time."""
    try:
        return ask()
    except psutil.NoSuchProcess:
        return None


def wait_for_port(port: int, child: Child, timeout: float = 10.0) -> None:
    """Until `child` accepts connections on `port` of 127.0.0.1.

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
