"""The observer of reactions: when it looks, how often, and its bounds."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from chaosproxy.events import Bus, Event, FaultAdded, FaultRemoved, PartitionAdded, ProxyRemoved, ServiceFailedOver
from chaosproxy.journal.files import read_journal
from chaosproxy.journal.ring import Ring
from chaosproxy.observe.services import Services, ServicesCollector, wait_after
from tests.cli.test_reactions import echo_port
from tests.reaction.counted import Policy, simulate
from tests.reaction.test_news import DARK, service
from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import wait_until

TIMEOUT_S = 0.5
RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing resets. An end-of-stream would be no sure give-up while the fault holds the server's end."""


def fault(at: float, name: str = "dark") -> FaultAdded:
    return FaultAdded(at=at, proxy="db", fault=name, type="reset", effective_mode="", mode_reason="", by="rest")


def test_it_looks_while_a_fault_is_on_and_for_a_minute_after() -> None:
    now, bus = 0.0, Bus()
    services = Services(bus, Ring(bus), lambda: now)
    assert not services.is_watching
    bus.publish(fault(1.0))
    bus.publish(fault(1.0, "other"))
    bus.publish(FaultRemoved(at=5.0, proxy="db", fault="dark", type="reset", by="rest"))
    now = 100.0
    assert services.is_watching
    bus.publish(ProxyRemoved(at=100.0, proxy="db", by="rest"))
    now = 164.0
    assert services.is_watching
    now = 166.0
    assert not services.is_watching
    bus.publish(
        PartitionAdded(at=200.0, partition="p", cut=(), proxies=(), effective_mode="", mode_reason="", by="rest")
    )
    now = 900.0
    assert services.is_watching


def test_it_takes_a_twentieth_of_a_processor() -> None:
    assert wait_after(0.0) == pytest.approx(0.8)
    for cpu_s in (0.001, 0.1, 0.5, 3.0):
        assert cpu_s / (cpu_s + wait_after(cpu_s)) <= 0.0501


def test_series_are_bounded() -> None:
    bus = Bus()
    services = Services(bus, Ring(bus), lambda: 0.0)
    for number in range(1_200):
        services._count(
            ServiceFailedOver(
                service=f"s{number}", from_proxy="a", to_proxy="b", detect_s=None, after_s=1.0, share=1.0, faults=()
            )
        )
    families = {one.name: one for one in ServicesCollector(services).collect()}
    samples = families["chaosproxy_service_failovers"].samples
    assert len(samples) == 1_001 and sum(one.value for one in samples) == 1_200
    assert {(*one.labels.values(), one.value) for one in samples if one.value > 1} == {("other", "other", "other", 200)}
    counts = [one for one in families["chaosproxy_failover_seconds"].samples if one.name.endswith("_count")]
    assert len(counts) == 1_001 and sum(one.value for one in counts) == 1_200


def test_two_looks_tell_once_and_count_once() -> None:
    story = service()
    simulate(story, random.Random(3), Policy(failover_after=2, timeout=0.5), DARK, "db", "db2")
    story.steady("db", 22, 40)
    bus, now = Bus(), 40.0
    ring = Ring(bus)
    services, told = Services(bus, ring, lambda: now), list[Event]()

    async def look_twice() -> None:
        for event in story.facts(40).events:
            bus.publish(event)
        bus.subscribe(told.append)
        await services.look()
        first = len(told)
        await services.look()
        assert first == len(told) > 0
        await services.stop()

    asyncio.run(look_twice())
    assert sorted(one.kind for one in told) == ["service_failed_over", "service_recovered"]
    assert services.failovers == {("s", "db", "db2"): 1}
    assert sum(services.recovery_s["db"].counts) == 1


