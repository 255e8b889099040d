"""Well-known clients under more faults: the time-outs, retries, breakers, double effects and recoveries told.

Each pair of a client and a fault has a proxy of its own, and all faults are on at the same time. A claim is compared
with the client's settings; a recovery with the client's own log, and double effects with the server's.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.clients.policies import FAULTS, POLICIES, Json, Policy, Verdict, judge
from tests.clients.running import http_program, running
from tests.servers.backends import Web
from tests.servers.chaos import serving
from tests.servers.processes import HOST, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.real_server]


@dataclass(frozen=True)
class Case:
    """A client under a fault."""

    client: str
    fault: str
    workers: int = 3
    is_short: bool = False
    """True if too little happens for a claim on each run: claims must be right, and none need be made."""

    @property
    def name(self) -> str:
        return f"{self.client}-{self.fault}"

    @property
    def policy(self) -> Policy:
        return POLICIES[self.client]

    def judge(self, told: Json) -> list[Verdict]:
        return judge(self.policy, FAULTS[self.fault], told, self.workers)


CASES = [
    Case("requests_read", "blackhole"),
    Case("httpx_read", "partition"),
    Case("aiohttp_total", "lost_answer"),
    Case("aiohttp_read", "blackhole"),
    Case("aiohttp_connect", "unreachable"),
    Case("urllib_read", "reset"),
    Case("urllib_none", "blackhole"),
    Case("raw_constant", "blackhole"),
    Case("raw_constant", "partition"),
    Case("raw_constant", "reset_request"),
    Case("raw_constant", "reset", workers=1, is_short=True),
    Case("raw_constant", "refuse", workers=1),
    Case("requests_retry", "reset_request"),
    Case("requests_retry", "refuse", workers=1, is_short=True),
    Case("requests_503", "abort"),
    Case("requests_post", "lost_answer"),
    Case("tenacity_jitter", "reset_request", is_short=True),
    Case("pybreaker_503", "abort", workers=1),
    Case("node_fetch", "lost_answer"),
    Case("node_http", "reset"),
    Case("curl_total", "partition"),
    Case("curl_retry", "abort"),
]
FAULT_S, AFTER_S, BASELINE_TURNS = 16.0, 7.0, 60


@dataclass(frozen=True)
class Told:
    """The reaction of a proxy, and the client's log."""

    proxy: Json
    started: float
    ended: float
    """Both in seconds since 1970."""
    log: Sequence[Json]


class Shop(ThreadingHTTPServer):
    """A server that remembers its orders."""

    daemon_threads = True

    def __init__(self) -> None:
        self.orders: Counter[str] = Counter()
        self.lock = threading.Lock()
        super().__init__((HOST, 0), _Order)


class _Order(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Shop)
        with self.server.lock:
            self.server.orders[self.path] += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def shop() -> Iterator[Shop]:
    server = Shop()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def orders() -> Iterator[Shop]:
    with shop() as server:
        yield server


