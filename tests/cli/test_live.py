"""`status`, `inject` and `heal` against a running server."""

from __future__ import annotations

import json
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result

from chaosproxy.cli import main
from tests.origins import without_origins
from tests.refused import refused
from tests.servers.chaos import ChaosproxyServer, serving

CONFIG = """\
version: 1
policy: {listen: [127.0.0.1, "unix:/*"]}
proxies:
  db: {listen: 127.0.0.1:0, upstream: 127.0.0.1:1}
  web: {listen: 127.0.0.1:0, upstream: 127.0.0.1:1, protocol: http, faults: {slow: {type: latency, delay: 10ms}}}
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosproxyServer]:
    directory = tmp_path_factory.mktemp("live")
    (directory / "chaos.yaml").write_text(CONFIG)
    with serving(directory, "chaos.yaml") as server:
        yield server


@pytest.fixture
def server(started: ChaosproxyServer) -> ChaosproxyServer:
    started.heal()
    for proxy in started.call("GET", "/v1/proxies")["proxies"]:
        if proxy["name"] not in ("db", "web"):  # another test has added it
            started.call("DELETE", f"/v1/proxies/{quote(proxy['name'], safe='')}")
    started.inject("web", "slow", type="latency", delay="10ms")
    return started


def run(server: ChaosproxyServer, *words: str) -> Result:
    return CliRunner().invoke(main, [words[0], "--url", server.control, *words[1:]])


def faults(server: ChaosproxyServer, proxy: str) -> dict[str, dict[str, object]]:
    listed = without_origins(server.call("GET", f"/v1/proxies/{proxy}/faults"))["faults"]
    return {fault["name"]: fault for fault in listed}


def test_status_shows_proxies_and_their_faults(server: ChaosproxyServer) -> None:
    result = run(server, "status")
    assert result.exit_code == 0
    assert f"seed {server.call('GET', '/v1/status')['seed']}" in result.stdout
    rows = {line.split()[0]: line for line in result.stdout.splitlines()[2:]}
    assert list(rows) == ["db", "web"]
    assert f"127.0.0.1:{server.port('db')}" in rows["db"]
    assert re.search(r" file, \d+m?s ago ", rows["db"])
    assert re.search(r"slow: latency delay=10ms downstream \(rest, \d+m?s ago\)", rows["web"])


def test_status_shows_partitions_also_those_that_cut_no_proxy(server: ChaosproxyServer) -> None:
    server.add_proxy("wire", 9, **{"from": "app", "to": "store"})
    server.add_proxy("back", 9, **{"from": "store", "to": "other"})
    one_way = {"from": "app", "to": "store", "one_way": True, "mode": "stream", "ttl": "1h"}
    server.call("POST", "/v1/partitions", {"id": "dark", **one_way})
    server.call("POST", "/v1/partitions", {"id": "empty", "from": "app", "to": "other", "allow_empty": True})
    rows = {line.split()[0]: line for line in run(server, "status").stdout.splitlines() if line}
    assert re.search(r"dark +app → store +stream +wire +rest, \d+m?s ago +in (1h|59m) *$", rows["dark"])
    assert re.search(r"empty +app ⇄ other +- +no proxy +rest, \d+m?s ago +when healed *$", rows["empty"])


def test_a_proxy_that_does_not_listen_is_shown_by_heal_and_status(server: ChaosproxyServer, tmp_path: Path) -> None:
    path = tmp_path / "sock"
    server.call("PATCH", "/v1/proxies/db", {"enabled": False})
    server.call("POST", "/v1/proxies", {"name": "lost", "listen": f"unix:{path}", "upstream": "127.0.0.1:1"})
    server.inject("lost", "down", type="refuse")
    path.unlink()
    path.write_text("not a socket")
    result = run(server, "heal")
    assert result.exit_code == 2
    assert "removed 2 faults and 0 partitions, but cannot listen again yet" in result.stderr
    assert f"proxies.lost.listen: cannot listen on unix:{path}: Address already in use" in result.stderr
    rows = {line.split()[0]: line for line in run(server, "status").stdout.splitlines()[2:]}
    assert re.search(r"127\.0\.0\.1:\d+ \(disabled\)", rows["db"])
    assert "cannot listen on" in rows["lost"]
    path.unlink()
    assert run(server, "heal").exit_code == 0
    server.call("PATCH", "/v1/proxies/db", {"enabled": True})


def test_status_as_json_is_what_the_server_says(server: ChaosproxyServer) -> None:
    told = json.loads(run(server, "status", "--json").stdout)
    assert [proxy["name"] for proxy in told["proxies"]] == ["db", "web"]


def test_inject_places_what_the_words_say(server: ChaosproxyServer) -> None:
    result = run(server, "inject", "db", "latency", "delay=20ms", "wave.amplitude=5ms", "wave.period=2s",
                 "--name", "far", "--direction", "both", "--probability", "20%", "--ttl", "1m", "--nth", "3",
                 "--skip", "2", "--count", "9")  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    assert "injected far: latency" in result.stdout
    assert "wave.amplitude=5ms" in result.stdout
    assert faults(server, "db")["far"] == {
        "name": "far", "type": "latency", "direction": "both", "probability": 0.2, "ttl": "1m", "nth": 3, "skip": 2,
        "count": 9, "delay": "20ms", "wave": {"amplitude": "5ms", "period": "2s"},
    }  # fmt: skip


def test_a_fault_on_messages_is_shown_as_it_is_injected(server: ChaosproxyServer) -> None:
    server.add_proxy("api", 9, protocol="http")
    words = ["match.method=POST,PUT", "match.headers.x-tenant=acme", "match.query.debug=true", "remove=Date,ETag"]
    result = run(server, "inject", "api", "http_headers", *words, "--name", "less")
    assert result.stderr == ""
    assert all(word in result.stdout.split() for word in words), result.stdout
    result = run(server, "inject", "api", "http_abort", 'body={"error": "overloaded"}')
    assert """ 'body={"error": "overloaded"}' """ in result.stdout


def test_inject_by_a_name_that_is_there_changes_the_fault(server: ChaosproxyServer) -> None:
    result = run(server, "inject", "web", "latency", "delay=30ms", "--name", "slow")
    assert result.stdout.startswith("changed slow:")
    assert faults(server, "web")["slow"]["delay"] == "30ms"


def test_inject_without_a_name_gets_one(server: ChaosproxyServer) -> None:
    named = json.loads(run(server, "inject", "db", "stall", "--json").stdout)["name"]
    assert list(faults(server, "db")) == [named]


def test_inject_places_a_fault_on_messages(server: ChaosproxyServer) -> None:
    result = run(server, "inject", "web", "http_abort", "status=503", "match.path=/x/*", "match.method=POST,PUT",
                 "match.headers.x-a=true", "match.headers.x-b=acme", "match.query.page=2", 'body={"a":1}',
                 "headers.X-Why=chaos", "--name", "gone")  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("injected gone: http_abort ") and "match.headers.x-a=true" in result.stdout
    active = faults(server, "web")["gone"]
    assert active == {
        "name": "gone", "type": "http_abort", "direction": "upstream", "probability": 1.0, "ttl": None,
        "body": {"a": 1}, "headers": {"X-Why": "chaos"},
        "match": {
            "path": "/x/*", "method": ["POST", "PUT"], "headers": {"x-a": True, "x-b": "acme"}, "query": {"page": "2"},
        },
    }  # fmt: skip


def test_what_is_shown_of_a_fault_on_messages_can_be_injected(server: ChaosproxyServer) -> None:
    given = ["match.path=/x/*", "match.method=POST", "match.headers.x-a=true", "status=429",
             'body={"a": [1, 2]}', "match.client=10.0.0.0/8,::1", "headers.X-Why=two words"]  # fmt: skip
    shown = run(server, "inject", "web", "http_abort", *given, "--name", "one").stdout.splitlines()[0]
    words = shlex.split(shown.partition("http_abort ")[2].removesuffix(" upstream on web"))
    assert run(server, "inject", "web", "http_abort", *words, "--name", "two").exit_code == 0
    one, two = (faults(server, "web")[name] for name in ("one", "two"))
    assert {**one, "name": ""} == {**two, "name": ""}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("db", "http_abort"), "type not-applicable"),
        (("web", "http_abort", "match.pth=/"), "match.pth unknown-key"),
        (("web", "http_abort", "match.status=500"), "match.status not-applicable"),
        (("web", "http_abort", "match=/x"), "match wrong-type"),
        (("web", "http_drop_response", "--direction", "upstream"), "direction not-applicable"),
        (("web", "http_truncate"), "share missing"),
        (("web", "latency", "delay=1s", "match.path=/"), "match not-applicable"),
    ],
)
def test_a_fault_on_messages_that_is_wrong_is_refused(
    server: ChaosproxyServer, words: tuple[str, ...], problem: str
) -> None:
    before = faults(server, "web"), faults(server, "db")
    assert refused(run(server, "inject", *words, "--json")) == [problem]
    assert (faults(server, "web"), faults(server, "db")) == before


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("db", "latncy"), "unknown-fault-type"),
        (("db", "latency", "dely=1s"), "dely unknown-key"),
        (("db", "latency", "delay=10"), "delay unit-missing"),
        (("db", "latency"), "delay missing"),
        (("db", "stall", "--nth", "x"), "nth wrong-type"),
        (("db", "stall", "--direction", "up"), "direction unknown-value"),
        (("dbb", "stall"), "not-found"),
        (("db", "latency", "delay=1s", "match.path=/x"), "match not-applicable"),
    ],
)
def test_inject_that_is_wrong_is_refused(server: ChaosproxyServer, words: tuple[str, ...], problem: str) -> None:
    assert refused(run(server, "inject", *words, "--json")) == [problem]
    assert faults(server, "db") == {}


def test_what_is_wrong_is_shown_field_by_field_with_what_exists(server: ChaosproxyServer) -> None:
    result = run(server, "inject", "db", "latency", "dely=1s", "jitter=10")
    assert (result.exit_code, result.stdout) == (2, "")
    headline, *fields = result.stderr.splitlines()
    assert headline == "error: the parameters of latency are wrong; `chaosproxy faults latency` explains them"
    assert [line.split(": ")[0] for line in fields] == ["  dely", "  jitter"]
    assert "(did you mean 'delay'?)" in fields[0]


@pytest.mark.parametrize(("name", "code"), [("two\nlines", "invalid-name"), ("", "empty")])
def test_a_name_that_is_wrong_is_shown_as_that(server: ChaosproxyServer, name: str, code: str) -> None:
    result = run(server, "inject", "db", "stall", "--name", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[1].startswith("  name: ")
    assert refused(run(server, "inject", "db", "stall", "--name", name, "--json")) == [f"name {code}"]


def test_what_the_server_refuses_is_shown_field_by_field(server: ChaosproxyServer) -> None:
    """Only the server knows that the proxy is tcp."""
    result = run(server, "inject", "db", "http_abort")
    assert (result.exit_code, result.stdout) == (2, "")
    headline, field = result.stderr.splitlines()
    assert headline == "error: the server refused the request"
    assert field.startswith("  type: ")


def test_heal_takes_one_fault_then_a_proxys_then_all(server: ChaosproxyServer) -> None:
    for name in ("a", "b", "c"):
        server.inject("db", name, type="stall")
    assert run(server, "heal", "db", "b").stdout == "healed b (stall) on db\n"
    assert list(faults(server, "db")) == ["a", "c"]
    assert run(server, "heal", "db").stdout == "healed a (stall) on db\nhealed c (stall) on db\n"
    assert json.loads(run(server, "heal", "--json").stdout) == {
        "removed": [{"proxy": "web", "fault": "slow", "type": "latency"}],
        "partitions": [],
    }
    assert run(server, "heal").stdout == "there was nothing to heal\n"


def test_heal_of_what_is_not_there_says_so(server: ChaosproxyServer) -> None:
    result = run(server, "heal", "web", "slo")
    assert result.exit_code == 2
    assert "did you mean 'slow'?" in result.stderr


def test_the_printed_command_heals_whatever_the_names_are(server: ChaosproxyServer) -> None:
    server.add_proxy("-odd", 9, **{"from": "a b", "to": "store"})
    for command in (
        ("inject", "--", "-odd", "stall"),
        ("inject", "db", "stall", "--name", "it's"),
        ("crash", "--as", "node", "a b"),
    ):
        remedy = run(server, *command).stdout.splitlines()[-1].removeprefix("heal it with: chaosproxy ")
        assert CliRunner().invoke(main, shlex.split(remedy)).stdout.startswith("healed "), remedy
    one_way = {"id": "it's dark", "from": "a b", "to": "store", "mode": "stream"}
    server.call("POST", "/v1/partitions", one_way)
    remedy = run(server, "heal", "--", "-odd").stdout.splitlines()[-1].partition("heal it with: chaosproxy ")[2]
    assert CliRunner().invoke(main, shlex.split(remedy)).stdout == "healed partition it's dark\n"


def test_no_server_says_what_to_start_and_exits_with_three() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = CliRunner().invoke(main, ["status"], env={"CHAOSPROXY_URL": f"http://127.0.0.1:{port}"})
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"http://127.0.0.1:{port}" in result.stderr
    assert "chaosproxy serve" in result.stderr, "the command to run"
    as_json = CliRunner().invoke(main, ["status", "--json"], env={"CHAOSPROXY_URL": f"http://127.0.0.1:{port}"})
    assert json.loads(as_json.stderr)["code"] == "no-server"


@pytest.mark.parametrize("url", ["127.0.0.1:8474", "ftp://x", "http://", "http://x:port"])
def test_a_url_that_is_none_is_a_usage_error(url: str) -> None:
    assert refused(CliRunner().invoke(main, ["status", "--url", url, "--json"])) == ["malformed"]


def test_the_token_opens_what_is_closed_without_it(tmp_path: Path) -> None:
    (tmp_path / "closed.yaml").write_text("version: 1\ncontrol: {token: secret}\n")
    with serving(tmp_path, "closed.yaml") as closed:
        without = run(closed, "status")
        assert without.exit_code == 2
        assert "CHAOSPROXY_TOKEN" in without.stderr
        assert refused(run(closed, "status", "--json")) == ["unauthorized"]
        assert run(closed, "status", "--token", "secret").exit_code == 0
        assert refused(run(closed, "status", "--token", "wrong", "--json")) == ["unauthorized"]
        allowed = CliRunner().invoke(main, ["status", "--url", closed.control], env={"CHAOSPROXY_TOKEN": "secret"})
        assert allowed.exit_code == 0


class _Stranger(BaseHTTPRequestHandler):
    """A server that is no chaosproxy."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_another_server_is_not_taken_for_ours() -> None:
    with HTTPServer(("127.0.0.1", 0), _Stranger) as stranger:
        thread = threading.Thread(target=stranger.handle_request)
        thread.start()
        result = CliRunner().invoke(main, ["status", "--json", "--url", f"http://127.0.0.1:{stranger.server_port}"])
        thread.join()
    assert result.exit_code == 3
    assert json.loads(result.stderr)["code"] == "no-server"


