"""Well-known clients, told from outside: their time-outs, retries and breakers, compared with their settings.

All programs run at the same time, each through a proxy of its own in front of one nginx: first without a fault, then
under a stall, then under a trickle. docs/reactions.md has the table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.clients.policies import FAULTS, POLICIES, Json, judge
from tests.clients.running import http_program, running
from tests.servers.backends import Web
from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.real_server]


CLIENTS = [
    "requests_read", "requests_retry", "httpx_read", "urllib_read", "urllib_none", "raw_constant", "tenacity_jitter",
    "pybreaker_opens", "aiohttp_total", "aiohttp_read", "node_fetch", "node_http", "curl_total", "curl_retry",
]  # fmt: skip
BASELINE_TURNS = 60
STALL_S, REST_S, TRICKLE_S = 16.0, 4.0, 7.0


@pytest.fixture(scope="module")
def told(web_server: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Json]:
    """The reactions in the stall, by client."""
    directory = tmp_path_factory.mktemp("clients")
    lines = [
        f"  {name}: {{protocol: {POLICIES[name].protocol}, listen: '127.0.0.1:0',"
        f" upstream: '127.0.0.1:{web_server.port}'}}"
        for name in CLIENTS
    ]
    (directory / "chaos.yaml").write_text("\n".join(["version: 1", "proxies:", *lines, ""]))
    with ExitStack() as stack:
        server = stack.enter_context(serving(directory, "chaos.yaml", "--journal", "run.jsonl"))
        for name in CLIENTS:
            words = http_program(name, [server.port(name)], POLICIES[name].workers)
            stack.enter_context(running(words, directory / f"{name}.jsonl-log"))
        wait_until(lambda: least_answered(server) >= BASELINE_TURNS, 60, "all clients are answered", every=0.5)
        put_on(server, "stall", {"type": "stall"}, STALL_S)
        time.sleep(REST_S)  # a time without a fault, which is the subject of the measurement
        put_on(server, "trickle", {"type": "slicer", "size": "20B", "gap": "150ms"}, TRICKLE_S)
        windows = server.call("GET", "/v1/reactions")["windows"]
        yield {
            name: told for window in windows if len(window["faults"]) == 1 and window["types"] == ["stall"]
            for name, told in window["proxies"].items()
        }  # fmt: skip


def least_answered(server: ChaosproxyServer) -> int:
    proxies = server.call("GET", "/v1/reactions")["proxies"]
    return min((proxies[name]["turns"]["answered"] if name in proxies else 0) for name in CLIENTS)


def put_on(server: ChaosproxyServer, fault: str, settings: Json, seconds: float) -> None:
    """Put a fault on all proxies, and wait until it is over."""
    server.call("POST", "/v1/faults", {"proxies": CLIENTS, "name": fault, "ttl": f"{seconds}s", **settings})
    wait_until(
        lambda: not any(server.call("GET", f"/v1/proxies/{name}")["faults"] for name in CLIENTS),
        seconds + 30,
        "it ends",
        every=0.1,
    )


@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_told_of_a_client(name: str, told: Json) -> None:
    verdicts = judge(POLICIES[name], FAULTS["stall"], told[name])
    assert not [one for one in verdicts if one.is_right is False]
    # On a busy machine the attempts of a breaker come too irregularly; tests/reaction asserts how often it is told.
    assert not [one for one in verdicts if one.is_right is None and one.claim not in ("breaker", "attempts")]


@pytest.mark.parametrize("name", [name for name in CLIENTS if POLICIES[name].timeout_s is not None])
def test_the_time_out_of_a_client_is_sure(name: str, told: Json) -> None:
    gave_up = told[name]["gave_up"]
    [timeout] = gave_up["timeouts"]
    assert timeout["confidence"] == "sure"
    assert timeout["s"] == pytest.approx(gave_up["inferred_timeout_s"], abs=1e-5)


def test_a_client_without_a_time_out(told: Json) -> None:
    gave_up = told["urllib_none"]["gave_up"]
    assert (gave_up["count"], gave_up["timeouts"]) == (0, [])
    assert gave_up["none_within_s"] == pytest.approx(STALL_S, abs=1.5)