@pytest.fixture(scope="module")
def told(web_server: Web, orders: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """The reactions by the name of the case."""
    directory = tmp_path_factory.mktemp("under_faults")
    upstreams = {"requests_post": orders.server_address[1]}
    proxies = {
        one.name: {
            "protocol": one.policy.protocol, "listen": f"{HOST}:0",
            "upstream": f"{HOST}:{upstreams.get(one.client, web_server.port)}",
        }
        for one in CASES
    }  # fmt: skip
    (directory / "chaos.yaml").write_text(json.dumps({"version": 1, "proxies": proxies}))
    with ExitStack() as stack:
        server = stack.enter_context(serving(directory, "chaos.yaml", "--journal", "run.jsonl"))
        ports = {one.name: server.port(one.name) for one in CASES}
        together: dict[tuple[str, int], list[int]] = {}
        for one in CASES:
            together.setdefault((one.client, one.workers), []).append(ports[one.name])
        for (client, workers), some in together.items():
            words = http_program(client, some, workers)
            stack.enter_context(running(words, directory / f"{client}-{workers}.jsonl-log"))

        def least_answered() -> int:
            answer = server.call("GET", "/v1/reactions")["proxies"]
            return min((answer[one.name]["turns"]["answered"] if one.name in answer else 0) for one in CASES)

        wait_until(lambda: least_answered() >= BASELINE_TURNS, 60, "all clients are answered", every=0.5)
        for one in CASES:
            server.inject(one.name, ttl=f"{FAULT_S}s", **FAULTS[one.fault].settings)

        def healed() -> bool:
            return not any(server.call("GET", f"/v1/proxies/{one.name}")["faults"] for one in CASES)

        wait_until(healed, FAULT_S + 30, "all faults have ended", every=0.2)
        time.sleep(AFTER_S)  # the time in which clients come back, which is measured
        windows = server.call("GET", "/v1/reactions")["windows"]
    logs = [
        json.loads(line) for file in directory.glob("*.jsonl-log")
        for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")
    ]  # fmt: skip
    found: dict[str, Told] = {}
    for window in windows:
        if len(window["faults"]) == 1:
            [(name, proxy)] = window["proxies"].items()
            began, ended = (datetime.fromisoformat(window[key]).timestamp() for key in ("started", "ended"))
            log = sorted((one for one in logs if one["port"] == ports[name]), key=lambda one: one["at"])
            found[name] = Told(proxy, began, ended, log)
    return found


def named(cases: Sequence[Case]) -> Any:  # Any: a mark of pytest
    return pytest.mark.parametrize("case", [pytest.param(one, id=one.name) for one in cases])


@named(CASES)
def test_what_is_told_is_right(case: Case, told: dict[str, Told]) -> None:
    assert not [one for one in case.judge(told[case.name].proxy) if one.is_right is False]


@named(CASES)
def test_a_time_out_is_told_once(case: Case, told: dict[str, Told]) -> None:
    gave_up = told[case.name].proxy["gave_up"]
    verdicts = [(one.claim, one.is_right) for one in case.judge(told[case.name].proxy)]
    assert case.is_short or ("time-out", None) not in verdicts
    assert [one["kind"] for one in gave_up["timeouts"]] in ([], ["unknown"]), "without a trickle, the kind is not known"
    if gave_up["timeouts"] and not (case.is_short or FAULTS[case.fault].is_short):
        [timeout] = gave_up["timeouts"]
        assert timeout["confidence"] == "sure"
        assert timeout["s"] == pytest.approx(gave_up["inferred_timeout_s"], abs=1e-5)


@pytest.mark.parametrize("claim", ["back-off", "attempts"])
def test_most_retries_are_told(claim: str, told: dict[str, Told]) -> None:
    """A busy machine may make a gap too long, so that no claim is made."""
    verdicts = [one for case in CASES if not case.is_short for one in case.judge(told[case.name].proxy)]
    made = [one.is_right is not None for one in verdicts if one.claim == claim]
    assert sum(made) > len(made) / 2 > 0, verdicts


@named([one for one in CASES if not one.client.startswith("curl")])
def test_the_recovery(case: Case, told: dict[str, Told]) -> None:
    """The first good turn, within 100 ms of the client's log."""
    this = told[case.name]
    first = next(one["at"] for one in this.log if one["error"] is None and one["at"] >= this.ended)
    assert this.proxy["recovery"] is not None
    assert this.proxy["recovery"]["first_good_turn_s"] == pytest.approx(first - this.ended, abs=0.1)


def test_an_order_that_is_made_twice(told: dict[str, Told], orders: Shop) -> None:
    [case] = [one for one in CASES if one.client == "requests_post"]
    again = sum(times - 1 for times in orders.orders.values())
    assert again > 20
    # On a busy machine the server answers some orders after the client has left: then it is not known that it did.
    assert again / 2 <= told[case.name].proxy["retries"]["double_effects"] <= again


def test_a_client_without_a_time_out(told: dict[str, Told]) -> None:
    [case] = [one for one in CASES if one.client == "urllib_none"]
    gave_up = told[case.name].proxy["gave_up"]
    assert gave_up["count"] == 0
    assert gave_up["none_within_s"] == pytest.approx(FAULT_S, abs=1.5)
