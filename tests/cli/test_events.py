"""`events`: against a running server, against one that loses connections, and with readers that leave."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import pytest
from click.testing import CliRunner, Result

from chaosproxy.cli import event_source, main
from chaosproxy.cli.client import Client, Stream
from chaosproxy.cli.event_source import StdoutWatch
from chaosproxy.cli.event_text import event_line
from tests.refused import refused
from tests.servers.chaos import ChaosproxyServer, chaosproxy_command, serving
from tests.servers.processes import wait_until

CONFIG = """\
version: 1
proxies:
  db: {listen: 127.0.0.1:0, upstream: 127.0.0.1:1}
  web: {listen: 127.0.0.1:0, upstream: 127.0.0.1:1, faults: {slow: {type: latency, delay: 10ms}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosproxyServer]:
    directory = tmp_path_factory.mktemp("events")
    (directory / "chaos.yaml").write_text(CONFIG)
    with serving(directory, "chaos.yaml") as server:
        yield server


def run(url: str, *words: str) -> Result:
    return CliRunner().invoke(main, ["events", "--url", url, *words])


def following(server: ChaosproxyServer, *words: str) -> subprocess.Popen[str]:
    command = [*chaosproxy_command(), "events", "--url", server.control, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ── kept events ───────────────────────────────────────────────────────────────────────────


def test_kept_events_are_printed_as_in_the_log_also_those_of_the_start(server: ChaosproxyServer) -> None:
    result = run(server.control, "--no-follow")
    assert (result.exit_code, result.stderr) == (0, "")
    db, web = (line for line in result.stdout.splitlines() if " proxy_added " in line)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z proxy_added proxy=db listen=127\.0\.0\.1:", db)
    assert " proxy=web " in web and " by=file" in web
    logged = server.logged(" proxy_added proxy=db ")[0].strip()
    assert db.partition(" proxy_added ")[2] == logged.partition(" proxy_added ")[2]


def test_json_is_the_data_of_each_event_on_a_line(server: ChaosproxyServer) -> None:
    result = run(server.control, "--no-follow", "--json", "--proxy", "web", "--kind", "fault_added")
    assert (result.exit_code, result.stderr) == (0, "")
    first = json.loads(result.stdout.splitlines()[0])
    assert (first["kind"], first["proxy"], first["fault"], first["by"]) == ("fault_added", "web", "slow", "file")


def test_filters_are_repeated_and_since_leaves_older_ones_out(server: ChaosproxyServer) -> None:
    kinds = ["--kind", "proxy_added", "--kind", "fault_added", "--proxy", "db", "--proxy", "web"]
    lines = run(server.control, "--no-follow", *kinds).stdout.splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["proxy_added", "proxy_added", "fault_added"]
    assert run(server.control, "--no-follow", *kinds, "--since", "0s").stdout == ""
    assert run(server.control, "--no-follow", *kinds, "--since", "1h").stdout.splitlines() == lines


@pytest.mark.parametrize(
    ("words", "problem", "named"),
    [
        (("--kind", "fault_aded"), "kind unknown-value", "did you mean 'fault_added'?"),
        (("--since", "10"), "since unit-missing", "has no unit"),
        (("--proxy", "dbb"), "not-found", "did you mean 'db'?"),
    ],
)
def test_a_wrong_option_is_refused(server: ChaosproxyServer, words: Sequence[str], problem: str, named: str) -> None:
    result = run(server.control, *words, "--json")
    assert refused(result) == [problem]
    assert named in result.stderr


def test_no_server_and_another_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = run(f"http://127.0.0.1:{port}")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "chaosproxy serve" in result.stderr
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
    with Scripted(page) as stranger:
        result = run(stranger.url, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stderr)["code"] == "no-server"


def test_the_token_is_needed(tmp_path: Path) -> None:
    (tmp_path / "closed.yaml").write_text("version: 1\ncontrol: {token: secret}\n")
    with serving(tmp_path, "closed.yaml") as closed:
        assert refused(run(closed.control, "--no-follow", "--json")) == ["unauthorized"]
        assert run(closed.control, "--no-follow", "--token", "secret").exit_code == 0


# ── the text ──────────────────────────────────────────────────────────────────────────────


def test_a_line_has_time_kind_and_fields() -> None:
    event = {
        "kind": "client_gave_up", "at": "2026-03-01T09:30:00.000Z", "proxy": "db", "waited_s": 1.25, "held_by": None,
        "request": "GET /a b", "shape": "", "faults": ["a", "b"], "answer_arrived": False,
    }  # fmt: skip
    assert event_line(event) == (
        "2026-03-01T09:30:00.000Z client_gave_up proxy=db waited_s=1.25 held_by=null "
        'request="GET /a b" shape="" faults=["a", "b"] answer_arrived=false'
    )


HOSTILE = "\x1b[2J\u202e\n2026 proxy_added"


def test_control_characters_are_shown_escaped(server: ChaosproxyServer) -> None:
    data = {"kind": "not_framed", "at": "now", "proxy": "db", "reason": HOSTILE}
    with Scripted(stream_of(event(1, data), end=True)) as scripted:
        text = run(scripted.url, "--no-follow").stdout
    with Scripted(stream_of(event(1, data), end=True)) as scripted:
        as_json = run(scripted.url, "--no-follow", "--json").stdout
    assert text == 'now not_framed proxy=db reason="\\u001b[2J\\u202e\\n2026 proxy_added"\n'
    assert as_json.isascii() and as_json.count("\n") == 1 and json.loads(as_json) == data


def test_counts_are_printed_as_text_only_if_they_are_asked_for() -> None:
    counted = event(1, {"kind": "turns_counted", "at": "now", "proxy": "db", "seconds": 1.0})
    lagged = event(2, {"kind": "lagged", "at": "now", "missed": 3})
    for words, kinds in (
        ((), ["lagged"]),
        (("--kind", "turns_counted"), ["turns_counted", "lagged"]),
        (("--json",), ["turns_counted", "lagged"]),
    ):
        with Scripted(stream_of(counted, lagged, end=True)) as scripted:
            lines = run(scripted.url, "--no-follow", *words).stdout.splitlines()
        found = [json.loads(line)["kind"] if words == ("--json",) else line.split()[1] for line in lines]
        assert found == kinds


# ── following ─────────────────────────────────────────────────────────────────────────────


def event(number: int, data: dict[str, Any]) -> bytes:
    return f"id: {number}\nevent: {data['kind']}\ndata: {json.dumps(data)}\n\n".encode()


def removed(number: int) -> bytes:
    return event(number, {"kind": "proxy_removed", "at": "now", "proxy": f"p{number}", "by": "test"})


def stream_of(*blocks: bytes, end: bool, run: str = "one") -> bytes:
    """Return a response in chunks; without `end` the connection is lost after them."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nChaosproxy-Run: {run}\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(block), block) for block in blocks)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + (b"0\r\n\r\n" if end else b"")


PROBLEM = b'{"code": "not-found", "detail": "the end of the script"}'
GONE = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n" % len(PROBLEM)


class Scripted:
    """A server that sends one response per connection, and then closes it."""

    def __init__(self, *responses: bytes) -> None:
        self._responses = responses
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.resumed: list[str | None] = []
        """The Last-Event-ID of each request."""
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30.0)
        self._listener.close()
        assert not self._thread.is_alive(), "not every response was requested"

    def _serve(self) -> None:
        for response in self._responses:
            client, _ = self._listener.accept()
            with client:
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += client.recv(65536)
                found = re.search(rb"Last-Event-ID: (.*)\r", request)
                self.resumed.append(found and found[1].decode())
                client.sendall(response)
        self._listener.close()  # further connections are refused


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try to connect again without waiting."""
    monkeypatch.setattr(event_source, "FIRST_DELAY_S", 0.001)


@pytest.mark.usefixtures("quick")
def test_a_lost_stream_resumes_after_the_last_event() -> None:
    begin = b": the stream begins\nid: 4\n\n"
    script = [
        stream_of(begin, end=False),
        stream_of(removed(5), removed(6) + removed(7)[:-1], end=False),
        stream_of(removed(7), end=True),
        stream_of(removed(8), b": heartbeat\nid: 30\n\n", end=False),
        GONE + PROBLEM,
    ]
    with Scripted(*script) as scripted:
        result = run(scripted.url, "--json")
    assert scripted.resumed == [None, "4", "6", "7", "30"]
    assert [json.loads(line)["proxy"] for line in result.stdout.splitlines()] == ["p5", "p6", "p7", "p8"]
    assert (result.exit_code, result.stderr.count("was lost"), result.stderr.count(" again\n")) == (2, 4, 3 + 4)
    assert "the end of the script" in result.stderr


@pytest.mark.usefixtures("quick")
def test_a_server_that_was_restarted_is_followed_from_its_first_event() -> None:
    script = [
        stream_of(removed(5), end=False),
        stream_of(removed(6), end=False, run="two"),  # number 6 of other events
        stream_of(removed(1), removed(2), end=False, run="two"),
        GONE + PROBLEM,
    ]
    with Scripted(*script) as scripted:
        result = run(scripted.url)
    assert scripted.resumed == [None, "5", "0", "2"]
    assert re.findall(r"proxy=(p\d)", result.stdout) == ["p5", "p1", "p2"]
    assert "the server was restarted" in result.stderr


def test_kept_events_that_are_cut_short_are_an_error() -> None:
    with Scripted(stream_of(removed(1), end=False)) as scripted:
        result = run(scripted.url, "--no-follow")
    assert (result.exit_code, result.stdout.count("\n")) == (3, 1)
    assert "was lost before the last event" in result.stderr


@pytest.mark.usefixtures("quick")
def test_waits_between_attempts_grow_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Clock(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            waited.append(timeout)
            if len(waited) == 20:
                raise KeyboardInterrupt
            return False

    def watched(self: StdoutWatch) -> None:
        self.closed = Clock()
        self._stream = None

    monkeypatch.setattr(StdoutWatch, "__init__", watched)
    monkeypatch.setattr(event_source, "FIRST_DELAY_S", 0.001)
    with Scripted(stream_of(removed(1), end=False)) as scripted:
        result = run(scripted.url)
    assert (result.exit_code, result.stderr.count("\n")) == (0, 1), "it says once that the connection was lost"
    assert waited[:4] == [0.001, 0.002, 0.004, 0.008] and waited[-1] == event_source.LONGEST_DELAY_S


def test_following_prints_each_event_as_it_happens_until_it_is_interrupted(server: ChaosproxyServer) -> None:
    process = following(server, "--json", "--kind", "fault_added", "--since", "1h", "--proxy", "web")
    assert process.stdout is not None and process.stderr is not None
    with process:
        assert json.loads(process.stdout.readline())["fault"] == "slow"
        server.inject("web", "later", type="stall")
        assert json.loads(process.stdout.readline())["fault"] == "later"
        process.send_signal(signal.SIGINT)
        assert process.wait(30.0) == 0
        assert (process.stdout.read(), process.stderr.read()) == ("", "")


@pytest.mark.parametrize("words", [(), ("--since", "1h"), ("--no-follow",)])
def test_a_reader_that_leaves_ends_the_command(server: ChaosproxyServer, words: Sequence[str]) -> None:
    """Also while nothing is printed: `events | head -1` must not wait for another event."""
    process = following(server, *words)
    assert process.stdout is not None and process.stderr is not None
    if words:
        assert " proxy_added " in process.stdout.readline()
    process.stdout.close()
    assert process.wait(30.0) == 0
    with process.stderr as stderr:
        assert stderr.read() == ""


@pytest.mark.slow
def test_a_server_that_stops_ends_at_once_and_is_followed_when_it_is_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        control = f"127.0.0.1:{probe.getsockname()[1]}"
    (tmp_path / "chaos.yaml").write_text(f"{CONFIG}control: {{listen: '{control}'}}\n")
    log = tmp_path / "log"
    with ExitStack() as processes, log.open("w") as stderr:

        def start(*words: str, stderr: int | TextIO = subprocess.DEVNULL) -> tuple[subprocess.Popen[str], TextIO]:
            command = [*chaosproxy_command(), *words]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
            assert process.stdout is not None
            processes.enter_context(process)
            processes.callback(process.kill)
            return process, process.stdout

        first, stdout = start("serve", str(tmp_path / "chaos.yaml"))
        assert stdout.readline().startswith("ready ")
        words = ("--url", f"http://{control}", "--since", "1h", "--kind", "fault_added")
        follower, lines = start("events", *words, stderr=stderr)
        assert " fault=slow " in lines.readline()
        first.send_signal(signal.SIGTERM)
        assert first.wait(30.0) == 0
        wait_until(lambda: "was lost" in log.read_text(), 30.0, "it says that the connection was lost")
        start("serve", str(tmp_path / "chaos.yaml"))
        assert " fault=slow " in lines.readline(), "that of the second server"
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30.0) == 0
    assert "the server was restarted" in log.read_text()


def test_a_stream_that_is_interrupted_ends() -> None:
    hold = threading.Event()

    class Held(Scripted):
        def _serve(self) -> None:
            client, _ = self._listener.accept()
            with client:
                client.recv(65536)
                client.sendall(stream_of(removed(1), end=False))
                hold.wait(30.0)

    with Held() as scripted:
        with Client(scripted.url, None).stream("events", query=[], last_id="", silence_s=30.0) as stream:
            assert isinstance(stream, Stream)
            chunks = stream.chunks()
            assert next(chunks) == removed(1)
            threading.Timer(0.05, stream.interrupt).start()
            with pytest.raises(Exception, match="IncompleteRead"):
                next(chunks)
        hold.set()


def test_reactions_are_sentences() -> None:
    at = "2026-01-31T12:00:00.123Z"
    moved = {"kind": "service_failed_over", "at": at, "service": "d\x1b b", "from_proxy": "db1", "to_proxy": "db2",
             "detect_s": 0.5, "after_s": 1.83, "share": 0.97, "faults": ["db1/dark", "db1/slow"]}  # fmt: skip
    assert event_line(moved) == (
        f'{at} service_failed_over service "d\\u001b b" moved from db1 to db2, 1.83 s after db1/dark, db1/slow began '
        "(0.5 s to notice), 97% of its load so far"
    )
    assert "to notice" not in event_line({**moved, "detect_s": None})
    recovered = {"kind": "service_recovered", "at": at, "proxy": "db1", "service": None, "recovered_after_s": 0.004,
                 "faults": ["partition/p1"]}  # fmt: skip
    assert event_line(recovered) == f"{at} service_recovered db1 was back to normal 4 ms after partition/p1 ended"
    opened = {"kind": "circuit_opened", "at": at, "proxy": "db1", "host": "10.0.0.1", "opened_after": 5, "open_s": 2.0,
              "trials": 3, "confidence": "sure", "faults": ["db1/dark"]}  # fmt: skip
    assert event_line(opened) == (
        f"{at} circuit_opened a circuit breaker of 10.0.0.1 at db1 opened after 5 failures in a row, for 2 s at a time "
        "(sure), while db1/dark was on"
    )
    closed = {"kind": "circuit_closed", "at": at, "proxy": "db1", "host": "10.0.0.1", "after_s": 6.1, "trials": 3}
    assert event_line(closed) == (
        f"{at} circuit_closed the circuit breaker of 10.0.0.1 at db1 closed 6.1 s after it had opened, with trial 3"
    )
    assert event_line({"kind": "circuit_closed", "at": at, "host": "h"}) == f"{at} circuit_closed host=h"
