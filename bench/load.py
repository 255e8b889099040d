"""The C load generator: compile it, run it, and measure the proxy while its window is open."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.machine import Cores, busy_seconds
from bench.processes import BenchError, Child

__all__ = ["Load", "Sample", "Watched"]

_SOURCE = Path(__file__).with_name("load.c")
# A client ends by its own alarm half a minute after its window, so this must be longer.
_SILENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a client: its measurements, and the CPU time of the proxy meanwhile."""

    result: dict[str, float]
    streams: tuple[float, ...]
    """Bytes per second of each stream; only for `bulk`."""
    cpu_s: float
    """CPU seconds of the proxy's processes within the window."""
    window_s: float
    others: float
    """Share of a core that other processes used: the larger of the shares of the proxy's and the load's
    core. Near 0 on a quiet machine. A load without enough CPU distorts results as much as a proxy
    without enough CPU."""
    load_busy: float
    """Share of the load's core in use. If it is near 1, the load may limit the throughput."""

    def __getitem__(self, key: str) -> float:
        return self.result[key]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Watched:
    """The processes of a proxy, whose CPU time a sample counts."""

    def __init__(self, children: list[Child]) -> None:
        self.children = children

    def cpu_seconds(self) -> float:
        return sum(child.cpu_seconds() for child in self.children)

    def resident_bytes(self) -> int:
        return sum(child.resident_bytes() for child in self.children)


class Load:
    """The compiled program, and how to run it."""

    def __init__(self, directory: Path, cores: Cores) -> None:
        self._program, self._log, self._cores = directory / "load", directory / "load.log", cores
        self._backends: list[Child] = []
        compiler = shutil.which("cc")
        if compiler is None:
            raise BenchError("the load generator needs a C compiler named cc")
        compiled = subprocess.run(
            [compiler, "-O2", "-Wall", "-Wextra", "-o", self._program, _SOURCE],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if compiled.returncode:
            raise BenchError(f"{_SOURCE.name} does not compile:\n{compiled.stderr}")

    def backend(self, kind: str) -> tuple[Child, int]:
        """Start an `echo`, `source` or `sink` backend; return it and its port."""
        child = Child([str(self._program), kind], self._cores.load, self._log)
        self._backends.append(child)
        return child, int(child.line(10).removeprefix("ready "))

    def watch(self, backend: Child) -> None:
        """Count a backend that another module started as part of the load."""
        self._backends.append(backend)

    def hold(self, port: int, connections: int, **options: float | bool) -> Child:
        """Open idle connections and carry one byte in both directions on each; stopping the child closes them."""
        child = self._client("idle", port, {"connections": connections, **options})
        child.line(_SILENCE_S)
        return child

    def run(self, command: str, port: int, watched: Watched | None = None, **options: float | bool) -> Sample:
        """Run a client until it ends.

        :raises BenchError: if it fails, for example because a connection breaks.
        """
        with self._client(command, port, options) as client:
            _expect(client, "begin")
            before = self._counters(watched, client)
            _expect(client, "end")
            after = self._counters(watched, client)
            result = json.loads(client.line(_SILENCE_S))
        wall, cpu, own, proxy_core, load_core = (b - a for a, b in zip(before, after, strict=True))
        return Sample(
            result={key: value for key, value in result.items() if key != "streams"},
            streams=tuple(result.get("streams", ())),
            cpu_s=cpu,
            window_s=wall,
            others=max(0.0, proxy_core - cpu, load_core - own) / wall,
            load_busy=load_core / wall,
        )

    def _client(self, command: str, port: int, options: dict[str, float | bool]) -> Child:
        argv = [str(self._program), command, "--port", str(port)]
        for name, value in options.items():
            argv.append("--" + name.replace("_", "-"))
            if value is not True:
                argv.append(f"{value:g}")
        return Child(argv, self._cores.load, self._log)

    def _counters(self, watched: Watched | None, client: Child) -> tuple[float, float, float, float, float]:
        return (
            time.monotonic(),
            watched.cpu_seconds() if watched else 0.0,
            client.cpu_seconds()
            + sum(backend.cpu_seconds() for backend in self._backends if backend.running),
            busy_seconds(self._cores.proxy),
            busy_seconds(self._cores.load),
        )


def _expect(client: Child, word: str) -> None:
    if (line := client.line(_SILENCE_S)) != word:
        raise BenchError(f"{client} printed {line!r} instead of {word!r}")
