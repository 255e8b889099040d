"""`reactions`: of a running server, and of a journal."""

from __future__ import annotations

import json
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chaosproxy.cli import main
from tests.servers.chaos import ChaosproxyServer, chaosproxy_command, serving
from tests.servers.processes import wait_until

TIMEOUT_S = 0.5
GIVE_UPS = 8


class Client:
    """Asks again and again, gives up after TIMEOUT_S, and comes back after a pause."""

    def __init__(self, port: int, delay: float) -> None:
        self.port, self.answers, self._over = port, 0, threading.Event()
        self._thread = threading.Thread(target=self._run, args=(delay,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self, delay: float) -> None:
        self._over.wait(delay)
        while not self._over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as sock:
                sock.settimeout(TIMEOUT_S)
                while not self._over.wait(0.02):
                    sock.sendall(b"ask")
                    if not sock.recv(100):
                        break
                    self.answers += 1
            self._over.wait(0.1)


@contextmanager
def echo_port() -> Iterator[int]:
    """Run a server that sends back what it gets; yield its port."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while data := self.request.recv(100):
                    self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def told(server: ChaosproxyServer) -> Any:  # Any: JSON
    return server.call("GET", "/v1/reactions")["proxies"]["db"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reactions")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[ChaosproxyServer]:
    """A server on which clients with a time-out have met a stall."""
    with echo_port() as upstream:
        config = f"version: 1\nproxies:\n  db: {{listen: '127.0.0.1:0', upstream: '127.0.0.1:{upstream}'}}\n"
        (directory / "chaos.yaml").write_text(config)
        with serving(directory, "chaos.yaml", "--journal", "run.jsonl") as server:
            clients = [Client(server.port("db"), 0.13 * number) for number in range(4)]
            wait_until(lambda: all(one.answers > 20 for one in clients), 30, "the clients are answered")
            server.inject("db", "stall-1", type="stall", direction="downstream")
            wait_until(lambda: told(server)["gave_up"]["count"] >= GIVE_UPS, 30, "they have given up")
            server.heal()
            for client in clients:
                client.end()
            yield server


def run(url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["reactions", "--url", url, *words])


def test_the_story_comes_first_and_then_the_numbers(server: ChaosproxyServer) -> None:
    result = run(server.control)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("db, while `db/stall-1` was on (")
    [gave_up] = [line for line in lines if "gave up after" in line]
    assert "(sure): a time-out of 0.5" in gave_up
    heading, row = lines[lines.index("") + 1], lines[-1]
    assert heading.split()[:4] == ["proxy", "answered", "failed", "open"] and row.split()[0] == "db"


def test_json_is_that_of_the_server(server: ChaosproxyServer) -> None:
    result = run(server.control, "--json")
    told = json.loads(result.stdout)
    assert told["proxies"]["db"]["gave_up"]["inferred_timeout_s"] == pytest.approx(TIMEOUT_S, rel=0.1)
    assert run(server.control, "--since", "1ms").stdout.startswith("no fault was on")


def test_a_proxy_can_be_selected(server: ChaosproxyServer) -> None:
    assert "db/stall-1" in run(server.control, "--proxy", "db").stdout
    missing = run(server.control, "--proxy", "other")
    assert missing.exit_code == 2 and "other" in missing.stderr


def test_watch_ends_with_ctrl_c(server: ChaosproxyServer) -> None:
    command = [*chaosproxy_command(), "reactions", "--url", server.control, "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert "db/stall-1" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_the_journal_tells_the_same_story(server: ChaosproxyServer, directory: Path) -> None:
    def story(*words: str) -> list[str]:
        told = json.loads(run(server.control, "--json", *words).stdout)
        return [line for window in told["windows"] for line in window["story"] if "gave up" in line]

    live = story()
    assert live
    wait_until(lambda: story("--journal", str(directory / "run.jsonl")) == live, 30, "the journal is written")
    missing = run(server.control, "--journal", str(directory / "run.jsonl"), "--proxy", "other")
    assert missing.exit_code == 2 and "it has db" in missing.stderr


@pytest.mark.parametrize("words", [("--watch",), ("--since", "1s")])
def test_a_journal_is_read_whole_and_once(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = run("http://127.0.0.1:1", "--journal", str(tmp_path / "none"), *words)
    assert result.exit_code == 2 and "--journal" in result.stderr


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("{}\n")
    for name in ("other", "none"):
        result = run("http://127.0.0.1:1", "--journal", str(tmp_path / name))
        assert result.exit_code == 2 and str(tmp_path / name) in result.stderr
