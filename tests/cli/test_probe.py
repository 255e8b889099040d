"""`probe`: against a running server, with clients whose settings are known."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chaosproxy.cli import main
from tests.servers.chaos import ChaosproxyServer, chaosproxy_command, serving
from tests.servers.processes import wait_until

ANSWER = b"HTTP/1.0 200 OK\r\ncontent-length: 300\r\n\r\n" + 300 * b"x"
PROXIES = {"raw": "tcp", "web": "http", "idle": "tcp", "cut": "tcp", "killed": "tcp", "patient": "tcp"}
Json = dict[str, Any]  # Any: JSON


class Client:
    """Asks again and again on new connections, up to 4 times with pauses of 0.3 s; counts its good answers."""

    def __init__(self, port: int, number: int, timeout_s: float | None, is_total: bool) -> None:
        self._port, self._number, self._timeout_s, self._is_total = port, number, timeout_s, is_total
        self.answers = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        call = 0
        while not self._over.wait(0.05 + 0.03 * self._number):
            call += 1
            for _ in range(4):
                with suppress(OSError):
                    self._ask(f"GET /{self._number}-{call} HTTP/1.0\r\n\r\n".encode())
                    self.answers += 1
                    break
                if self._over.wait(0.3):
                    return

    def _ask(self, request: bytes) -> None:
        began, got = time.monotonic(), 0
        with socket.create_connection(("127.0.0.1", self._port), 5) as sock:
            sock.settimeout(self._timeout_s)
            sock.sendall(request)
            while got < len(ANSWER):
                if self._is_total and self._timeout_s is not None:
                    left = self._timeout_s - (time.monotonic() - began)
                    if left <= 0:
                        raise TimeoutError
                    sock.settimeout(left)
                data = sock.recv(4096)
                if not data or data.startswith(b"HTTP/1.1 503"):
                    raise OSError("no answer")
                got += len(data)


@contextmanager
def clients(port: int, timeout_s: float | None, is_total: bool = False) -> Iterator[list[Client]]:
    """Run three clients, once each has had answers."""
    found = [Client(port, number, timeout_s, is_total) for number in range(3)]
    try:
        wait_until(lambda: all(one.answers > 3 for one in found), 30, "the clients are answered")
        yield found
    finally:
        for one in found:
            one.end()


@contextmanager
def http_port() -> Iterator[int]:
    """Run a server that answers each request and closes; yield its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                if self.request.recv(4096):
                    self.request.sendall(ANSWER)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 100

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosproxyServer]:
    directory = tmp_path_factory.mktemp("probe")
    with http_port() as upstream:
        lines = [
            f"  {name}: {{protocol: {protocol}, listen: '127.0.0.1:0', upstream: '127.0.0.1:{upstream}'}}"
            for name, protocol in PROXIES.items()
        ]
        (directory / "chaos.yaml").write_text("\n".join(["version: 1", "proxies:", *lines, ""]))
        with serving(directory, "chaos.yaml") as server:
            yield server


def started(server: ChaosproxyServer, *words: str) -> subprocess.Popen[str]:
    command = [*chaosproxy_command(), "probe", *words, "--url", server.control]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def told(server: ChaosproxyServer) -> Iterator[dict[str, tuple[int, str, str]]]:
    """The results of several probes at the same time, by proxy."""
    with ExitStack() as stack:
        stack.enter_context(clients(server.port("raw"), 0.5))
        stack.enter_context(clients(server.port("web"), 0.8, is_total=True))
        stack.enter_context(clients(server.port("patient"), None))
        probes = {
            "raw": started(server, "raw", "--yes", "--json"),
            "web": started(server, "web", "--yes", "--json"),
            "idle": started(server, "idle", "--yes"),
            "patient": started(server, "patient", "--yes", "--for", "3s"),
        }
        yield {name: ended(process) for name, process in probes.items()}
    for name in PROXIES:
        assert faults(server, name) == []


def faults(server: ChaosproxyServer, proxy: str) -> list[Json]:
    found: list[Json] = server.call("GET", f"/v1/proxies/{proxy}")["faults"]
    return found


def run(server: ChaosproxyServer, *words: str) -> Result:
    return CliRunner().invoke(main, ["probe", *words, "--url", server.control])


@pytest.mark.slow
def test_a_read_time_out_and_retries_of_a_raw_socket(told: dict[str, tuple[int, str, str]]) -> None:
    code, out, err = told["raw"]
    assert code == 0, err
    report = json.loads(out)
    assert set(report) == {"proxy", "plan", "steps", "found", "story", "not_learnt"}
    assert (report["proxy"], report["plan"]) == ("raw", "quick")
    found = report["found"]
    assert set(found["timeouts"]) == {"read"}, report
    [timeout] = found["timeouts"]["read"]
    assert timeout["s"] == pytest.approx(0.5, abs=0.05) and timeout["confidence"] == "sure"
    assert found["backoff"]["law"] == "constant" and found["backoff"]["first_gap_s"] == pytest.approx(0.3, abs=0.05)
    assert found["attempts_max"] in (None, 4), "it takes two pieces of work that end while a fault is on"
    assert found["recovery"] or [one for one in report["not_learnt"] if one.startswith("recovery: not seen")], report
    steps = {one["fault"]["name"]: one for one in report["steps"]}
    assert list(steps) == ["probe-stall", "probe-trickle", "probe-reset", "probe-refuse"]
    assert steps["probe-stall"]["seconds"] < 20 and steps["probe-stall"]["ended_because"].startswith("shown: time-out")
    assert all(one["started"].endswith("Z") for one in steps.values())
    assert "healed probe-stall" in err and "Traceback" not in err


