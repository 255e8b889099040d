"""Shared by all scenarios: the load and its backends, durations, and interleaved rounds."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.load import Load
from bench.machine import Cores, free_ports
from bench.peers import Chaosproxy, Peer, Route, Running, running

__all__ = ["QUICK", "Faulty", "Pace", "Session", "Set", "interleave", "open_session"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """The length of the benchmark: durations in seconds, and numbers of rounds."""

    speed_rounds: int = 5
    fault_rounds: int = 3
    window: float = 1.5
    """Duration of throughput measurements."""
    lone: float = 6.0
    """Duration with one paced connection under latency: 40 messages per second."""
    crowd: float = 4.0
    """Duration with 1 000 paced connections."""
    rate: float = 3.0
    """Duration of bandwidth measurements."""
    idle: int = 5000
    """Connections to hold open."""
    keep_alive: int = 10_000
    """The same in HTTP mode, if the limit of open files allows it."""
    partitions: int = 40
    """Rounds of cutting and healing."""


QUICK = Pace(
    speed_rounds=2, fault_rounds=1, window=0.7, lone=1.5, crowd=1.0, rate=1.0, idle=1000, keep_alive=2000, partitions=10
)


@dataclass(frozen=True, slots=True)
class Faulty:
    """The port of a backend, behind a proxy with one fault."""

    backend: int
    fault: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Set:
    """The port of a backend, behind a proxy with further settings."""

    backend: int
    settings: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Session:
    """Passed to each scenario."""

    load: Load
    cores: Cores
    pace: Pace
    peers: Sequence[Peer]
    """The proxies to compare, chaosproxy first."""
    directory: Path
    env: Mapping[str, str]
    """Environment of chaosproxy."""
    echo: int
    source: int
    sink: int
    """Ports of the backends."""

    @contextmanager
    def start(self, peer: Peer, *behind: int | Faulty | Set) -> Iterator[tuple[Running, list[int]]]:
        """Run `peer` with one listener in front of each backend port; give it and the listeners' ports."""
        ports = free_ports(len(behind))
        wanted = [
            Route(port, to.backend, to.fault)
            if isinstance(to, Faulty)
            else Route(port, to.backend, settings=to.settings)
            if isinstance(to, Set)
            else Route(port, to)
            for port, to in zip(ports, behind, strict=True)
        ]
        env = self.env if isinstance(peer, Chaosproxy) else {}
        with running(peer, self.directory, wanted, self.cores.proxy, env) as proxy:
            yield proxy, ports


@contextmanager
def open_session(peers: Sequence[Peer], pace: Pace, env: Mapping[str, str]) -> Iterator[Session]:
    """Compile the load and start the backends; end everything after the block."""
    cores = Cores.choose()
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores.load})  # this program must not run on the proxy's core
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaosproxy-bench-")))
        load = Load(directory, cores)
        ports = []
        for kind in ("echo", "source", "sink"):
            child, port = load.backend(kind)
            stack.enter_context(child)
            ports.append(port)
        yield Session(load, cores, pace, peers, directory, env, *ports)


def interleave(title: str, rounds: int, runs: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Run A B C, A B C, …: each once per round, so that slow changes of the machine affect all of them equally."""
    results: dict[str, list[T]] = {name: [] for name in runs}
    for turn in range(1, rounds + 1):
        for name, run in runs.items():
            print(f"{title}: round {turn} of {rounds}: {name}", file=sys.stderr, flush=True)
            results[name].append(run())
    return results
