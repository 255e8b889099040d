"""`serve` as a process: the ready line, signals, exit codes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaosproxy.config import load
from chaosproxy.control.preflight import Refusal, preflight
from chaosproxy.events import TurnsCounted
from chaosproxy.journal.files import read_journal
from chaosproxy.net.kernel.capabilities import probe
from chaosproxy.seed import Seed
from tests.servers.chaos import chaosproxy_command, serving
from tests.servers.namespace import without_net_admin
from tests.servers.processes import wait_until

LOOPS = ("uvloop", "asyncio")


def serve(*words: object, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """A `serve` that is expected to end by itself."""
    return ended("serve", *words, before=before)


def ended(*words: object, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, *chaosproxy_command(), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60.0, check=False)


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
        with urllib.request.urlopen(f"{server.control}/v1/status", timeout=30.0) as answer:
            assert json.load(answer)["loop"] == loop
        assert server.stop(number) == 0


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
                assert server.stop() == 0


def test_without_a_config_it_starts_empty(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.ready_proxies == 0


@pytest.mark.slow  # three servers
def test_a_drawn_seed_is_logged_and_a_given_one_is_used(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-format", "json") as server:
        seed = server.call("GET", "/v1/status")["seed"]
        assert {"seed": seed, "drawn": True}.items() <= json.loads(server.logged('"seed"')[0]).items()
    with serving(tmp_path, str(config(tmp_path, "seed: 5\n"))) as server:
        assert server.call("GET", "/v1/status")["seed"] == 5
    with serving(tmp_path, str(config(tmp_path, "seed: 5\n")), "--seed", "7") as server:
        assert server.call("GET", "/v1/status")["seed"] == 7


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_sighup_is_answered_in_the_log_and_ends_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: this version cannot reload" in server.log, 30.0, "it has answered in its log")
        assert server.process.poll() is None


def test_a_bad_config_shows_every_error_and_exits_with_two(tmp_path: Path) -> None:
    path = config(tmp_path, "proxies: {db: {listen: 127.0.0.1:0, upstrem: x}}\nsed: 1\n")
    ended = serve(path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{path}:2:37: proxies.db.upstrem: " in ended.stderr
    assert f"{path}:3:1: sed: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_config_exits_with_two(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    ended = serve(path)
    assert ended.returncode == 2
    assert f"{path}: " in ended.stderr


@pytest.mark.parametrize("loop", LOOPS)
def test_a_taken_control_port_exits_with_three(loop: str) -> None:
    with taken_port() as port:
        ended = serve("--control", f"127.0.0.1:{port}", "--loop", loop)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("loop", LOOPS)
def test_a_taken_proxy_port_exits_with_three(tmp_path: Path, loop: str) -> None:
    with taken_port() as port:
        path = config(tmp_path, f"proxies: {{db: {{listen: 127.0.0.1:{port}, upstream: 127.0.0.1:1}}}}\n")
        ended = serve(path, "--control", "127.0.0.1:0", "--loop", loop)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert f"{path}:2:24: proxies.db.listen: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_that_is_none_is_a_usage_error() -> None:
    ended = serve("--control", "8474")
    assert ended.returncode == 2
    assert "'--control'" in ended.stderr


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
def test_the_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -S -n 256; exec "$0" "$@"', *chaosproxy_command()]
    with serving(tmp_path, command=limited) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        soft, hard = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5]
        assert soft == hard != "256"


# ── what the kernel does not give ─────────────────────────────────────────────────────────

FAULT_AND_PARTITION = """\
proxies:
  db:
    listen: 127.0.0.1:0
    upstream: 127.0.0.1:1
    from: app
    to: db
    faults:
      lossy: {type: packet_loss, rate: 1%, mode: MODE}
partitions:
  dark:
    from: app
    to: db
    mode: MODE