@pytest.mark.slow
def test_a_deadline_of_an_http_client(told: dict[str, tuple[int, str, str]]) -> None:
    code, out, err = told["web"]
    assert code == 0, err
    report = json.loads(out)
    assert set(report["found"]["timeouts"]) == {"total"}, report
    assert report["found"]["timeouts"]["total"][0]["s"] == pytest.approx(0.8, abs=0.08)
    assert report["found"]["double_effects"] > 0
    names = [one["fault"]["name"] for one in report["steps"]]
    assert names[-2:] == ["probe-503", "probe-lost-answer"]


@pytest.mark.slow
def test_a_client_without_a_time_out(told: dict[str, tuple[int, str, str]]) -> None:
    code, out, err = told["patient"]
    assert code == 0, err
    assert "no client gave up within" in out
    assert "time-outs: none within the stall of" in out and "--for 6s" in out
    assert "skipped: no time-out is known" in out


@pytest.mark.slow
def test_without_traffic_it_says_so_and_touches_nothing(told: dict[str, tuple[int, str, str]]) -> None:
    code, out, err = told["idle"]
    assert code == 1
    assert re.match(r"no traffic to learn from: no turn was answered within [\d.]+ s\n", out)
    assert "probe-" not in err


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_heals_its_own_fault(server: ChaosproxyServer, sign: signal.Signals, code: int) -> None:
    with clients(server.port("cut"), None):
        process = started(server, "cut", "--yes", "--json")
        wait_until(lambda: bool(faults(server, "cut")), 60, "the stall is on")
        process.send_signal(sign)
        server.inject("cut", "theirs", type="latency", delay="1ms")  # a moment before or after the heal
        returned, out, err = ended(process)
        assert [one["name"] for one in faults(server, "cut")] == ["theirs"]
        server.heal()
    assert returned == code, err
    [step] = json.loads(out)["steps"]
    assert step["ended_because"] == "the probe was interrupted"
    assert "Traceback" not in err


@pytest.mark.slow
def test_the_ttl_heals_after_a_kill(server: ChaosproxyServer) -> None:
    with clients(server.port("killed"), None) as asking:
        process = started(server, "killed", "--yes", "--for", "7s")
        wait_until(lambda: bool(faults(server, "killed")), 60, "the stall is on")
        process.kill()
        ended(process)
        [fault] = faults(server, "killed")
        assert (fault["name"], fault["ttl"]) == ("probe-stall", "10s")
        wait_until(lambda: not faults(server, "killed"), 30, "the ttl has healed it")
        before = [one.answers for one in asking]
        wait_until(lambda: all(a.answers > b for a, b in zip(asking, before, strict=True)), 30, "answers come again")


def test_another_fault_or_partition_is_in_the_way(server: ChaosproxyServer) -> None:
    server.inject("idle", "slow", type="latency", delay="1ms")
    result = run(server, "idle", "--yes")
    assert result.exit_code == 2
    remedy = f"heal it first, with: chaosproxy heal idle --url {server.control}"
    assert result.stderr == f"error: idle has other faults already: slow; {remedy}\n"
    server.heal()


def test_an_unknown_proxy_has_the_nearest_name(server: ChaosproxyServer) -> None:
    result = run(server, "idel", "--yes", "--json")
    assert result.exit_code == 2
    problem = json.loads(result.stderr)
    assert problem["code"] == "not-found" and "did you mean 'idle'" in problem["error"]


def test_a_disabled_proxy_has_no_clients(server: ChaosproxyServer) -> None:
    server.call("PATCH", "/v1/proxies/idle", {"enabled": False})
    result = run(server, "idle", "--yes")
    server.call("PATCH", "/v1/proxies/idle", {"enabled": True})
    assert result.exit_code == 2 and "idle is disabled" in result.stderr


def test_without_a_terminal_it_asks_for_yes(server: ChaosproxyServer) -> None:
    result = run(server, "idle")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: a probe breaks the traffic of idle for up to 30 s at a time; begin it with --yes\n"
    )


@pytest.mark.parametrize("words", [("--for", "30"), ("--for", "0s"), ("--plan", "fast")])
def test_wrong_options(server: ChaosproxyServer, words: tuple[str, ...]) -> None:
    result = run(server, "idle", "--yes", *words)
    assert result.exit_code == 2 and words[0] in result.stderr


def test_on_a_terminal_it_asks_and_takes_a_no(server: ChaosproxyServer) -> None:
    parent, child = pty.openpty()
    command = [*chaosproxy_command(), "probe", "web", "--url", server.control]
    process = subprocess.Popen(command, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(child)
    os.write(parent, b"n\n")
    code, out, err = ended(process)
    os.close(parent)
    assert (code, out) == (1, "")
    assert "web (127.0.0.1:" in err and "the stall" in err and "the lost answer" in err and "Begin?" in err
