"""`serve` as a process: the ready line, signals, exit codes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.chaos import chaosproxy_command, serving

LOOPS = ("uvloop", "asyncio")
END_SECONDS = 5.0


def serve(*words: object) -> subprocess.CompletedProcess[str]:
    """A `serve` that is expected to end by itself."""
    command = [*chaosproxy_command(), "serve", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30.0, check=False)


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def config(directory: Path, text: str) -> Path:
    path = directory / "chaos.yaml"
    path.write_text("version: 1\n" + text)
    return path


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_ready_serves_and_ends_with_zero(tmp_path: Path, loop: str, number: signal.Signals) -> None:
    path = config(tmp_path, "proxies: {db: {listen: 127.0.0.1:0, upstream: 127.0.0.1:1}}\n")
    with serving(tmp_path, str(path), "--loop", loop) as server:
        assert server.ready_proxies == 1
        with urllib.request.urlopen(f"{server.control}/v1/status", timeout=5.0) as answer:
            assert json.load(answer)["loop"] == loop
        began = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - began < END_SECONDS


@pytest.mark.parametrize("loop", LOOPS)
def test_open_connections_do_not_keep_it_from_ending(tmp_path: Path, loop: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        target = "{}:{}".format(*upstream.getsockname())
        path = config(tmp_path, f"proxies: {{db: {{listen: 127.0.0.1:0, upstream: '{target}', "
                                "faults: {dark: {type: stall, direction: both}}}}\n")  # fmt: skip
        with serving(tmp_path, str(path), "--loop", loop) as server:
            client = socket.create_connection(("127.0.0.1", server.port("db")))
            behind, _ = upstream.accept()
            with client, behind:
                client.sendall(b"held")
                began = time.monotonic()
                assert server.stop() == 0
                assert time.monotonic() - began < END_SECONDS


def test_without_a_config_it_starts_empty(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.ready_proxies == 0


def test_a_drawn_seed_is_logged_and_a_given_one_is_used(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-format", "json") as server:
        seed = server.call("GET", "/v1/status")["seed"]
        logged = [json.loads(line) for line in server.log.splitlines()]
        assert {"seed": seed, "drawn": True}.items() <= next(line for line in logged if "seed" in line).items()
    with serving(tmp_path, str(config(tmp_path, "seed: 5\n"))) as server:
        assert server.call("GET", "/v1/status")["seed"] == 5
    with serving(tmp_path, str(config(tmp_path, "seed: 5\n")), "--seed", "7") as server:
        assert server.call("GET", "/v1/status")["seed"] == 7


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_sighup_is_answered_in_the_log_and_ends_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 5.0
        while "restart to read the file again" not in server.log and time.monotonic() < deadline:
            server.call("GET", "/healthz")
        assert "restart to read the file again" in server.log
        assert server.process.poll() is None


def test_a_bad_config_shows_every_error_and_exits_with_two(tmp_path: Path) -> None:
    path = config(tmp_path, "proxies: {db: {listen: 127.0.0.1:0, upstrem: x}}\nsed: 1\n")
    ended = serve(path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{path}:2:37: proxies.db.upstrem: unknown key (did you mean 'upstream'?)" in ended.stderr
    assert f"{path}:3:1: sed: unknown key (did you mean 'seed'?)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_config_exits_with_two(tmp_path: Path) -> None:
    ended = serve(tmp_path / "none.yaml")
    assert ended.returncode == 2
    assert "No such file" in ended.stderr


@pytest.mark.parametrize("loop", LOOPS)
def test_a_taken_control_port_exits_with_three(loop: str) -> None:
    with taken_port() as port:
        ended = serve("--control", f"127.0.0.1:{port}", "--loop", loop)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert f"error: the control API cannot listen on 127.0.0.1:{port}: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("loop", LOOPS)
def test_a_taken_proxy_port_exits_with_three(tmp_path: Path, loop: str) -> None:
    with taken_port() as port:
        path = config(tmp_path, f"proxies: {{db: {{listen: 127.0.0.1:{port}, upstream: 127.0.0.1:1}}}}\n")
        ended = serve(path, "--control", "127.0.0.1:0", "--loop", loop)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_that_is_none_is_a_usage_error() -> None:
    ended = serve("--control", "8474")
    assert ended.returncode == 2
    assert "give host:port" in ended.stderr


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_the_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -S -n 256; exec "$0" "$@"', *chaosproxy_command()]
    with serving(tmp_path, command=limited) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        soft, hard = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5]
        assert soft == hard != "256"
