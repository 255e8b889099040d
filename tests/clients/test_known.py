"""Well-known clients, told from outside: their time-outs, retries and breakers, compared with their settings.

All programs run at the same time, each through a proxy of its own in front of one nginx: first without a fault, then
under a stall, then under a trickle. docs/reactions.md has the table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clients.running import http_program, running
from tests.servers.backends import Web
from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import wait_until

Json = dict[str, Any]  # Any: JSON

pytestmark = [pytest.mark.slow, pytest.mark.real_server]


@dataclass(frozen=True)
class Known:
    """A client and its settings."""

    name: str
    timeout_s: float | None
    kind: str = "read"
    law: str | None = None
    """Of its back-off; None if it does not try again."""
    factor: float | None = None
    attempts: int | None = None
    breaker: tuple[int, float] | None = None
    """Failures in a row after which it opens, and the seconds for which it does."""
    workers: int = 3
    protocol: str = "http"


CLIENTS = [
    Known("requests_read", 0.5),
    Known("requests_retry", 0.3, law="exponential", factor=2.0, attempts=6),
    Known("httpx_read", 0.4),
    Known("urllib_read", 0.8, protocol="tcp"),
    Known("urllib_none", None),
    Known("raw_constant", 0.25, law="constant", attempts=4, protocol="tcp"),
    Known("tenacity_jitter", 0.3, law="exponential", factor=2.0, attempts=5),
    Known("pybreaker_opens", 0.3, breaker=(5, 2.0), workers=1),
    Known("aiohttp_total", 0.6, kind="total"),
    Known("aiohttp_read", 0.35),
    Known("node_fetch", 0.45, kind="total"),
    Known("node_http", 0.55),
    Known("curl_total", 0.7, kind="total"),
    Known("curl_retry", 0.4, kind="total", law="exponential", factor=2.0, attempts=4),
]
BY_NAME = {one.name: one for one in CLIENTS}
BASELINE_TURNS = 60
STALL_S, REST_S, TRICKLE_S = 16.0, 4.0, 7.0


@pytest.fixture(scope="module")
def told(web_server: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Json]:
    """The reactions in the stall, by client."""
    directory = tmp_path_factory.mktemp("clients")
    lines = [
        f"  {one.name}: {{protocol: {one.protocol}, listen: '127.0.0.1:0', upstream: '127.0.0.1:{web_server.port}'}}"
        for one in CLIENTS
    ]
    (directory / "chaos.yaml").write_text("\n".join(["version: 1", "proxies:", *lines, ""]))
    with ExitStack() as stack:
        server = stack.enter_context(serving(directory, "chaos.yaml", "--journal", "run.jsonl"))
        for one in CLIENTS:
            words = http_program(one.name, [server.port(one.name)], one.workers)
            stack.enter_context(running(words, directory / f"{one.name}.jsonl-log"))
        names = [one.name for one in CLIENTS]
        wait_until(lambda: least_answered(server, names) >= BASELINE_TURNS, 60, "all clients are answered", every=0.5)
        put_on(server, names, "stall", {"type": "stall"}, STALL_S)
        time.sleep(REST_S)  # a time without a fault, which is the subject of the measurement
        put_on(server, names, "trickle", {"type": "slicer", "size": "20B", "gap": "150ms"}, TRICKLE_S)
        windows = server.call("GET", "/v1/reactions")["windows"]
        yield {
            name: told for window in windows if len(window["faults"]) == 1 and window["types"] == ["stall"]
            for name, told in window["proxies"].items()
        }  # fmt: skip


def least_answered(server: ChaosproxyServer, names: list[str]) -> int:
    proxies = server.call("GET", "/v1/reactions")["proxies"]
    return min((proxies[name]["turns"]["answered"] if name in proxies else 0) for name in names)


def put_on(server: ChaosproxyServer, names: list[str], fault: str, settings: Json, seconds: float) -> None:
    """Put a fault on all proxies, and wait until it is over."""
    server.call("POST", "/v1/faults", {"proxies": names, "name": fault, "ttl": f"{seconds}s", **settings})
    wait_until(
        lambda: not any(server.call("GET", f"/v1/proxies/{name}")["faults"] for name in names), seconds + 30, "it ends",
        every=0.1,
    )


@pytest.mark.parametrize("name", [one.name for one in CLIENTS if one.timeout_s is not None])
def test_the_time_out_of_a_client(name: str, told: Json) -> None:
    known, gave_up = BY_NAME[name], told[name]["gave_up"]
    assert known.timeout_s is not None
    assert gave_up["inferred_timeout_s"] == pytest.approx(known.timeout_s, abs=max(0.02, 0.05 * known.timeout_s))
    [timeout] = gave_up["timeouts"]
    assert timeout["confidence"] == "sure" and timeout["kind"] in (known.kind, "unknown"), gave_up


def test_a_client_without_a_time_out(told: Json) -> None:
    gave_up = told["urllib_none"]["gave_up"]
    assert (gave_up["count"], gave_up["timeouts"]) == (0, [])
    assert gave_up["none_within_s"] == pytest.approx(STALL_S, abs=1.5)


@pytest.mark.parametrize("name", [one.name for one in CLIENTS])
def test_the_retries_of_a_client(name: str, told: Json) -> None:
    known, retries = BY_NAME[name], told[name]["retries"]
    if retries["backoff"] is not None:
        assert retries["backoff"] == known.law, retries
        if known.factor is not None:
            assert retries["factor"] == pytest.approx(known.factor, rel=0.1), retries
    if known.law is not None and "jitter" not in name:
        assert retries["backoff"] is not None, retries
    if retries["attempts_max"] is not None:
        assert retries["attempts_max"] == known.attempts, retries


@pytest.mark.parametrize("name", [one.name for one in CLIENTS])
def test_the_circuit_breaker_of_a_client(name: str, told: Json) -> None:
    known, breaker = BY_NAME[name], told[name]["circuit_breaker"]
    if known.breaker is None:
        assert breaker is None
        return
    if breaker is None:
        return  # its attempts come too irregularly on a busy machine; tests/reaction asserts how often it is told
    assert breaker["opened_after"] == known.breaker[0]
    assert breaker["open_s"] == pytest.approx(known.breaker[1], abs=0.15)