SEVERAL = [
    ("d*", ["db"]),
    ("*", ["db", "web"]),
    ("service:shop", ["shop-1", "shop-2"]),
    ("node:app", ["shop-1", "shop-2"]),
    ("node:one", ["shop-1"]),
]


@pytest.mark.parametrize(("selector", "names"), SEVERAL)
def test_inject_and_heal_take_a_selector_for_several_proxies(
    server: ChaosproxyServer, selector: str, names: list[str]
) -> None:
    if selector.partition(":")[0] in ("service", "node"):
        for number, node in ((1, "one"), (2, "two")):
            server.add_proxy(f"shop-{number}", 9, service="shop", **{"from": "app", "to": node})
    server.inject("db", "other", type="stall")
    result = run(server, "inject", selector, "latency", "delay=20ms", "--name", "far")
    assert (result.exit_code, result.stderr) == (0, "")
    injected, heal_it = result.stdout.splitlines()
    assert injected == f"injected far: latency delay=20ms downstream on {', '.join(names)}"
    assert all("far" in faults(server, name) for name in names)

    words = shlex.split(heal_it.removeprefix("heal it with: chaosproxy "))
    assert words[:3] == ["heal", selector, "far"]
    assert run(server, *words[:3]).stdout == "".join(f"healed far (latency) on {name}\n" for name in names)
    assert list(faults(server, "db")) == ["other"]


