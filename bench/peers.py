"""The proxies under test: how to find, configure and start each.

The peers run in the simplest fair configuration: TCP mode, one thread or worker, defaults elsewhere,
and no logging of connections. Their configuration files are in the benchmark's temporary directory,
and their processes are its children. It does not touch services of the distribution.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.load import Watched
from bench.processes import BenchError, Child, wait_for_port

__all__ = ["Chaosproxy", "Haproxy", "HaproxyHttp", "Nginx", "Peer", "Route", "Running", "Socat", "find", "running"]

_INSTALL_S = 300
_READY = re.compile(r"ready control=(http://\S+) proxies=(\d+)$")


@dataclass(frozen=True, slots=True)
class Route:
    """A port to listen on and the backend's port behind it."""

    listen: int
    upstream: int
    fault: Mapping[str, object] | None = None
    """As in chaosproxy's YAML; other proxies have none."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Further settings of the proxy, as in chaosproxy's YAML."""


class Peer(Protocol):
    """A proxy that can be started with routes."""

    name: str
    packages: tuple[str, ...]
    """Names of Debian packages, for apt-get."""

    def missing(self) -> str | None:
        """Describe the missing program or module; None if everything is installed."""

    def version(self) -> str: ...

    def commands(self, directory: Path, routes: Sequence[Route]) -> list[list[str]]:
        """Write the configuration into `directory`; return the command lines that serve all routes."""


class Running(Watched):
    """A started proxy."""

    def __init__(self, children: list[Child], control: str | None) -> None:
        super().__init__(children)
        self.control = control
        """The URL of chaosproxy's control API; None for other proxies."""


@contextmanager
def running(
    peer: Peer, directory: Path, routes: Sequence[Route], core: int, env: Mapping[str, str]
) -> Iterator[Running]:
    """Run `peer` on `core` until the block ends; begin the block once it listens."""
    started = Running([], None)
    try:
        for argv in peer.commands(directory, routes):
            started.children.append(Child(argv, core, directory / f"{peer.name}.log", env))
        if isinstance(peer, Chaosproxy):
            started.control = _await_ready(started.children[0], len(routes))
        for child, route in zip(_one_each(started.children, len(routes)), routes, strict=True):
            wait_for_port(route.listen, child)
        yield started
    finally:
        for child in started.children:
            child.stop()


def _one_each(children: list[Child], routes: int) -> list[Child]:
    """Return the child that serves each route: one per route, or one for all."""
    return children if len(children) == routes else children * routes


def _await_ready(child: Child, routes: int) -> str:
    line = child.line(20)
    ready = _READY.match(line)
    if not ready or int(ready[2]) != routes:
        raise BenchError(f"chaosproxy printed {line!r} instead of `ready control=URL proxies={routes}`")
    return ready[1]


def find(peers: Sequence[Peer], *, install: bool) -> tuple[list[Peer], list[str]]:
    """Return the installed peers, and one line for each missing one.

    With `install`, and as root, first install missing peers with apt-get.
    """
    packages = [package for peer in peers if peer.missing() for package in peer.packages]
    apt = shutil.which("apt-get")
    trouble = ""
    if packages and install and os.geteuid() == 0 and apt:
        trouble = _apt_install(apt, packages)
    present = [peer for peer in peers if not peer.missing()]
    absent = [f"skipped: {peer.missing()}{trouble}" for peer in peers if peer.missing()]
    return present, absent