"""


@pytest.fixture
def unprivileged() -> list[str]:
    """The words before a command that must not have filters."""
    if sys.platform != "linux":
        pytest.skip("what a Linux kernel allows")
    before = without_net_admin()
    found = json.loads(ended("doctor", "--json", before=before).stdout)
    [filters] = [one for one in found["capabilities"] if one["name"] == "filters"]
    if filters["available"]:
        pytest.skip("this kernel gives filters to everybody")
    return before


def test_packets_that_cannot_be_had_are_told_with_place_and_remedy(tmp_path: Path, unprivileged: list[str]) -> None:
    path = config(tmp_path, FAULT_AND_PARTITION.replace("MODE", "packet"))
    refused = serve(path, "--control", "127.0.0.1:0", before=unprivileged)
    assert (refused.returncode, refused.stdout) == (3, "")
    headline, fault, partition = refused.stderr.splitlines()
    assert headline == f"error: {path} has 2 problems:"
    assert fault.startswith(f"{path}:9:50: proxies.db.faults.lossy.mode: ")
    assert partition.startswith(f"{path}:14:11: partitions.dark.mode: ")
    for line in (fault, partition):
        assert "setcap cap_net_admin+ep" in line
        assert line.endswith("(`chaosproxy doctor` explains), or give mode: stream")


def test_check_asks_the_file_and_not_the_machine(tmp_path: Path, unprivileged: list[str]) -> None:
    path = config(tmp_path, FAULT_AND_PARTITION.replace("MODE", "packet"))
    for before in ([], unprivileged):
        checked = ended("check", path, before=before)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert checked.stdout.startswith(f"{path}: OK, 1 proxy, 1 fault")


@pytest.mark.parametrize("loop", LOOPS)
def test_auto_starts_without_the_privilege_and_says_what_it_became(
    tmp_path: Path, unprivileged: list[str], loop: str
) -> None:
    path = config(tmp_path, FAULT_AND_PARTITION.replace("MODE", "auto"))
    words = (str(path), "--loop", loop, "--log-format", "json")
    with serving(tmp_path, *words, command=[*unprivileged, *chaosproxy_command()]) as server:
        [partition] = server.call("GET", "/v1/partitions")["partitions"]
        [fault] = server.call("GET", "/v1/proxies/db/faults")["faults"]
        assert (partition["id"], partition["by"]) == ("dark", "file")
        for one in (partition, fault):
            assert one["effective_mode"] == "stream"
            assert one["mode_reason"].startswith("this kernel requires CAP_NET_ADMIN")
        told = list(map(json.loads, server.logged('"effective_mode": "stream"', count=2)))
        assert [line.get("fault") or line.get("partition") for line in told] == ["lossy", "dark"]
        assert all(line["mode_reason"].startswith("this kernel requires CAP_NET_ADMIN") for line in told)


@pytest.mark.namespace
def test_packets_that_can_be_had_are_had(tmp_path: Path) -> None:
    path = config(tmp_path, FAULT_AND_PARTITION.replace("MODE", "packet"))
    with serving(tmp_path, str(path)) as server:
        [partition] = server.call("GET", "/v1/partitions")["partitions"]
        assert (partition["effective_mode"], partition["mode_reason"]) == ("packet", None)


def test_a_cut_that_the_seed_draws_through_no_proxy_is_located_in_the_file(tmp_path: Path) -> None:
    def text(partition: int) -> str:
        proxies = "".join(
            f"  {one}{other}: {{listen: '127.0.0.1:0', upstream: 'a:1', from: {one}, to: {other}}}\n"
            for one, other in ("ab", "cd")
        )
        return f"proxies:\n{proxies}partitions:\n  p{partition}: {{topology: random-halves}}\n"

    def is_whole(text: str) -> bool:
        """With the seed 0 its cut leaves a with b, and c with d."""
        return isinstance(preflight(load(f"version: 1\n{text}".encode(), "test", {}), Seed(0), probe()), Refusal)

    number = next(number for number in range(100) if is_whole(text(number)))
    path = config(tmp_path, text(number))
    assert ended("check", str(path)).returncode == 0, "another seed can be drawn"
    refused = serve(path, "--control", "127.0.0.1:0", "--seed", "0")
    assert (refused.returncode, refused.stdout) == (3, "")
    where = f"{path}:6:7: partitions.p{number}: "
    assert where in refused.stderr


@pytest.mark.slow
@pytest.mark.namespace
def test_what_a_seed_makes_impossible_is_no_defect(tmp_path: Path) -> None:
    """Which proxies a drawn cut goes through follows from the seed; one on a unix socket has no packets."""
    for seed in range(4):
        proxies = "".join(
            f"  {one}{other}: {{listen: '{listen}', upstream: 'a:1', from: {one}, to: {other}}}\n"
            for one, other, listen in (
                ("a", "b", "127.0.0.1:0"), ("c", "d", "127.0.0.1:0"), ("a", "d", f"unix:{tmp_path}/{seed}.sock"),
            )
        )  # fmt: skip
        path = config(tmp_path, f"proxies:\n{proxies}partitions:\n  dark: {{topology: random-halves, mode: packet}}\n")
        words = [*chaosproxy_command(), "serve", str(path), "--control", "127.0.0.1:0", "--seed", str(seed)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            ready = process.stdout.readline()
            process.terminate()
            _, errors = process.communicate(timeout=60.0)
        assert "Traceback" not in errors, seed
        if not ready:
            assert process.returncode == 3
            assert "which has no packets; use a TCP address, or give mode: stream" in errors, seed


@pytest.mark.parametrize("loop", LOOPS)
def test_a_journal_has_the_events_of_a_connection(tmp_path: Path, loop: str) -> None:
    journal = tmp_path / "journal"
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        target = "{}:{}".format(*upstream.getsockname())
        path = config(tmp_path, f"seed: 5\nproxies: {{db: {{listen: 127.0.0.1:0, upstream: '{target}'}}}}\n")
        with serving(tmp_path, str(path), "--journal", str(journal), "--loop", loop) as server:
            with socket.create_connection(("127.0.0.1", server.port("db"))) as client:
                behind, _ = upstream.accept()
                with behind:
                    client.sendall(b"hello")
                    assert behind.recv(100) == b"hello"
                    behind.sendall(b"hi")
                    assert client.recv(100) == b"hi"
            assert server.stop() == 0
    header, events = read_journal(journal)
    assert header.seed == 5
    wanted = ("proxy_added", "connection_opened", "client_ended", "connection_closed")
    assert [event.kind for event in events if event.kind in wanted] == list(wanted)
    assert sum(event.answered for event in events if isinstance(event, TurnsCounted)) == 1
    assert all(0 <= event.at < 60 for event in events), "in seconds since the start"


def test_a_journal_that_cannot_be_written_exits_with_three_before_a_port_is_bound(tmp_path: Path) -> None:
    with taken_port() as port:
        ended = serve("--control", f"127.0.0.1:{port}", "--journal", tmp_path / "none" / "journal")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.splitlines()[-1].startswith(f"error: cannot write the journal {tmp_path}/none/journal: No such")
