"""`connections` and `kill`, with a real server."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chaosproxy.cli import main
from tests.servers.chaos import ChaosproxyServer, chaosproxy_command, serving
from tests.servers.processes import wait_until

CONFIG = """version: 1
proxies:
  db: {listen: "127.0.0.1:0", upstream: "127.0.0.1:PORT"}
  "odd:7": {listen: "127.0.0.1:0", upstream: "127.0.0.1:PORT"}
"""


class Scene:
    """A server with two proxies, and clients that are connected through them."""

    def __init__(self, server: ChaosproxyServer, upstream: socket.socket, stack: ExitStack) -> None:
        self.server, self._upstream, self._stack = server, upstream, stack

    def client(self, proxy: str = "db") -> socket.socket:
        """Connect and have one turn answered."""
        client = socket.create_connection(("127.0.0.1", self.server.port(proxy)), 30)
        self._stack.enter_context(closing(client))
        accepted, _ = self._upstream.accept()
        self._stack.enter_context(closing(accepted))
        client.sendall(b"ask")
        assert accepted.recv(10) == b"ask"
        accepted.sendall(b"answer")
        assert client.recv(10) == b"answer"
        return client

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--url", self.server.control])

    def open_ids(self) -> list[str]:
        return sorted(one["id"] for one in self.server.call("GET", "/v1/connections")["connections"])


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        upstream = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        upstream.settimeout(30)
        (tmp_path / "chaos.yaml").write_text(CONFIG.replace("PORT", str(upstream.getsockname()[1])))
        server = stack.enter_context(serving(tmp_path, "chaos.yaml"))
        yield Scene(server, upstream, stack)


def test_connections_are_shown_with_the_longest_waits_first(scene: Scene) -> None:
    scene.client()
    waiting = scene.client()
    scene.client("odd:7")
    scene.server.inject("db", "held", type="stall", direction="upstream")
    waiting.sendall(b"again")
    wait_until(lambda: "held" in scene.run("connections").output.split("shape")[1], 30, "the fault holds bytes")
    head, columns, first, *others = scene.run("connections").output.splitlines()
    assert head == "3 open connections" and len(others) == 2
    assert columns.split()[:2] == ["id", "client"] and "turn open" in columns
    assert first.startswith("db:2 ") and first.endswith(" held") and " turns " in first and " 5 " in first
    found = json.loads(scene.run("connections", "odd:7", "--json").stdout)["connections"]
    assert [(one["id"], one["bytes_upstream"], one["turns"]) for one in found] == [("odd:7:1", 3, 1)]
    if sys.platform == "linux":
        assert 0 < found[0]["tcp_client"]["rtt_s"] < 1 and found[0]["last_activity_s"] >= 0


def test_nothing_open_is_said(scene: Scene) -> None:
    assert scene.run("connections").output == "0 open connections\n"
    assert scene.run("kill", "db").output == "closed 0 connections: db\n"


def test_one_connection_is_killed_or_all_of_a_proxy(scene: Scene) -> None:
    first, second, odd = scene.client(), scene.client(), scene.client("odd:7")
    assert scene.run("kill", "db:1").output == "closed 1 connection: db:1\n"
    assert first.recv(10) == b""
    wait_until(lambda: scene.open_ids() == ["db:2", "odd:7:1"], 30, "it is closed")
    scene.client()
    assert scene.run("kill", "db", "--how", "reset").output == "reset 2 connections: db\n"
    with pytest.raises(ConnectionResetError):
        second.recv(10)
    wait_until(lambda: scene.open_ids() == ["odd:7:1"], 30, "they are closed")
    assert json.loads(scene.run("kill", "odd:7", "--json").stdout) == {"killed": ["odd:7:1"]}
    assert odd.recv(10) == b""
    assert scene.client().fileno() > 0, "clients can connect again"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("kill", "od:7"), "'od' is not the name of a proxy; give a name of `chaosproxy status`"),
        (("kill", "odd:77"), "'odd' is not the name of a proxy (did you mean 'odd:7'?)"),
        (("kill", "odd7"), "'odd7' is not the name of a proxy (did you mean 'odd:7'?)"),
        (("kill", "db:99"), "db:99"),
        (("kill", "db", "--how", "gently"), "'gently' is not one of"),
        (("connections", "dv"), "dv"),
    ],
)
def test_unknown_names_are_refused(scene: Scene, words: tuple[str, ...], told: str) -> None:
    scene.client()
    result = scene.run(*words)
    assert result.exit_code == 2 and told in result.stderr
    assert scene.open_ids() == ["db:1"]


@pytest.mark.slow
def test_watch_prints_again_until_it_is_interrupted(scene: Scene) -> None:
    words = [*chaosproxy_command(), "connections", "--watch", "--url", scene.server.control]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "0 open connections\n"
            scene.client()
            while (line := process.stdout.readline()) != "1 open connection\n":
                assert line == "0 open connections\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