def _apt_install(apt: str, packages: Sequence[str]) -> str:
    """Install the packages; return the error message, or an empty string."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [apt, "install", "--yes", "--no-install-recommends", *packages]
    for argv in (install, [apt, "update"], install):  # the package lists may be missing or stale
        try:
            done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=_INSTALL_S)
        except subprocess.TimeoutExpired:
            return f" (apt-get did not finish within {_INSTALL_S} s)"
        if argv is install and done.returncode == 0:
            return ""
    return f" (apt-get failed: {done.stderr.strip()[-200:]})"


def _said(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    return done.stdout + done.stderr


def _version_of(argv: Sequence[str]) -> str:
    found = re.search(r"\d+(\.\d+)+", _said(argv))
    return found[0] if found else "unknown"


class Chaosproxy:
    """The proxy under test, as installed for the running Python."""

    name = "chaosproxy"
    packages: tuple[str, ...] = ()
    program = Path(sys.executable).with_name("chaosproxy")

    def missing(self) -> str | None:
        return None if self.program.exists() else f"{self.program} does not exist: run pip install -e ."

    def version(self) -> str:
        own, uvloop = map(importlib.metadata.version, ("chaosproxy", "uvloop"))
        return f"{own} (Python {platform.python_version()}, uvloop {uvloop})"

    def commands(self, directory: Path, routes: Sequence[Route]) -> list[list[str]]:
        proxies = {
            f"route-{route.listen}": {
                "listen": f"127.0.0.1:{route.listen}",
                "upstream": f"127.0.0.1:{route.upstream}",
                **({"faults": {"fault": dict(route.fault)}} if route.fault else {}),
                **route.settings,
            }
            for route in routes
        }
        config = directory / "chaosproxy.yaml"
        config.write_text(json.dumps({"version": 1, "proxies": proxies}, indent=2))  # JSON is YAML too
        return [[str(self.program), "serve", str(config), "--control", "127.0.0.1:0"]]


class Haproxy:
    name = "haproxy"
    packages: tuple[str, ...] = ("haproxy",)
    mode = "tcp"

    def missing(self) -> str | None:
        return None if shutil.which("haproxy") else "haproxy is not installed"

    def version(self) -> str:
        return _version_of(["haproxy", "-v"])

    def commands(self, directory: Path, routes: Sequence[Route]) -> list[list[str]]:
        listens = "".join(
            f"listen route-{route.listen}\n    bind 127.0.0.1:{route.listen}\n"
            f"    server backend 127.0.0.1:{route.upstream}\n"
            for route in routes
        )
        config = directory / "haproxy.cfg"
        config.write_text(
            "global\n    nbthread 1\n    maxconn 9000\n"
            f"defaults\n    mode {self.mode}\n    maxconn 9000\n"
            "    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n" + listens
        )
        return [["haproxy", "-db", "-f", str(config)]]


class HaproxyHttp(Haproxy):
    """It parses heads, and keeps server connections open for the client's next request."""

    name = "haproxy, mode http"
    mode = "http"


class Nginx:
    name = "nginx"
    packages: tuple[str, ...] = ("nginx", "libnginx-mod-stream")

    def missing(self) -> str | None:
        if not shutil.which("nginx"):
            return "nginx is not installed"
        return None if self._load_stream() is not None else "nginx has no stream module (libnginx-mod-stream)"

    def version(self) -> str:
        return _version_of(["nginx", "-v"])

    def commands(self, directory: Path, routes: Sequence[Route]) -> list[list[str]]:
        servers = "".join(
            f"    server {{ listen 127.0.0.1:{route.listen} backlog=4096;"
            f" proxy_pass 127.0.0.1:{route.upstream}; }}\n"
            for route in routes
        )
        # As root, the worker changes its user to `nobody`, which a container may refuse.
        user = "user root;\n" if os.geteuid() == 0 else ""
        config = directory / "nginx.conf"
        config.write_text(
            f"{self._load_stream()}{user}daemon off;\nworker_processes 1;\n"
            f"pid {directory}/nginx.pid;\nerror_log stderr warn;\n"
            f"events {{ worker_connections 12000; }}\nstream {{\n{servers}}}\n"
        )
        return [["nginx", "-p", str(directory), "-e", "stderr", "-c", str(config)]]

    def _load_stream(self) -> str | None:
        """Return the directive that loads the stream module: empty if it is built in, None if it is missing."""
        built = _said(["nginx", "-V"])
        if "--with-stream=dynamic" not in built:
            return "" if "--with-stream" in built else None
        folder = re.search(r"--modules-path=(\S+)", built)
        module = Path(folder[1] if folder else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
        return f"load_module {module};\n" if module.exists() else None


class Socat:
    """One process per connection; the usual tool for forwarding a port by hand."""

    name = "socat"
    packages: tuple[str, ...] = ("socat",)

    def missing(self) -> str | None:
        return None if shutil.which("socat") else "socat is not installed"

    def version(self) -> str:
        return _version_of(["socat", "-V"])

    def commands(self, directory: Path, routes: Sequence[Route]) -> list[list[str]]:
        return [
            [
                "socat",
                f"TCP-LISTEN:{route.listen},bind=127.0.0.1,reuseaddr,fork,backlog=4096,nodelay",
                f"TCP:127.0.0.1:{route.upstream},nodelay",
            ]
            for route in routes
        ]
