"""`partition`, `crash`, `pause`, `nodes`, and what `status` and `heal` say of them, against a running server.

It runs without CAP_NET_ADMIN and CAP_NET_RAW, so that what the kernel lacks is the same for everybody who runs
the tests.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chaosproxy.cli import main
from chaosproxy.cli.network import draw_matrix
from tests.refused import refused
from tests.servers.chaos import ChaosproxyServer, chaosproxy_command, serving
from tests.servers.namespace import without_privileges

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="what a Linux kernel allows")

CONFIG = """\
version: 1
proxies:
  wire:  {listen: 127.0.0.1:0, upstream: 127.0.0.1:1, from: app, to: db}
  back:  {listen: 127.0.0.1:0, upstream: 127.0.0.1:1, from: db, to: app}
  cache: {listen: 127.0.0.1:0, upstream: 127.0.0.1:1, from: app, to: cache}
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosproxyServer]:
    directory = tmp_path_factory.mktemp("network")
    (directory / "chaos.yaml").write_text(CONFIG)
    unprivileged = without_privileges() if sys.platform == "linux" else []
    with serving(directory, "chaos.yaml", command=[*unprivileged, *chaosproxy_command()]) as server:
        yield server


@pytest.fixture
def server(started: ChaosproxyServer) -> ChaosproxyServer:
    started.heal()
    return started


@pytest.fixture
def poor(server: ChaosproxyServer) -> ChaosproxyServer:
    """The same, if this kernel requires the privilege."""
    [filters] = [one for one in capabilities(server) if one["name"] == "filters"]
    if filters["available"]:
        pytest.skip("this kernel gives filters to everybody")
    return server


def why_invisible(server: ChaosproxyServer) -> str:
    """The reason why connection attempts are not visible."""
    [tap] = [one for one in capabilities(server) if one["name"] == "tap"]
    return f"{tap['lacking']}; {tap['remedy']}"


def capabilities(server: ChaosproxyServer) -> list[dict[str, Any]]:
    return list(server.call("GET", "/v1/capabilities")["capabilities"])


def run(server: ChaosproxyServer, *words: str) -> Result:
    return CliRunner().invoke(main, [words[0], "--url", server.control, *words[1:]])


def partitions(server: ChaosproxyServer) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in server.call("GET", "/v1/partitions")["partitions"]}


def cuts(server: ChaosproxyServer) -> dict[str, list[str]]:
    proxies = server.call("GET", "/v1/proxies")["proxies"]
    return {one["name"]: one["partitions"] for one in proxies if one["partitions"]}


def faults(server: ChaosproxyServer) -> dict[str, list[str]]:
    proxies = server.call("GET", "/v1/proxies")["proxies"]
    return {one["name"]: [fault["name"] for fault in one["faults"]] for one in proxies if one["faults"]}


# ── partition ─────────────────────────────────────────────────────────────────────────────


def test_a_partition_is_made_of_two_words(server: ChaosproxyServer) -> None:
    result = run(server, "partition", "app", "db", "--mode", "stream")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "cut app ⇄ db, on 2 proxies, as partition-1",
        f"connection attempts are not visible: {why_invisible(server)}",
        f"heal it with: chaosproxy heal --partition partition-1 --url {server.control}",
    ]
    assert cuts(server) == {"wire": ["partition-1"], "back": ["partition-1"]}


