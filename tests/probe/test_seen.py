"""One look at a proxy, from the answers of the API."""

from __future__ import annotations

from typing import Any

import pytest

from chaosproxy.probe.plan import PLANS
from chaosproxy.probe.seen import Json, Seen, latest_of, seen_of, timeout_of
from tests.probe.looks import reaction, timeout

STEPS = PLANS["quick"].steps


def proxy(**more: object) -> dict[str, Any]:  # Any: JSON
    turns = {"answered": 40, "failed": 2, "gave_up": 3, "open": 1}
    return {
        "name": "db", "service": None, "faults": [], "partitions": [], "turns": turns, "bytes_downstream": 4000, **more
    }  # fmt: skip


def window(*faults: str, proxies: tuple[str, ...] = ("db",), ended: str | None = None) -> Json:
    return {
        "faults": list(faults), "proxies": {name: reaction() for name in proxies}, "started": "then", "ended": ended,
        "touched": {"connections": 1, "messages": 0},
    }  # fmt: skip


def told(*windows: Json, services: Json | None = None) -> Json:
    return {"proxies": {}, "services": services or {}, "windows": list(windows)}


def test_turns_are_those_of_the_proxy() -> None:
    seen = seen_of(1.0, proxy(), told(), STEPS)
    assert (seen.answered, seen.failed, seen.open, seen.bytes_downstream) == (40, 5, 1, 4000)
    assert seen.reactions == {} and seen.failovers == ()


def test_faults_and_partitions_are_in_the_way() -> None:
    seen = seen_of(1.0, proxy(faults=[{"name": "slow"}], partitions=["one"]), told(), STEPS)
    assert seen.faults == {"slow", "partition/one"}


def test_only_windows_of_a_fault_of_the_probe_alone_are_reactions() -> None:
    windows = (
        window("db/probe-stall"), window("db/probe-reset", "db/theirs"), window("db/theirs", ended="now"),
        window("web/probe-refuse", proxies=("web",)),
    )  # fmt: skip
    assert set(seen_of(1.0, proxy(), told(*windows), STEPS).reactions) == {"probe-stall"}


def test_failovers_are_those_away_from_the_proxy() -> None:
    moves = [{"from": "db", "to": "spare"}, {"from": "spare", "to": "db"}]
    services = {"store": {"failovers": moves, "flaps": 1}}
    assert seen_of(1.0, proxy(service="store"), told(services=services), STEPS).failovers == (moves[0],)


@pytest.mark.parametrize("start", ["later", None])
def test_what_the_server_has_forgotten_is_kept(start: str | None) -> None:
    before = Seen(1.0, reactions={"probe-stall": reaction(timeout(0.5))})
    now = Seen(2.0, reactions={} if start is None else {"probe-stall": reaction() | {"start": start}})
    assert timeout_of(latest_of(before, now)) == 0.5


def test_what_the_server_knows_better_now_is_taken() -> None:
    before, now = (Seen(at, reactions={"probe-stall": reaction(timeout(at))}) for at in (1.0, 2.0))
    assert timeout_of(latest_of(before, now)) == 2.0


def test_a_connect_time_out_is_none_of_answers() -> None:
    few = timeout(0.5) | {"count": 3}
    many = timeout(2.0, "connect") | {"count": 30}
    assert timeout_of(Seen(1.0, reactions={"probe-stall": reaction(many, few)})) == 0.5
    assert timeout_of(Seen(1.0, reactions={"probe-stall": reaction(many)})) is None
    assert timeout_of(Seen(1.0)) is None
