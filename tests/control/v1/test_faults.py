"""/v1/proxies/{proxy}/faults and /v1/heal, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from chaosproxy.events import Event, FaultAdded, FaultChanged, FaultRemoved
from tests.control.serving import Api, serving

SLOW = {"type": "latency", "delay": "20ms"}


async def add_proxies(api: Api, *names: str) -> None:
    for name in names:
        wish = {"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
        assert (await api.ask("POST", "/v1/proxies", wish)).status == 201


def test_a_fault_is_added_shown_replaced_and_removed() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api, "db")
            here = "/v1/proxies/db/faults"
            added = await api.ask("PUT", f"{here}/slow", SLOW)
            assert (added.status, added.headers["Location"]) == (201, f"{here}/slow")
            view = {"name": "slow", "direction": "downstream", "probability": 1.0, "ttl": None, **SLOW}
            assert added.body == view
            assert (await api.ask("GET", f"{here}/slow")).body == view

            changed = await api.ask("PUT", f"{here}/slow", {**SLOW, "delay": "1m", "ttl": "30s", "nth": 2})
            assert (changed.status, changed.body) == (200, {**view, "delay": "1m", "ttl": "30s", "nth": 2})
            assert (await api.ask("GET", here)).body == {"faults": [changed.body]}

            assert (await api.ask("DELETE", f"{here}/slow")).status == 204
            assert (await api.ask("GET", here)).body == {"faults": []}
            assert (await api.ask("GET", f"{here}/slow")).status == 404

    asyncio.run(scenario())


def test_a_fault_without_a_name_is_given_one() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api, "db")
            here = "/v1/proxies/db/faults"
            names = [(await api.ask("POST", here, SLOW)).body["name"] for _ in range(2)]
            named = await api.ask("POST", here, {**SLOW, "name": "a b"})
            await api.ask("DELETE", f"{here}/latency-1")
            names.append((await api.ask("POST", here, SLOW)).body["name"])
            assert names == ["latency-1", "latency-2", "latency-1"]
            assert (named.status, named.headers["Location"]) == (201, f"{here}/a%20b")

    asyncio.run(scenario())


def test_a_taken_name_is_a_conflict_and_another_than_the_paths_is_refused() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api, "db")
            await api.ask("PUT", "/v1/proxies/db/faults/slow", SLOW)
            assert (await api.ask("POST", "/v1/proxies/db/faults", {**SLOW, "name": "slow"})).status == 409
            other = await api.ask("PUT", "/v1/proxies/db/faults/slow", {**SLOW, "name": "fast"})
            assert (other.status, list(other.wrong)) == (400, ["name"])

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("fault", "path", "code"),
    [
        ({"type": "latncy", "delay": "1ms"}, "type", "unknown-fault-type"),
        ({"type": "latency", "delay": 20}, "delay", "unit-missing"),
        ({"type": "latency", "delay": "1ms", "dealy": "1ms"}, "dealy", "unknown-key"),
        ({"type": "latency", "delay": "1ms", "probability": 2}, "probability", "out-of-range"),
        ({"type": "latency", "delay": "1ms", "direction": "sideways"}, "direction", "unknown-value"),
        ({"type": "latency"}, "delay", "missing"),
        ({}, "type", "missing"),
    ],
)
def test_a_wrong_fault_is_refused_with_its_field(fault: object, path: str, code: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api, "db")
            for method, where in (("POST", "/v1/proxies/db/faults"), ("PUT", "/v1/proxies/db/faults/x")):
                answer = await api.ask(method, where, fault)
                assert (answer.status, answer.wrong) == (400, {path: code})
            assert (await api.ask("GET", "/v1/proxies/db/faults")).body == {"faults": []}

    asyncio.run(scenario())


def test_a_fault_that_is_not_there_is_answered_with_the_nearest() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api, "db")
            await api.ask("PUT", "/v1/proxies/db/faults/slow-answers", SLOW)
            for method in ("GET", "DELETE"):
                answer = await api.ask(method, "/v1/proxies/db/faults/slow-answer")
                assert (answer.status, answer.body["code"]) == (404, "not-found")
                assert "did you mean 'slow-answers'?" in answer.body["detail"]

    asyncio.run(scenario())


def test_heal_with_a_key_in_query_and_body_is_refused() -> None:
    """A null in the body does not take the limit away, since everything would be healed then."""

    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api, "db")
            await api.ask("PUT", "/v1/proxies/db/faults/slow", SLOW)
            answer = await api.ask("POST", "/v1/heal?fault=other", {"fault": "slow"})
            assert (answer.status, answer.wrong) == (409, {"fault": "duplicate"})
            assert (await api.ask("POST", "/v1/heal?fault=other", {"fault": None})).status == 404
            assert api.supervisor.proxy("db").spec.fault("slow") is not None

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("query", "body", "left"),
    [
        ("", None, []),
        ("", {}, []),
        ("", {"proxy": "a"}, ["b/x", "b/y"]),
        ("?proxy=a", None, ["b/x", "b/y"]),
        ("?proxy=b&fault=x", None, ["a/x", "b/y"]),
        ("", {"fault": "x"}, ["b/y"]),
        ("?proxy=b", {"fault": "y"}, ["a/x", "b/x"]),
    ],
)
def test_heal_removes_what_it_is_asked_to_and_says_so(query: str, body: object, left: list[str]) -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api, "a", "b")
            all_faults = ["a/x", "b/x", "b/y"]
            for proxy, _, fault in (one.partition("/") for one in all_faults):
                await api.ask("PUT", f"/v1/proxies/{proxy}/faults/{fault}", SLOW)
            removed = (await api.ask("POST", f"/v1/heal{query}", body)).body["removed"]
            assert {one["type"] for one in removed} == {"latency"}
            gone = [f"{one['proxy']}/{one['fault']}" for one in removed]
            assert gone == [one for one in all_faults if one not in left]
            status = (await api.ask("GET", "/v1/status")).body
            assert status["faults"] == len(left)
            assert [f"{p['name']}/{f['name']}" for p in status["proxies"] for f in p["faults"]] == left

    asyncio.run(scenario())


def test_heal_refuses_what_it_does_not_understand_and_heals_nothing() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api, "a")
            await api.ask("PUT", "/v1/proxies/a/faults/x", SLOW)
            assert (await api.ask("POST", "/v1/heal", {"prox": "a"})).wrong == {"prox": "unknown-key"}
            assert (await api.ask("POST", "/v1/heal", {"proxy": 7})).wrong == {"proxy": "wrong-type"}
            assert (await api.ask("POST", "/v1/heal", [])).status == 400
            assert (await api.ask("POST", "/v1/heal", {"proxy": "nobody"})).status == 404
            assert (await api.ask("POST", "/v1/heal", {"proxy": "a", "fault": "y"})).status == 404
            assert (await api.ask("POST", "/v1/heal", {"fault": "y"})).status == 404
            assert (await api.ask("GET", "/v1/status")).body["faults"] == 1

    asyncio.run(scenario())


def test_every_change_is_an_event_that_says_who_asked() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api, "db")
            told: list[Event] = []
            api.supervisor.bus.subscribe(told.append)
            await api.ask("POST", "/v1/proxies/db/faults", SLOW)
            await api.ask("PUT", "/v1/proxies/db/faults/latency-1", {**SLOW, "delay": "1s"})
            await api.ask("DELETE", "/v1/proxies/db/faults/latency-1")
            assert [type(event) for event in told] == [FaultAdded, FaultChanged, FaultRemoved]
            changes = [event for event in told if isinstance(event, FaultAdded | FaultChanged | FaultRemoved)]
            assert {event.by for event in changes} == {"rest"}

    asyncio.run(scenario())