class Client:
    """Asks its proxy every 20 ms, gives up after TIMEOUT_S, and then uses the other one."""

    def __init__(self, ports: list[int]) -> None:
        self.ports, self.answers, self._over = ports, 0, threading.Event()
        self.moved = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        turn = 0
        while not self._over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[turn % 2])) as sock:
                sock.settimeout(TIMEOUT_S)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                while not self._over.wait(0.02):
                    sock.sendall(b"ask")
                    if not sock.recv(100):
                        break
                    self.answers += 1
                    if turn:
                        self.moved.set()
            turn += 1


class Ear:
    """Reads the stream of events in a thread, and keeps each with the time at which the server had sent it."""

    def __init__(self, control: str) -> None:
        self.told: list[Any] = []  # Any: JSON
        self._response = urllib.request.urlopen(f"{control}/v1/events", timeout=60)
        threading.Thread(target=self._read, daemon=True).start()

    def of(self, kind: str) -> list[Any]:
        return [one for one in list(self.told) if one["kind"] == kind]

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            for line in self._response:
                if line.startswith(b"data: "):
                    self.told.append(json.loads(line[6:]))


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ChaosproxyServer, Ear, Path]]:
    """Clients of a service whose first proxy went dark, until their load is back to normal after the heal."""
    directory = tmp_path_factory.mktemp("services")
    with ExitStack() as stack:
        ports = [stack.enter_context(echo_port()) for _ in range(2)]
        lines = [
            f"  db-{number}: {{listen: '127.0.0.1:0', upstream: '127.0.0.1:{port}', service: db}}"
            for number, port in enumerate(ports)
        ]
        (directory / "chaos.yaml").write_text("\n".join(["version: 1", "proxies:", *lines, ""]))
        server = stack.enter_context(serving(directory, "chaos.yaml", "--journal", "run.jsonl"))
        ear = Ear(server.control)
        clients = [Client([server.port("db-0"), server.port("db-1")]) for _ in range(3)]
        for client in clients:
            stack.callback(client.end)
        wait_until(lambda: all(one.answers > 120 for one in clients), 40, "there is a baseline")
        server.inject("db-0", "dark", type="stall")
        wait_until(lambda: all(one.moved.is_set() for one in clients), 30, "they have moved")
        wait_until(lambda: ear.of("service_failed_over"), 30, "the failover is told")
        counted = len(ear.of("turns_counted"))
        wait_until(lambda: len(ear.of("turns_counted")) > counted + 8, 30, "it has looked again")
        yield server, ear, directory


@pytest.mark.slow
@pytest.mark.real_server
def test_a_failover_is_told_once_and_soon(moved: tuple[ChaosproxyServer, Ear, Path]) -> None:
    server, ear, _ = moved
    [told] = ear.of("service_failed_over")
    assert (told["service"], told["from_proxy"], told["to_proxy"]) == ("db", "db-0", "db-1")
    assert told["faults"] == ["db-0/dark"] and 0.4 < told["detect_s"] <= told["after_s"] < 5 and told["share"] >= 0.5
    counts = [one["at"] for one in ear.told[: ear.told.index(told)] if one["kind"] == "turns_counted"]
    between = [at for at in counts if at > told["at"]]
    assert len(set(between)) <= 2, "told after the second count at most, so within 2 s"
    assert server.sample("chaosproxy_service_failovers_total", **{"service": "db", "from": "db-0", "to": "db-1"}) == 1
    assert server.sample("chaosproxy_failover_seconds_count", service="db") == 1


@pytest.mark.slow
@pytest.mark.real_server
def test_the_journal_has_it_too(moved: tuple[ChaosproxyServer, Ear, Path]) -> None:
    _, ear, directory = moved

    def written() -> list[ServiceFailedOver]:
        _, events = read_journal(directory / "run.jsonl")
        return [one for one in events if isinstance(one, ServiceFailedOver)]

    wait_until(lambda: bool(written()), 30, "the journal is written")
    [one] = written()
    assert one.after_s == ear.of("service_failed_over")[0]["after_s"]
