"""`doctor` with the privilege and without it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from chaosproxy.net.kernel.descriptors import RESERVE, file_limit
from tests.servers.chaos import chaosproxy_command, serving
from tests.servers.namespace import has_net_admin, without_privileges

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a Linux kernel allows")


def doctor(*words: str, before: Sequence[str] = ()) -> str:
    command = [*before, *chaosproxy_command(), "doctor", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60.0, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_without_the_privilege_it_says_what_is_lacking_and_how_to_get_it() -> None:
    found = {one["name"]: one for one in json.loads(doctor("--json", before=without_privileges()))["capabilities"]}
    assert list(found) == ["filters", "pacing", "tcp_info", "tap"]
    tap = found["tap"]
    assert tap["lacking"] == "packet sockets need CAP_NET_RAW, which this process does not have"
    for way in ("setcap cap_net_raw+ep", "cap_add: [NET_RAW]", "unshare -Urn"):
        assert way in tap["remedy"]
    filters = found["filters"]
    if filters["available"]:
        pytest.skip("this kernel gives filters to everybody")
    assert filters["lacking"] == "this kernel requires CAP_NET_ADMIN, which this process does not have"
    for way in ("setcap cap_net_admin+ep", "cap_add: [NET_ADMIN]", "unshare -Urn"):
        assert way in filters["remedy"]
    for name in ("pacing", "tcp_info"):
        assert (found[name]["available"], found[name]["lacking"], found[name]["remedy"]) == (True, None, None)

    lines = doctor(before=without_privileges()).splitlines()
    first, *rest, last = [line for line in lines if not line.startswith("limit ")]
    assert first == f"no   filters: {filters['purpose']}; {filters['lacking']}. To get it: {filters['remedy']}"
    assert last == f"no   tap: {tap['purpose']}; {tap['lacking']}. To get it: {tap['remedy']}"
    assert rest == [f"yes  {name}: {found[name]['purpose']}" for name in ("pacing", "tcp_info")]


def limits_by_name(*words: str, before: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(doctor(*words, "--json", before=before))["limits"]}


@pytest.mark.skipif(file_limit().hard < 4 * RESERVE, reason="the limit of open files lowers a default here")
def test_the_documentation_has_each_limit_as_it_is_printed() -> None:
    text = (ROOT / "docs" / "limits.md").read_text()
    table = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in text.splitlines()
             if re.match(r"\| `\S+` \|.*\|.*\|.*\|.*\|$", line)]  # fmt: skip
    documented = [(name, source, default, meaning, at_limit) for name, default, source, meaning, at_limit in table]
    printed = [
        re.fullmatch(r"limit (\S+) (\S+) \((\w+)\): (.*)\. At the limit: (.*)", line)
        for line in doctor().splitlines()
        if line.startswith("limit ")
    ]
    assert all(printed)
    rows = [found.groups() for found in printed if found]
    assert documented == [
        (name, source, value if source == "default" else "", meaning, at_limit)
        for name, value, source, meaning, at_limit in rows
    ]
    example = re.findall(r"^limit (\S+) \S+ \(\w+\)$", text, re.MULTILINE)
    assert example == [row[0] for row in documented] == list(limits_by_name())


def test_a_file_sets_the_limits(tmp_path: Path) -> None:
    file = tmp_path / "chaos.yaml"
    file.write_text(
        "version: 1\nmax_held: 2MiB\nmax_connections: 7\n"
        "control: {limits: {connections: 5000, head_timeout: 2s, idle_timeout: 60s}}"
    )
    few = ["sh", "-c", 'ulimit -n 400; exec "$0" "$@"']
    found = limits_by_name(str(file), before=few)
    assert {name: (one["value"], one["unit"], one["source"]) for name, one in found.items()} == {
        "open_files": (400, "descriptors", "system"),
        "open_files_hard": (400, "descriptors", "system"),
        "reserve": (100, "descriptors", "system"),
        "max_connections": (7, "connections", "configuration"),
        "connections": (7, "connections", "configuration"),
        "backlog": (found["backlog"]["value"], "connections", "system"),
        "max_held": (2 * 2**20, "bytes", "configuration"),
        "control.limits.connections": (80, "connections", "system"),
        "control.limits.connections_per_address": (256, "connections", "default"),
        "control.limits.head_timeout": (2.0, "seconds", "configuration"),
        "control.limits.body_timeout": (10.0, "seconds", "default"),
        "control.limits.send_timeout": (10.0, "seconds", "default"),
        "control.limits.idle_timeout": (60.0, "seconds", "default"),
    }
    assert "limit max_held 2MiB (configuration): " in doctor(str(file), before=few)
    file.write_text("version: 1\nmax_connections: 1000000")
    found = limits_by_name(str(file), before=few)
    assert (found["max_connections"]["value"], found["connections"]["source"]) == (1_000_000, "system")
    assert found["connections"]["value"] < 150


@pytest.mark.parametrize("max_connections", [7, 1_000_000])
def test_a_running_server_has_the_limits_that_doctor_shows(max_connections: int, tmp_path: Path) -> None:
    file = tmp_path / "chaos.yaml"
    file.write_text(
        f"version: 1\nmax_held: 2MiB\nmax_connections: {max_connections}\n"
        "control: {limits: {connections: 5000, head_timeout: 2s}}\n"
        "proxies: {db: {listen: '127.0.0.1:0', upstream: '127.0.0.1:9'}}"
    )
    few = ["sh", "-c", 'ulimit -n 400; exec "$0" "$@"']
    shown = limits_by_name(str(file), before=few)
    with serving(tmp_path, str(file), command=[*few, *chaosproxy_command()]) as server:
        running = {one["name"]: one for one in server.call("GET", "/v1/status")["limits"]}
        control = urlsplit(server.control)
        with contextlib.ExitStack() as clients:
            for _ in range(100):
                clients.enter_context(socket.create_connection((control.hostname, control.port), 60.0))
            assert "\nchaosproxy_control_connections 80.0\n" in server.metrics()
        assert running["control.limits.connections"]["value"] == 80
    fewer = shown["connections"].pop("value") - running["connections"].pop("value")
    assert fewer == 0 if max_connections == 7 else 0 < fewer < 10, "a server has more descriptors of its own"
    assert running == shown
    assert list(running) == list(shown)


def test_a_file_that_is_wrong_is_an_error_as_in_check(tmp_path: Path) -> None:
    file = tmp_path / "chaos.yaml"
    file.write_text("version: 1\nmax_connections: 0")
    ended = subprocess.run(
        [*chaosproxy_command(), "doctor", str(file)], capture_output=True, text=True, timeout=60.0, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[1] == f"{file}:2:18: max_connections: 0 is below 1; use 1 or more"


def test_without_a_file_the_limits_are_those_of_the_system() -> None:
    few = ["sh", "-c", 'ulimit -S -n 200; ulimit -H -n 400; exec "$0" "$@"']
    limits = {name: one["value"] for name, one in limits_by_name(before=few).items() if one["source"] == "system"}
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    connections = limits.pop("connections")
    assert 100 < connections < (400 - 100) // 2
    assert limits == {
        "open_files": 400, "open_files_hard": 400, "reserve": 100, "backlog": min(4096, somaxconn),
        "control.limits.connections": 80,
    }, "with the soft limit that `serve` raises"  # fmt: skip
    lines = [line.split(":")[0] for line in doctor(before=few).splitlines()]
    assert [line for line in lines if "_files" in line or "reserve" in line] == [
        "limit open_files 400 (system)", "limit open_files_hard 400 (system)", "limit reserve 100 (system)"
    ]  # fmt: skip


@pytest.mark.namespace
def test_with_the_privilege_it_has_everything() -> None:
    assert has_net_admin()
    found = json.loads(doctor("--json"))["capabilities"]
    assert [(one["name"], one["available"], one["lacking"]) for one in found] == [
        ("filters", True, None), ("pacing", True, None), ("tcp_info", True, None), ("tap", True, None),
    ]  # fmt: skip
    names = [line.split(":")[0] for line in doctor().splitlines() if not line.startswith("limit ")]
    assert names == ["yes  filters", "yes  pacing", "yes  tcp_info", "yes  tap"]
