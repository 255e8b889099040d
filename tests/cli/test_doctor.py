"""`doctor` with the privilege and without it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers.chaos import chaosproxy_command
from tests.servers.namespace import has_net_admin, without_privileges

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


def test_it_names_every_limit_that_clients_can_meet() -> None:
    few = ["sh", "-c", 'ulimit -S -n 200; ulimit -H -n 400; exec "$0" "$@"']
    limits = {one["name"]: one["value"] for one in json.loads(doctor("--json", before=few))["limits"]}
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    connections = limits.pop("connections")
    assert 100 < connections < (400 - 100) // 2
    assert limits == {
        "open_files": 400, "open_files_hard": 400, "reserve": 100, "backlog": min(4096, somaxconn)
    }, "with the soft limit that `serve` raises"  # fmt: skip
    lines = [line.split(":")[0] for line in doctor(before=few).splitlines()]
    assert lines[-5:-2] == ["limit open_files 400", "limit open_files_hard 400", "limit reserve 100"]


@pytest.mark.namespace
def test_with_the_privilege_it_has_everything() -> None:
    assert has_net_admin()
    found = json.loads(doctor("--json"))["capabilities"]
    assert [(one["name"], one["available"], one["lacking"]) for one in found] == [
        ("filters", True, None), ("pacing", True, None), ("tcp_info", True, None), ("tap", True, None),
    ]  # fmt: skip
    names = [line.split(":")[0] for line in doctor().splitlines() if not line.startswith("limit ")]
    assert names == ["yes  filters", "yes  pacing", "yes  tcp_info", "yes  tap"]
