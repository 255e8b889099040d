"""A stage for known clients: one chaosproxy with many proxies, a program per kind of client, and their logs.

A proxy is named `KIND-FAULT`. All faults begin at about the same time, each on its own proxy, and end by themselves
after the same time. So a module takes as long as one client and one fault. `Told` is what chaosproxy says about a
proxy, and the lines are the client's own log, to compare it with.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.clients.running import running
from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import HOST, wait_until

__all__ = ["FAULTS", "Json", "Line", "Program", "Stage", "Told", "stage"]

Json = dict[str, Any]  # Any: JSON

FAULTS: Mapping[str, Json] = {
    "stall": {"type": "stall"},
    "blackhole": {"type": "blackhole"},
    "reset": {"type": "reset"},
    "refuse": {"type": "refuse", "existing": "reset"},
    "partition": {"type": "partition", "direction": "downstream", "mode": "stream"},
}
"""By the last word of a proxy's name."""
BASELINE_S = 5.0


@dataclass(frozen=True)
class Line:
    """A call as the client has seen it."""

    at: float
    """Its end, in seconds since 1970."""
    took_s: float
    error: str | None
    place: str | None

    @property
    def began(self) -> float:
        return self.at - self.took_s


@dataclass(frozen=True)
class Told:
    """The reaction of one proxy in the window of its fault."""

    proxy: Json
    story: Sequence[str]
    started: float
    ended: float
    """Both in seconds since 1970."""
    lines: Sequence[Line]
    """The client's log."""

    def during(self) -> list[Line]:
        return [one for one in self.lines if self.started <= one.at < self.ended]

    def since(self) -> list[Line]:
        """The calls that began after the heal."""
        return [one for one in self.lines if one.began >= self.ended]

    def before(self) -> list[Line]:
        return [one for one in self.lines if one.at < self.started]


class Stage:
    """A running chaosproxy with proxies and clients."""

    def __init__(self, server: ChaosproxyServer, directory: Path, proxies: Sequence[str]) -> None:
        self.server = server
        self.proxies = proxies
        self._directory = directory
        self._answer: Json = {}

    def play(self, fault_s: float | None, after_s: float) -> None:
        """Put each fault on, wait until it has ended and some time has passed, and ask for the reactions.

        None as the faults' seconds: they are on already.
        """
        if fault_s is not None:
            self.put_on(fault_s)
        self.wait_for_heal(30.0 if fault_s is None else fault_s)
        time.sleep(after_s)  # the time in which clients come back, which is measured
        self._answer = self.server.call("GET", "/v1/reactions")

    @property
    def services(self) -> Json:
        services: Json = self._answer["services"]
        return services

    def told(self, proxy: str, client: str | None = None) -> Told:
        """The reaction of a proxy; `client` is the name under which the client logs, if it is another one."""
        name = f"{proxy}/fault"
        [window] = [one for one in self._answer["windows"] if one["faults"] == [name]]
        started, ended = (datetime.fromisoformat(window[key]).timestamp() for key in ("started", "ended"))
        return Told(window["proxies"][proxy], window["story"], started, ended, self.lines(client or proxy))

    def lines(self, client: str) -> list[Line]:
        """The calls of a client so far, in the order of their ends."""
        texts = [
            text for log in self._directory.glob("*.jsonl-log") for text in log.read_text().splitlines(keepends=True)
        ]
        lines = [json.loads(text) for text in texts if text.endswith("\n")]  # the last one may be half written
        found = [Line(one["at"], one["took_s"], one["error"], one["place"]) for one in lines if one["proxy"] == client]
        return sorted(found, key=lambda one: one.at)

    def put_on(self, seconds: float) -> None:
        """Put each proxy's fault on, for a time."""
        for proxy in self.proxies:
            fault = FAULTS.get(proxy.rpartition("-")[2])
            if fault is not None:
                self.server.inject(proxy, "fault", ttl=f"{seconds}s", **fault)

    def wait_for_heal(self, seconds: float) -> None:
        def healed() -> bool:
            return not any(self.server.call("GET", f"/v1/proxies/{name}")["faults"] for name in self.proxies)

        wait_until(healed, seconds + 30, "all faults have ended", every=0.2)

    def answered(self, proxy: str) -> int:
        """The calls that a client says were answered."""
        return sum(one.error is None for one in self.lines(proxy))

    def program(
        self, module: str, kind: str, workers: int, targets: Mapping[str, Sequence[str]]
    ) -> AbstractContextManager[None]:
        """Run a kind of client until the block ends; `targets` has the proxies of each of its logs."""
        words = [sys.executable, "-m", f"tests.clients.{module}", kind, str(workers)]
        words += [
            f"{name}={'+'.join(str(self.server.port(proxy)) for proxy in through)}" for name, through in targets.items()
        ]
        return running(words, self._directory / f"{module}-{kind}.jsonl-log")


@dataclass(frozen=True)
class Program:
    """A kind of client, and the faults that it meets, each at a proxy of its own."""

    module: str
    kind: str
    upstream: int
    faults: Sequence[str]
    workers: int = 3

    @property
    def logs(self) -> list[str]:
        """The names of its proxies, under which it logs."""
        return [f"{self.kind}-{fault}" for fault in self.faults]


@contextmanager
def stage(
    directory: Path, programs: Sequence[Program], services: Mapping[str, Mapping[str, int]] | None = None
) -> Iterator[Stage]:
    """Run programs until the block ends; gives the stage once each has had some seconds without a fault.

    `services` has proxies for programs that use several of them: by service, the upstream of each of its proxies.
    Such a program is one with the service's name as its only fault, and logs under it.
    """
    proxies: dict[str, Json] = {}

    def add(name: str, upstream: int, **fields: object) -> None:
        proxies[name] = {"listen": f"{HOST}:0", "upstream": f"{HOST}:{upstream}", **fields}

    for service, members in (services or {}).items():
        for name, upstream in members.items():
            add(name, upstream, service=service)
    for one in programs:
        for name in one.logs:
            if name not in (services or {}):
                add(name, one.upstream)
    (directory / "chaos.yaml").write_text(json.dumps({"version": 1, "proxies": proxies}))
    with ExitStack() as stack:
        server = stack.enter_context(serving(directory, "chaos.yaml", "--journal", "run.jsonl"))
        made = Stage(server, directory, list(proxies))
        for one in programs:
            targets = {name: list((services or {}).get(name, [name])) for name in one.logs}
            stack.enter_context(made.program(one.module, one.kind, one.workers, targets))
        names = [name for one in programs for name in one.logs]
        wait_until(lambda: min(map(made.answered, names)) > 0, 60, "all clients are answered", every=0.5)
        time.sleep(BASELINE_S)  # a time without a fault, which the reactions are compared with
        yield made
