"""The machine that runs the benchmark: its cores, limits, free ports and other load."""

from __future__ import annotations

import os
import platform
import random
import resource
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Cores", "busy_seconds", "describe", "free_ports", "raise_file_limit"]

# Below the ports that Linux assigns to outgoing connections, of which a benchmark opens very many.
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the proxies, and that of the load."""

    proxy: int
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """Return the first and the last core that this process may use: the same core if it has only one."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[-1])


def describe(cores: Cores) -> dict[str, str]:
    """Describe the machine for the report."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "pinned": f"proxies to core {cores.proxy}, load and backends to core {cores.load}",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def busy_seconds(core: int) -> float:
    """Return the seconds since boot in which `core` was not idle."""
    times = psutil.cpu_times(percpu=True)[core]
    return float(sum(times[:8]) - times.idle - times.iowait)  # the remaining fields (guest) are included in user


def raise_file_limit(wanted: int) -> int:
    """Raise the limit of open files to `wanted`, or as far as allowed; return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (PermissionError, ValueError):  # only root may raise the hard limit, up to fs.nr_open
            wanted = hard
    soft = max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def free_ports(count: int) -> list[int]:
    """Return `count` ports of 127.0.0.1 without a listener."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} free ports between {_PORTS.start} and {_PORTS.stop}")
