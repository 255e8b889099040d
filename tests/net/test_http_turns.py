"""In HTTP mode a response may say that the request has failed."""

from __future__ import annotations

import pytest

from chaosproxy.events import ClientGaveUp, TurnFailed, TurnRepeated
from chaosproxy.http.faults.abort import HttpAbort
from tests.net.http_world import World

GET = b"GET /a?b HTTP/1.1\r\nHost: h\r\nTraceparent: 1\r\n\r\n"


def response(status: int, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d Word\r\n%sContent-Length: 2\r\n\r\nok" % (status, more)


def answered(world: World) -> int:
    return len(world.turns.host.felt)


@pytest.mark.parametrize("cut", [0, 20], ids=["at once", "in two pieces"])
@pytest.mark.parametrize(("status", "fails"), [(200, False), (404, False), (429, True), (500, True), (503, True)])
def test_a_status_may_be_a_failure(status: int, fails: bool, cut: int) -> None:
    world = World()
    world.receive(world.client, GET)
    world.now += 2.0
    data = response(status)
    for piece in filter(None, (data[:cut], data[cut:])):
        world.receive(world.server, piece)
    assert answered(world) == (0 if fails else 1)
    if fails:
        [event] = world.turn_events
        assert isinstance(event, TurnFailed)
        assert (event.reason, event.status, event.waited_s, event.request) == ("status", status, 2.0, "GET /a")
        assert event.fault == "" and event.answer_arrived
    else:
        assert world.turn_events == []


def test_a_fault_that_answers_in_place_of_the_server_fails_the_request() -> None:
    world = World()
    world.add("abort", HttpAbort(status=404), "upstream", lambda number: True)
    world.receive(world.client, GET)
    [event] = world.turn_events
    assert isinstance(event, TurnFailed) and (event.reason, event.status, event.fault) == ("injected", 404, "abort")
    assert answered(world) == 0 and not event.answer_arrived


def test_the_same_request_after_a_failure_repeats_it() -> None:
    world = World()
    world.receive(world.client, GET)
    world.receive(world.server, response(503))
    world.now += 0.5
    world.receive(world.client, GET.replace(b"Traceparent: 1", b"Traceparent: 2"))
    [_, event] = world.turn_events
    assert isinstance(event, TurnRepeated) and (event.attempt, event.gap_s, event.of_turn) == (2, 0.5, 1)
    world.receive(world.server, response(200))
    world.receive(world.client, GET)
    assert len(world.turn_events) == 2 and answered(world) == 1


def test_a_client_that_leaves_names_its_request() -> None:
    world = World()
    world.receive(world.client, GET)
    world.turns.client_ended("reset", world.now + 1.0)
    [event] = world.turn_events
    assert isinstance(event, ClientGaveUp) and (event.request, event.waited_s) == ("GET /a", 1.0)