def test_every_option_reaches_the_server(server: ChaosproxyServer) -> None:
    result = run(
        server, "partition", "app, cache", "db", "--one-way", "--mode", "stream", "--acks", "drop", "--fail-fast",
        "--preset", "flaky-link", "--down", "1m", "--up", "2m", "--ttl", "1h", "--id", "dark", "--allow-empty",
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("cut app → db, cache → db, on 2 proxies, as dark\n")
    wanted = {
        "from": ["app", "cache"], "to": ["db"], "one_way": True, "mode": "stream", "acks": "drop", "fail_fast": True,
        "preset": "flaky-link", "down": "1m", "up": "2m", "ttl": "1h", "allow_empty": True,
    }  # fmt: skip
    [found] = partitions(server).values()
    assert (found["id"], {key: found[key] for key in wanted}) == ("dark", wanted)


@pytest.mark.parametrize(
    ("words", "says", "through"),
    [
        (("--topology", "isolate:cache"), "cut app ⇄ cache, cache ⇄ db, on 1 proxy,", ["cache"]),
        (("--topology", "halves", "--nodes", "db,app"), "cut app ⇄ db, on 2 proxies,", ["wire", "back"]),
        (("--topology", "bridge:app", "--allow-empty"), "cut cache ⇄ db, on 0 proxies,", []),
        (("--group", "app", "--group", "cache,db"), "cut app ⇄ cache, app ⇄ db, on 3 proxies,",
         ["wire", "back", "cache"]),
        (("--topology", "one-way-ring"), "cut app → cache, cache → db, db → app, on 3 proxies,",
         ["wire", "back", "cache"]),
    ],
)  # fmt: skip
def test_a_cut_by_topology_or_by_groups(
    server: ChaosproxyServer, words: tuple[str, ...], says: str, through: list[str]
) -> None:
    result = run(server, "partition", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(says)
    assert list(cuts(server)) == through


def test_a_cut_of_many_pairs_is_told_in_one_line(server: ChaosproxyServer) -> None:
    nodes = [f"n{number}" for number in range(4)]
    for one, other in zip(nodes, nodes[1:], strict=False):
        server.add_proxy(f"{one}-{other}", 1, **{"from": one, "to": other})
    try:
        result = run(server, "partition", ",".join(nodes[:2]), ",".join([*nodes[2:], "db", "app"]))
        assert result.stdout.startswith(
            "cut app ⇄ n0, app ⇄ n1, db ⇄ n0, db ⇄ n1, n0 ⇄ n2, n0 ⇄ n3 and 2 more, on 1 proxy, as partition-1\n"
        )
    finally:
        for one, other in zip(nodes, nodes[1:], strict=False):
            server.call("DELETE", f"/v1/proxies/{one}-{other}")


@linux_only
def test_why_auto_is_stream_is_told(poor: ChaosproxyServer) -> None:
    result = run(poor, "partition", "app", "db")
    assert result.exit_code == 0
    second = result.stdout.splitlines()[1]
    assert second.startswith("mode stream: this kernel requires CAP_NET_ADMIN, which this process does not have; grant")
    assert second.endswith("of your own (`chaosproxy doctor` explains)")


@linux_only
def test_mode_packet_that_cannot_be_had_says_how_to_get_it(poor: ChaosproxyServer) -> None:
    words = ("partition", "app", "db", "--mode", "packet")
    assert refused(run(poor, *words, "--json")) == ["unsupported-mode"]
    result = run(poor, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'wire'" in result.stderr
    assert "setcap cap_net_admin+ep" in result.stderr, "the command that gives the privilege"
    assert partitions(poor) == {}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "missing"),
        (("app",), "to missing"),
        (("app", "bd"), "to unknown-node"),
        (("ap", "db"), "from unknown-node"),
        (("app", "db", "--mode", "paket"), "mode unknown-value"),
        (("app", "db", "--acks", "dropp"), "acks unknown-value"),
        (("app", "db", "--preset", "flaky"), "preset unknown-value"),
        (("app", "db", "--ttl", "30"), "ttl unit-missing"),
        (("app", "db", "--down", "1s"), "down not-applicable"),
        (("app", "db", "--topology", "halves"), "topology invalid-together"),
        (("app", "db", "--nodes", "app"), "nodes not-applicable"),
        (("--topology", "halfs"), "topology unknown-value"),
        (("--topology", "isolate"), "topology missing"),
        (("--topology", "isolate:cahe"), "topology unknown-node"),
        (("--topology", "halves", "--one-way"), "one_way not-applicable"),
        (("--topology", "majorities-ring", "--nodes", "app,db"), "nodes no-effect"),
        (("--group", "app,db"), "groups no-effect"),
        (("db", "cache"), "no-effect"),
    ],
)
def test_a_wrong_word_is_refused(server: ChaosproxyServer, words: tuple[str, ...], problem: str) -> None:
    assert refused(run(server, "partition", *words, "--json")) == [problem]
    assert partitions(server) == {}


def test_what_is_wrong_is_shown_field_by_field(server: ChaosproxyServer) -> None:
    result = run(server, "partition", "app", "--mode", "paket", "--ttl", "30")
    assert (result.exit_code, result.stdout) == (2, "")
    headline, *fields = result.stderr.splitlines()
    assert headline.startswith("error: the partition is not valid; ")
    assert [line.split(": ")[0] for line in fields] == ["  mode", "  ttl"]
    assert "(did you mean 'packet'?)" in fields[0]


def test_an_unknown_option_is_a_usage_error(server: ChaosproxyServer) -> None:
    result = run(server, "partition", "app", "db", "--oneway")
    assert result.exit_code == 2
    assert "--one-way" in result.stderr


def test_an_id_that_is_taken_says_so(server: ChaosproxyServer) -> None:
    assert run(server, "partition", "app", "db", "--id", "dark").exit_code == 0
    assert refused(run(server, "partition", "app", "cache", "--id", "dark", "--json")) == ["name-taken"]
    assert list(cuts(server)) == ["wire", "back"]


