"""`probe` where a server refuses, disappears or is slow: whatever happens, it heals its own fault and no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from chaosproxy.cli.client import Response
from chaosproxy.cli.exits import BadInput, CannotReach
from chaosproxy.cli.probe import _Runner
from chaosproxy.probe.plan import Plan, Step

STEPS = tuple(Step(name, f"the {name}", name, least_s=0.0, most_s=0.02) for name in ("stall", "reset"))
PLAN = Plan("quick", STEPS, baseline_least_s=0.0, baseline_most_s=1.0, rest_least_s=0.0, rest_most_s=0.02)
Fails = Callable[[str, int], Exception | None]
"""Returns the error of a request, from its name and how many of that name came before."""


class Server:
    """A server with one proxy, as far as a probe asks it."""

    def __init__(self, fails: Fails = lambda name, before: None) -> None:
        self._fails = fails
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.looks = 0

    def _note(self, name: str) -> None:
        before = self.asked.count(name)
        self.asked.append(name)
        if (error := self._fails(name, before)) is not None:
            raise error

    def get(self, *path: str, query: Sequence[tuple[str, str]] = ()) -> Response:
        self._note(f"get {path[0]}")
        if path[0] == "reactions":
            return Response(200, {"proxies": {}, "services": {}, "windows": []})
        self.looks += 1
        turns = {"answered": 20 * self.looks, "failed": 0, "gave_up": 0, "open": 0}
        faults = [{"name": name} for name in self.faults]
        return Response(
            200, {"name": "db", "faults": faults, "partitions": [], "turns": turns, "bytes_downstream": 0}
        )

    def post(self, *path: str, body: Mapping[str, object]) -> Response:
        name = str(body.get("name") or body.get("fault"))
        self._note(f"{'heal' if path == ('heal',) else 'put'} {name}")
        if path == ("heal",):
            self.faults.remove(name)
        else:
            self.faults.append(name)
        return Response(200, {})


class Signals:
    """No signal, or one that comes while the server is asked for the given time."""

    def __init__(self) -> None:
        self.number: int | None = None

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.001))


def run(server: Server, signals: Signals | None = None) -> _Runner:
    runner = _Runner(server, {"name": "db"}, PLAN)  # type: ignore[arg-type]  # what a probe uses of a Client
    runner.run(signals or Signals())  # type: ignore[arg-type]  # likewise
    return runner


def on(name: str, error: Exception, nth: int = 0) -> Fails:
    return lambda asked, before: error if (asked, before) == (name, nth) else None


def test_each_fault_is_put_on_and_healed() -> None:
    server = Server()
    runner = run(server)
    changes = [one for one in server.asked if not one.startswith("get")]
    assert changes == ["put probe-stall", "heal probe-stall", "put probe-reset", "heal probe-reset"]
    assert runner.error is None and runner.course.reason == ""


def test_a_fault_of_that_name_that_another_probe_has_put_on_is_not_healed() -> None:
    server = Server(on("put probe-stall", BadInput("it exists already", code="name-taken")))
    runner = run(server)
    assert "heal probe-stall" not in server.asked and "put probe-reset" in server.asked
    assert runner.course.done[0].because == "skipped: the server refused it: it exists already"


def test_after_a_signal_nothing_is_put_on(capsys: pytest.CaptureFixture[str]) -> None:
    signals = Signals()

    def comes(asked: str, before: int) -> None:
        signals.number = 2  # while the server is asked

    server = Server(comes)
    runner = run(server, signals)
    assert not [one for one in server.asked if one.startswith("put")]
    assert runner.course.reason == "the probe was interrupted" and runner.course.done == []
    assert "heal" not in capsys.readouterr().err


def test_a_signal_heals_what_is_on() -> None:
    signals = Signals()

    def comes(asked: str, before: int) -> None:
        if asked == "put probe-stall":
            signals.number = 15

    server = Server(comes)
    runner = run(server, signals)
    assert server.faults == [] and "heal probe-stall" in server.asked and "put probe-reset" not in server.asked
    assert runner.course.done[0].because == "the probe was interrupted"


@pytest.mark.parametrize("name", ["put probe-stall", "heal probe-stall"])
def test_a_server_that_disappears_leaves_the_fault_to_its_ttl(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    gone = CannotReach("nothing responds")

    def is_gone(asked: str, before: int) -> Exception | None:
        return gone if name in (asked, *server.asked[:-1]) else None

    server = Server(is_gone)
    runner = run(server)
    assert runner.error is gone
    assert "probe-stall could not be healed; its ttl ends it" in capsys.readouterr().err
    assert runner.course.reason == "the probe stopped: nothing responds"


def test_a_slow_look_ends_the_probe_and_heals() -> None:
    slow = CannotReach("no response within 10 s")
    server = Server(on("get proxies", slow, nth=2))
    runner = run(server)
    assert server.faults == [] and runner.error is slow
    assert [done.step.name for done in runner.course.done] == ["stall"]


def test_the_last_look_may_fail() -> None:
    signals = Signals()

    def fails(asked: str, before: int) -> Exception | None:
        if asked == "heal probe-stall":
            return None
        if "heal probe-stall" in server.asked:
            return CannotReach("nothing responds")
        if asked == "put probe-stall":
            signals.number = 2
        return None

    server = Server(fails)
    runner = run(server, signals)
    assert runner.error is None and runner.course.reason == "the probe was interrupted"


def test_a_removed_proxy_needs_no_heal(capsys: pytest.CaptureFixture[str]) -> None:
    gone = BadInput("proxy db does not exist", code="not-found")

    def is_gone(asked: str, before: int) -> Exception | None:
        return gone if asked != "put probe-stall" and "put probe-stall" in server.asked[:-1] else None

    server = Server(is_gone)
    runner = run(server)
    assert runner.error is gone and runner.course.done[0].because == "the probe stopped: proxy db does not exist"
    assert "ttl" not in capsys.readouterr().err


def test_a_proxy_that_cannot_listen_again_ends_the_probe(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(on("heal probe-stall", BadInput("removed 1 fault, but cannot listen again", code="cannot-listen")))
    runner = run(server)
    assert runner.error is None and "put probe-reset" not in server.asked
    assert runner.course.reason == "the probe stopped: removed 1 fault, but cannot listen again"
    assert "healed probe-stall" in capsys.readouterr().err


def test_a_fault_that_its_ttl_has_ended_was_over(capsys: pytest.CaptureFixture[str]) -> None:
    run(Server(on("heal probe-stall", BadInput("no such fault", code="not-found"))))
    told = capsys.readouterr().err
    assert "it was over: probe-stall" in told and "healed probe-stall" not in told


def test_a_second_interrupt_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(on("get proxies", KeyboardInterrupt(), nth=2))  # type: ignore[arg-type]  # no Exception
    with pytest.raises(SystemExit) as ended:
        run(server)
    assert ended.value.code == 130 and "heal probe-stall" not in server.asked
    assert "probe-stall is not healed yet; its ttl ends it" in capsys.readouterr().err


def test_a_defect_heals_and_is_not_hidden() -> None:
    server = Server(on("get proxies", ZeroDivisionError(), nth=2))
    with pytest.raises(ZeroDivisionError):
        run(server)
    assert server.faults == []
