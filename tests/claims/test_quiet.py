"""No false stories: programs that end, wait, stream and restart for reasons of their own, while faults are on.

All of them run at the same time, each kind in front of its own proxies, one in mode tcp and one in mode http, which
form a service. First without a fault, then with faults that harm none of them: 5 ms of latency everywhere, a stall of
0.3 s on some, and a long stall of the proxy `impatient`, the only one of which a time-out may be told: it shows
that time-outs are told at all. In that window two servers are restarted, and clients are interrupted, killed and
deployed.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers.backends import Web, directory_of
from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import HOST, Child, find, free_port, is_listening, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.real_server]

HERE = Path(__file__).parent
Json = dict[str, Any]  # Any: JSON
BASELINE_S, FAULTS_S, AFTER_S = 4.0, 8.0, 4.0


@dataclass(frozen=True)
class Scenario:
    """Programs of one kind, and what happens to them while the faults are on."""

    kind: str
    upstream: str
    """`nginx`, `app`, `redis` or `sink`; `own app` and `own redis` are restarted."""
    http: bool = True
    """True if a second proxy is in mode http."""
    happens: str = ""
    """`ctrl-c`, `killed`, `rolling deploy`, `deploy at once`; empty if nothing does."""
    has_hiccup: bool = False
    """True if a stall of 0.3 s is on as well."""
    workers: int = 4
    name_as: str = ""

    @property
    def name(self) -> str:
        return (self.name_as or self.kind).replace("_", "-")

    @property
    def proxies(self) -> list[str]:
        return [f"{self.name}-tcp", *([f"{self.name}-http"] if self.http else [])]


SCENARIOS = [
    Scenario("closes", "nginx"),
    Scenario("curl_http10", "nginx"),
    Scenario("half_closes", "nginx", has_hiccup=True),
    Scenario("idle_at_server", "app"),
    Scenario("idle_at_client", "nginx"),
    Scenario("rotates", "nginx", has_hiccup=True),
    Scenario("slow", "app", has_hiccup=True),
    Scenario("sometimes", "app", has_hiccup=True),
    Scenario("long_polls", "app", has_hiccup=True),
    Scenario("polls_and_leaves", "app"),
    Scenario("server_sent_events", "app"),
    Scenario("websocket", "app"),
    Scenario("publishes", "redis", http=False),
    Scenario("subscribes_in_silence", "redis", http=False),
    Scenario("blocks", "redis", http=False),
    Scenario("ships", "sink", http=False),
    Scenario("checks_port", "nginx"),
    Scenario("exits", "nginx"),
    Scenario("waits_for_ever", "app", happens="ctrl-c", name_as="ctrl_c"),
    Scenario("waits_for_ever", "app", happens="killed", name_as="killed"),
    Scenario("sometimes", "app", happens="rolling deploy", name_as="rolling_deploy"),
    Scenario("sometimes", "app", happens="deploy at once", name_as="deploy_at_once"),
    Scenario("sometimes", "own app", name_as="restart_of_a_web_server"),
    Scenario("redis_works", "own redis", http=False, name_as="restart_of_redis"),
]
IMPATIENT = Scenario("impatient", "nginx", http=False)
BY_NAME = {one.name: one for one in SCENARIOS}


class Restartable:
    """A server on a port that stays the same."""

    def __init__(self, words: list[str], directory: Path) -> None:
        self.port = free_port()
        self._words, self._directory = words, directory
        self._child = self._start()

    def _start(self) -> Child:
        child = Child([one.format(port=self.port) for one in self._words], self._directory)
        child.wait_until_ready(is_listening, self.port)
        return child

    def restart(self) -> None:
        self._child.stop()
        time.sleep(0.3)  # a server is away for a while
        self._child = self._start()

    def stop(self) -> None:
        self._child.stop()


APP = [sys.executable, str(HERE / "quiet_server.py"), "{port}"]
REDIS = ["redis-server", "--port", "{port}", "--bind", HOST, "--save", "", "--appendonly", "no"]


@contextmanager
def sink() -> Iterator[int]:
    """A server that reads and says nothing; gives its port."""
    listener = socket.create_server((HOST, 0))

    def read(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while sock.recv(65536):
                pass

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=read, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10.0)


class Programs:
    """The client programs of one scenario."""

    def __init__(self, scenario: Scenario, ports: list[int]) -> None:
        self._scenario = scenario
        self._words = [
            sys.executable, str(HERE / "quiet_clients.py"), scenario.kind, ",".join(map(str, ports)),
            str(scenario.workers),
        ]  # fmt: skip
        number = 3 if "deploy" in scenario.happens else 1
        self._running = [self._start() for _ in range(number)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def happen(self) -> None:
        """Let that happen which is to happen to them."""
        match self._scenario.happens:
            case "ctrl-c":
                self._end(self._running[0], signal.SIGINT)
            case "killed":
                self._end(self._running[0], signal.SIGKILL)
            case "rolling deploy":
                for number, one in enumerate(self._running):
                    self._end(one, signal.SIGTERM)
                    self._running[number] = self._start()
                    time.sleep(0.3)
            case "deploy at once":
                for one in self._running:
                    one.send_signal(signal.SIGINT)
                for one in self._running:
                    self._end(one, signal.SIGINT)
                self._running = [self._start() for _ in self._running]

    def stop(self) -> None:
        for one in self._running:
            self._end(one, signal.SIGTERM)

    @staticmethod
    def _end(one: subprocess.Popen[bytes], sign: signal.Signals) -> None:
        one.send_signal(sign)
        one.wait(30)
        assert one.stdin is not None
        one.stdin.close()


@dataclass(frozen=True)
class Told:
    """The reactions while the faults were on, and after them."""

    during: Json
    after: Json
    events: str
    """The log, which has every event."""


@pytest.fixture(scope="module")
def told(web_server: Web, redis_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    for program in ("curl", "socat", "redis-cli", "redis-server"):
        find(program)
    directory = tmp_path_factory.mktemp("quiet")
    with ExitStack() as stack:
        app, own_app = Restartable(APP, directory), Restartable(APP, directory)
        own_redis = Restartable(REDIS, stack.enter_context(directory_of()))
        for one in (app, own_app, own_redis):
            stack.callback(one.stop)
        ports = {
            "nginx": web_server.port, "redis": redis_port, "app": app.port, "own app": own_app.port,
            "own redis": own_redis.port, "sink": stack.enter_context(sink()),
        }  # fmt: skip
        lines = [
            f"  {proxy}: {{protocol: {proxy.rpartition('-')[2]}, listen: '{HOST}:0', service: {one.name},"
            f" upstream: '{HOST}:{ports[one.upstream]}'}}"
            for one in (*SCENARIOS, IMPATIENT) for proxy in one.proxies
        ]  # fmt: skip
        (directory / "chaos.yaml").write_text("\n".join(["version: 1", "proxies:", *lines, ""]))
        server = stack.enter_context(serving(directory, "chaos.yaml", "--journal", "run.jsonl"))
        running = []
        for one in (*SCENARIOS, IMPATIENT):
            running.append(Programs(one, [server.port(proxy) for proxy in one.proxies]))
            stack.callback(running[-1].stop)
        quiet = {"checks-port", "ships", "polls-and-leaves"}  # which get no answers
        asked = [proxy for one in (*SCENARIOS, IMPATIENT) if one.name not in quiet for proxy in one.proxies]
        try:
            wait_until(lambda: not unanswered(server, asked), 60, "all clients are answered", every=0.5)
        except TimeoutError as error:
            raise TimeoutError(f"{error}, but for {unanswered(server, asked)}") from None
        time.sleep(BASELINE_S)  # a time without a fault, which a claim is compared with
        everywhere = [proxy for one in SCENARIOS for proxy in one.proxies]
        until = time.monotonic() + FAULTS_S
        put_on(server, everywhere, "late", type="latency", delay="5ms")
        put_on(server, IMPATIENT.proxies, "dark", type="stall")
        put_on(
            server, [proxy for one in SCENARIOS if one.has_hiccup for proxy in one.proxies], "hiccup",
            type="stall", **{"for": "300ms"},
        )  # fmt: skip
        time.sleep(1.5)
        acts = [threading.Thread(target=one.happen) for one in running]
        acts += [threading.Thread(target=one.restart) for one in (own_app, own_redis)]
        for act in acts:
            act.start()
        for act in acts:
            act.join()
        time.sleep(max(0.0, until - time.monotonic()))
        during = server.call("GET", "/v1/reactions")
        server.heal()
        time.sleep(AFTER_S)  # a claim may also be about the time after the faults
        yield Told(during, server.call("GET", "/v1/reactions"), server.log)


def unanswered(server: ChaosproxyServer, proxies: list[str]) -> list[str]:
    told = server.call("GET", "/v1/reactions")["proxies"]
    return [one for one in proxies if one not in told or not told[one]["turns"]["answered"]]


def put_on(server: ChaosproxyServer, proxies: list[str], fault: str, **settings: object) -> None:
    server.call("POST", "/v1/faults", {"proxies": proxies, "name": fault, **settings})


def reactions_on(told: Json, proxy: str) -> Iterator[Json]:
    """Yield what is told of a proxy: altogether, and in each window."""
    yield told["proxies"][proxy]
    for window in told["windows"]:
        if proxy in window["proxies"]:
            yield window["proxies"][proxy]


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_is_claimed(told: Told, name: str) -> None:
    claims = []
    for answer in (told.during, told.after):
        assert answer["windows"], "claims are made in windows only"
        for proxy in BY_NAME[name].proxies:
            for one in reactions_on(answer, proxy):
                gave_up, retries = one["gave_up"], one["retries"]
                found = {
                    "timeouts": gave_up["timeouts"] or None, "inferred": gave_up["inferred_timeout_s"],
                    "breaker": one["circuit_breaker"], "backoff": retries["backoff"],
                }  # fmt: skip
                claims += [(proxy, key, value) for key, value in found.items() if value is not None]
        if name in answer["services"]:
            claims += [(name, "failover", move) for move in answer["services"][name]["failovers"]]
    assert claims == []


@pytest.mark.parametrize("name", BY_NAME)
def test_its_proxies_were_in_a_window_with_traffic(told: Told, name: str) -> None:
    """Else the absence of claims would show nothing."""
    for proxy in BY_NAME[name].proxies:
        windows = [one for one in told.after["windows"] if proxy in one["proxies"]]
        assert windows and all("latency" in one["types"] or "stall" in one["types"] for one in windows)
        if name != "checks-port":  # it leaves before a fault can touch it
            assert any(one["touched"]["connections"] for one in windows)


def test_no_reaction_was_published(told: Told) -> None:
    for kind in ("service_failed_over", "circuit_opened", "circuit_closed"):
        assert kind not in told.events


def test_a_client_with_a_time_out_is_told_at_the_same_time(told: Told) -> None:
    [proxy] = IMPATIENT.proxies
    assert told.after["proxies"][proxy]["gave_up"]["inferred_timeout_s"] == pytest.approx(0.4, abs=0.05)