def test_wrong_words_are_found_without_a_server() -> None:
    words = ["partition", "app", "db", "--ttl", "5", "--url", "http://127.0.0.1:1", "--json"]
    assert refused(CliRunner().invoke(main, words)) == ["ttl unit-missing"]


# ── crash and pause ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "says", "left", "heal"),
    [
        (("crash", "db"), "crashed node db until healed: wire, back",
         {"wire": ["crash:db"], "back": ["crash:db"]}, "node:db crash:db"),
        (("crash", "db", "--down", "90s"), "crashed node db for 90s: wire, back",
         {"wire": ["crash:db"], "back": ["crash:db"]}, "node:db crash:db"),
        (("pause", "db", "--for", "1h"), "paused node db for 1h: wire, back",
         {"wire": ["pause:db"], "back": ["pause:db"]}, "node:db pause:db"),
        (("crash", "wire"), "crashed proxy wire until healed: wire", {"wire": ["crash"]}, "wire crash"),
        (("pause", "wire", "--for", "1h"), "paused proxy wire for 1h: wire", {"wire": ["pause"]}, "wire pause"),
        (("pause", "cache", "--as", "node"), "paused node cache until healed: cache",
         {"cache": ["pause:cache"]}, "node:cache pause:cache"),
        (("crash", "cache", "--as", "proxy"), "crashed proxy cache until healed: cache",
         {"cache": ["crash"]}, "cache crash"),
    ],
)  # fmt: skip
def test_a_node_or_a_proxy_is_crashed_or_paused(
    server: ChaosproxyServer, words: tuple[str, ...], says: str, left: dict[str, list[str]], heal: str
) -> None:
    result = run(server, *words)
    hidden = [f"connection attempts are not visible: {why_invisible(server)}"] if words[0] == "crash" else []
    remedy = f"heal it with: chaosproxy heal {heal} --url {server.control}"
    assert (result.exit_code, result.stderr, result.stdout.splitlines()) == (0, "", [says, *hidden, remedy])
    assert faults(server) == left
    assert run(server, "heal", *heal.split()).exit_code == 0
    assert not any(faults(server).values())


@pytest.mark.parametrize("verb", ["crash", "pause"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("cache",), "ambiguous-name"),
        (("wir",), "not-found"),
        (("wire", "--as", "node"), "not-found"),
        (("db", "--as", "proxy"), "not-found"),
    ],
)
def test_a_name_that_is_not_clear_is_refused(
    server: ChaosproxyServer, verb: str, words: tuple[str, ...], code: str
) -> None:
    assert refused(run(server, verb, *words, "--json")) == [code]
    assert faults(server) == {}


def test_a_name_that_is_not_clear_is_answered_with_the_choices(server: ChaosproxyServer) -> None:
    assert "--as node or --as proxy" in run(server, "crash", "cache").stderr
    both = run(server, "crash", "cahe").stderr
    assert "(did you mean 'cache'?); nodes: app, db, cache; proxies: wire, back, cache" in both
    assert run(server, "crash", "db", "--as", "server").exit_code == 2


@pytest.mark.parametrize(("verb", "option", "field"), [("crash", "--down", "down"), ("pause", "--for", "for")])
def test_a_wrong_duration_is_refused(server: ChaosproxyServer, verb: str, option: str, field: str) -> None:
    for given, code in (("5", "unit-missing"), ("0s", "out-of-range"), ("soon", "not-a-duration")):
        assert refused(run(server, verb, "db", option, given, "--json")) == [f"{field} {code}"]
    assert faults(server) == {}


# ── who reaches whom ──────────────────────────────────────────────────────────────────────

MATRIX = """\
       app  db  cache  far
app    -    →   ⇄      ·
db     ←    -   ✗      ·
cache  ⇄    ✗   -      ·
far    ·    ·   ·      -

⇄ both ways  → only from the row to the column  ← only the other way  ✗ cut  · no proxy between them
db is paused
far is crashed""".splitlines()


def test_a_matrix_is_drawn_with_arrows() -> None:
    reach = {
        "app": {"db": True, "cache": True, "far": None},
        "db": {"app": False, "cache": False, "far": None},
        "cache": {"app": True, "db": False, "far": None},
        "far": {"app": None, "db": None, "cache": None},
    }
    states = {"app": "up", "db": "paused", "cache": "up", "far": "crashed"}
    assert draw_matrix([{"name": name, "state": state} for name, state in states.items()], reach) == MATRIX


