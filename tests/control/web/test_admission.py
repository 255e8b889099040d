"""Which connection makes room for another, and how often it is logged; without a socket or a clock."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from chaosproxy.control.web.admission import Admission, ControlTally, Limit
from chaosproxy.control.web.complaints import WINDOW, Complaints
from chaosproxy.model import ControlLimits


class Client:
    def __init__(self) -> None:
        self.ended: list[Limit] = []

    def end(self, limit: Limit) -> None:
        self.ended.append(limit)


def admission(connections: int = 10, per_address: int = 10) -> tuple[Admission, ControlTally]:
    tally = ControlTally()
    return Admission(ControlLimits(connections=connections, connections_per_address=per_address), tally), tally


def admitted(to: Admission, count: int, address: str = "") -> list[Client]:
    clients = [Client() for _ in range(count)]
    assert [to.admit(client, address) for client in clients] == [None] * count
    return clients


def test_the_longest_idle_connection_makes_room() -> None:
    here, tally = admission(connections=3)
    first, second, third = admitted(here, 3)
    here.begin_request(first)
    here.end_request(first)  # now the second is idle longest
    assert (here.admit(Client(), ""), second.ended, tally.connections) == (None, ["connections"], 3)
    assert (here.admit(Client(), ""), third.ended) == (None, ["connections"])
    assert (here.admit(Client(), ""), first.ended) == (None, ["connections"])


def test_a_connection_with_a_request_makes_no_room() -> None:
    here, tally = admission(connections=2)
    busy = admitted(here, 2)
    for client in busy:
        here.begin_request(client)
    assert (here.admit(Client(), ""), tally.connections) == ("connections", 2)
    here.end_request(busy[1])
    assert here.admit(Client(), "") is None
    assert [client.ended for client in busy] == [[], ["connections"]]


def test_an_address_makes_room_among_its_own_connections() -> None:
    here, tally = admission(connections=4, per_address=2)
    [other] = admitted(here, 1, "10.0.0.9")
    mine = admitted(here, 2, "10.0.0.7")
    assert here.admit(Client(), "10.0.0.7") is None
    assert [client.ended for client in (other, *mine)] == [[], ["connections_per_address"], []]
    here.begin_request(mine[1])
    newest = Client()
    assert here.admit(newest, "10.0.0.7") is None  # the one admitted before it was idle
    here.begin_request(newest)
    assert here.admit(Client(), "10.0.0.7") == "connections_per_address"
    assert here.admit(Client(), "10.0.0.9") is None
    assert (other.ended, tally.connections) == ([], 4)


def test_connections_that_left_are_forgotten() -> None:
    here, tally = admission(connections=2, per_address=1)
    [first] = admitted(here, 1, "10.0.0.7")
    here.leave(first)
    here.leave(first)
    here.end_request(first)  # its response ends after its socket
    assert (here.clients(), tally.connections) == ([], 0)
    admitted(here, 1, "10.0.0.7")
    assert first.ended == []


class Timers:
    def __init__(self) -> None:
        self.pending: list[tuple[float, Callable[[str], None], str]] = []

    def call_later(self, delay: float, call: Callable[[str], None], kind: str) -> Timers:
        self.pending.append((delay, call, kind))
        return self

    def cancel(self) -> None:
        self.pending.clear()

    def fire(self) -> None:
        for _, call, kind in [self.pending.pop(0) for _ in list(self.pending)]:
            call(kind)


def test_the_first_complaint_of_a_kind_is_a_line_and_the_others_are_a_number(caplog: pytest.LogCaptureFixture) -> None:
    timers = Timers()
    complaints = Complaints(timers.call_later)
    for number in range(5):
        complaints.log("a kind", f"line {number}", client="10.0.0.7")
    complaints.log("another kind", "another line")
    assert [delay for delay, _, _ in timers.pending] == [WINDOW, WINDOW]
    assert caplog.messages == ["line 0", "another line"]
    timers.fire()
    assert caplog.messages[2:] == ["control port: a kind: suppressed 4 more in 10 s"]
    complaints.log("a kind", "line 5")
    complaints.log("a kind", "line 6")
    complaints.close()
    assert caplog.messages[3:] == ["line 5", "control port: a kind: suppressed 1 more in 10 s"]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