def test_inject_on_several_proxies_as_json_lists_them(server: ChaosproxyServer) -> None:
    told = json.loads(run(server, "inject", "*", "stall", "--json").stdout)
    assert (told["name"], [one["proxy"] for one in told["faults"]]) == ("stall-1", ["db", "web"])


@pytest.mark.parametrize(
    ("words", "problem", "named"),
    [
        (("inject", "bd*", "stall"), "proxies not-found", "'bd*'"),
        (("inject", "dbb*", "stall"), "proxies not-found", "(did you mean 'db*'?)"),
        (("inject", "service:x", "stall"), "service not-found", "'x'"),
        (("inject", "node:x", "stall"), "node not-found", "'x'"),
        (("inject", "servce:x", "stall"), "unknown-value", "(did you mean 'service'?)"),
        (("inject", "*", "http_abort"), "type not-applicable", "'db'"),
        (("inject", "*", "stall", "--name", "slow"), "name-taken", "'web'"),
        (("heal", "x*"), "proxies not-found", "'x*'"),
        (("heal", "service:"), "service not-found", "''"),
        (("heal", ""), "not-found", "''"),
    ],
)
def test_a_selector_that_is_wrong_changes_nothing(
    server: ChaosproxyServer, words: tuple[str, ...], problem: str, named: str
) -> None:
    server.inject("db", "other", type="stall")
    result = run(server, *words, "--json")
    assert refused(result) == [problem]
    assert named in result.stderr
    assert (list(faults(server, "db")), list(faults(server, "web"))) == (["other"], ["slow"])


def test_a_proxy_that_is_called_like_a_selector_is_that_proxy(server: ChaosproxyServer) -> None:
    server.add_proxy("node:db", 9)
    injected, _ = run(server, "inject", "node:db", "stall").stdout.splitlines()
    assert injected == "injected stall-1: stall downstream on node:db"
    assert run(server, "heal", "node:db").stdout == "healed stall-1 (stall) on node:db\n"