def test_only_signs_that_are_used_are_explained() -> None:
    up = [{"name": "a", "state": "up"}, {"name": "bb", "state": "up"}]
    drawn = draw_matrix(up, {"a": {"bb": True}, "bb": {"a": True}})
    assert drawn == ["    a  bb", "a   -  ⇄", "bb  ⇄  -", "", "⇄ both ways"]


def test_nodes_shows_who_reaches_whom(server: ChaosproxyServer) -> None:
    run(server, "partition", "app", "db", "--one-way")
    run(server, "crash", "cache", "--as", "node")
    result = run(server, "nodes")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "       app  db  cache",
        "app    -    ←   ✗",
        "db     →    -   ·",
        "cache  ✗    ·   -",
        "",
        "→ only from the row to the column  ← only the other way  ✗ cut  · no proxy between them",
        "cache is crashed",
    ]


def test_without_nodes_it_says_how_to_name_some(server: ChaosproxyServer) -> None:
    bodies = [server.call("DELETE", f"/v1/proxies/{name}") for name in ("wire", "back", "cache")]
    assert bodies == [None] * 3
    try:
        assert run(server, "nodes").stdout == "no proxy names a node; add `from` and `to` to proxies\n"
        assert json.loads(run(server, "nodes", "--json").stdout) == {"nodes": [], "reach": {}}
    finally:
        for name, client, other in (("wire", "app", "db"), ("back", "db", "app"), ("cache", "app", "cache")):
            server.add_proxy(name, 1, **{"from": client, "to": other})


# ── status, heal, --json ──────────────────────────────────────────────────────────────────


@linux_only
def test_status_shows_partitions_and_what_the_kernel_lacks(poor: ChaosproxyServer) -> None:
    run(poor, "partition", "app", "db", "--id", "dark")
    run(poor, "crash", "wire")
    lines = run(poor, "status").stdout.splitlines()
    assert lines[1] == "not available on this machine: filters, tap (`chaosproxy doctor` explains)"
    assert lines[2].startswith("connection attempts are not visible: packet sockets need CAP_NET_RAW")
    shown = "\n".join(lines[3:])
    assert shown.count("partition dark") == 2
    first = next(at for at, line in enumerate(lines) if line.startswith("wire"))
    assert lines[first].rstrip().endswith("partition dark")
    assert re.fullmatch(r"crash: refuse existing=reset \(rest, \d+s ago\)", lines[first + 1].strip())


def test_heal_takes_one_partition_then_all(server: ChaosproxyServer) -> None:
    for name in ("one", "two", "three"):
        run(server, "partition", "app", "db", "--id", name)
    run(server, "crash", "cache", "--as", "proxy")
    assert run(server, "heal", "--partition", "two").stdout == "healed partition two\n"
    assert list(partitions(server)) == ["one", "three"]
    near = run(server, "heal", "--partition", "thre")
    assert near.exit_code == 2
    assert "(did you mean 'three'?)" in near.stderr
    both = run(server, "heal", "cache", "--partition", "one")
    assert both.exit_code == 2
    assert both.stderr.splitlines()[1].startswith("  partition: ")
    assert run(server, "heal").stdout == (
        "healed partition one\nhealed partition three\nhealed crash (refuse) on cache\n"
    )
    assert (partitions(server), faults(server)) == ({}, {})


def test_everything_is_told_as_json(server: ChaosproxyServer) -> None:
    def told(*words: str) -> Any:
        result = run(server, *words, "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        return json.loads(result.stdout)

    made = told("partition", "app", "db", "--id", "dark", "--mode", "stream")
    assert (made["id"], made["cut"], made["effective_mode"]) == ("dark", [["app", "db"], ["db", "app"]], "stream")
    assert told("crash", "wire") == {
        "fault": "crash", "type": "refuse", "ttl": None, "proxies": ["wire"],
        "attempts_visible": False, "attempts_reason": why_invisible(server),
    }  # fmt: skip
    assert told("pause", "db", "--for", "1h") == {
        "fault": "pause:db", "type": "pause", "ttl": "1h", "proxies": ["wire", "back"],
    }  # fmt: skip
    assert told("nodes") == server.call("GET", "/v1/nodes")
    assert told("nodes")["reach"]["app"] == {"db": False, "cache": True}
    assert told("status")["partitions"] == ["dark"]
    assert told("heal", "--partition", "dark") == {"removed": [], "partitions": ["dark"]}


def test_the_advice_names_the_server_of_the_environment_too(server: ChaosproxyServer) -> None:
    """It may be pasted into another shell."""
    environment = {**os.environ, "CHAOSPROXY_URL": server.control}
    result = CliRunner().invoke(main, ["partition", "app", "db"], env=environment)
    assert result.stdout.splitlines()[-1] == (
        f"heal it with: chaosproxy heal --partition partition-1 --url {server.control}"
    )
