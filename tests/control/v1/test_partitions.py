"""/v1/partitions, /v1/capabilities, and what partitions do to healing, status and faults, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from chaosproxy.events import Event, PartitionAdded, PartitionExpired, PartitionRemoved
from chaosproxy.net.kernel.capabilities import Capabilities, Capability
from tests.control.serving import Api, serving
from tests.net.clockwork import Clockwork

Json: TypeAlias = dict[str, Any]

LACKING, REMEDY = "this kernel asks for a privilege", "have it granted"
NO_FILTERS = Capabilities(
    Capability("filters", "drops packets", LACKING, REMEDY),
    Capability("pacing", "keeps a rate"),
    Capability("tcp_info", "tells"),
    Capability("tap", "shows", "no packet sockets", "take a kernel that has them"),
)
WHY = f"{LACKING}; {REMEDY} (`chaosproxy doctor` explains)"
APP_DB = {"from": "app", "to": "db-primary"}
HERE = "/v1/partitions"


@asynccontextmanager
async def nodes_serving(time: Clockwork | None = None) -> AsyncIterator[Api]:
    """Two proxies between three nodes, and one between none, on a machine without filters."""
    async with asyncio.timeout(60), serving(kernel=NO_FILTERS, time=time) as api:
        for name, nodes in (("db", APP_DB), ("cache", {"from": "app", "to": "cache"}), ("plain", {})):
            wish = {"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", **nodes}
            assert (await api.ask("POST", "/v1/proxies", wish)).status == 201
        yield api


def play(scenario: Callable[[Api], Awaitable[None]]) -> None:
    async def main() -> None:
        async with nodes_serving() as api:
            await scenario(api)

    asyncio.run(main())


def timed(scenario: Callable[[Api, Clockwork], Awaitable[None]]) -> None:
    """The scenario moves time."""

    async def main() -> None:
        time = Clockwork()
        async with nodes_serving(time) as api:
            await scenario(api, time)

    asyncio.run(main())


async def cuts(api: Api) -> dict[str, list[str]]:
    """The partitions through each proxy, as three places tell them."""
    listed = {one["name"]: one["partitions"] for one in (await api.ask("GET", "/v1/proxies")).body["proxies"]}
    status = (await api.ask("GET", "/v1/status")).body
    assert listed == {one["name"]: one["partitions"] for one in status["proxies"]}
    assert status["partitions"] == [one["id"] for one in (await api.ask("GET", HERE)).body["partitions"]]
    return {name: through for name, through in listed.items() if through}


# ── one partition ─────────────────────────────────────────────────────────────────────────


def test_a_partition_is_added_listed_shown_and_removed() -> None:
    async def scenario(api: Api) -> None:
        assert (await api.ask("GET", HERE)).body == {"partitions": []}
        added = await api.ask("POST", HERE, {**APP_DB, "one_way": True, "ttl": "90s"})
        assert (added.status, added.headers["Location"]) == (201, f"{HERE}/partition-1")
        told = dict(added.whole)
        assert 0 <= told.pop("age_s") < 5
        assert 85 < told.pop("heals_after_s") <= 90
        not_here = [told.pop(key) for key in ("groups", "topology", "nodes", "preset")]
        assert not any(not_here), not_here
        wanted = {
            "id": "partition-1", "from": ["app"], "to": ["db-primary"], "one_way": True, "mode": "auto",
            "acks": "pass", "fail_fast": False, "ttl": "90s", "allow_empty": False,
            "effective_mode": "stream", "mode_reason": WHY, "is_cut": True, "cut": [["app", "db-primary"]],
            "proxies": [{"proxy": "db", "effective_mode": "stream", "mode_reason": WHY}], "by": "rest",
        }  # fmt: skip
        assert {key: told[key] for key in wanted} == wanted
        assert await cuts(api) == {"db": ["partition-1"]}
        for shown in (
            (await api.ask("GET", f"{HERE}/partition-1")).whole,
            (await api.ask("GET", HERE)).whole["partitions"][0],
        ):
            assert {key: shown[key] for key in told} == told
        removed = await api.ask("DELETE", f"{HERE}/partition-1")
        assert (removed.status, removed.body) == (204, "")
        assert await cuts(api) == {}
        assert (await api.ask("GET", f"{HERE}/partition-1")).status == 404

    play(scenario)


def test_an_id_is_given_or_found() -> None:
    async def scenario(api: Api) -> None:
        named = await api.ask("POST", HERE, {**APP_DB, "id": "a b/ü"})
        assert (named.status, named.body["id"]) == (201, "a b/ü")
        assert named.headers["Location"] == f"{HERE}/a%20b%2F%C3%BC"
        assert (await api.ask("GET", named.headers["Location"])).body["id"] == "a b/ü"
        found = [(await api.ask("POST", HERE, {**APP_DB, "id": None})).body["id"] for _ in range(2)]
        assert found == ["partition-1", "partition-2"]
        taken = await api.ask("POST", HERE, {**APP_DB, "id": "partition-2"})
        assert (taken.status, taken.body["code"]) == (409, "name-taken")
        assert await cuts(api) == {"db": ["a b/ü", "partition-1", "partition-2"]}
        assert (await api.ask("DELETE", named.headers["Location"])).status == 204
        assert await cuts(api) == {"db": ["partition-1", "partition-2"]}

    play(scenario)


@pytest.mark.parametrize(
    "body",
    [
        APP_DB,
        {"from": ["app", "cache"], "to": ["db-primary"], "one_way": True, "acks": "drop", "ttl": "1h"},
        {"groups": [["app"], ["cache", "db-primary"]], "fail_fast": True},
        {"topology": {"isolate": "db-primary"}, "mode": "stream"},
        {"topology": "isolate:db-primary"},
        {"topology": "bridge", "nodes": ["db-primary", "cache", "app"]},
        {"topology": "halves"},
        {**APP_DB, "preset": "flaky-link", "down": "1m", "up": "2m"},
        {**APP_DB, "preset": "flaky-link"},
        {**APP_DB, "preset": "bad-switch", "ttl": "10m"},
        {"from": "db-primary", "to": "cache", "allow_empty": True},
    ],
)
def test_what_is_answered_can_be_sent_back(body: Json) -> None:
    async def scenario(api: Api) -> None:
        added = await api.ask("POST", HERE, body)
        assert added.status == 201, added
        again = await api.ask("POST", HERE, {key: value for key, value in added.body.items() if key != "id"})
        assert (again.status, again.body["id"]) == (201, "partition-2"), again
        changing = ("id", "age_s", "heals_after_s")
        assert {key: value for key, value in again.body.items() if key not in changing} == {
            key: value for key, value in added.body.items() if key not in changing
        }
        assert (await api.ask("POST", HERE, added.body)).status == 409
        await api.ask("DELETE", f"{HERE}/partition-1")
        restored = await api.ask("POST", HERE, added.body)
        assert (restored.status, restored.body["cut"]) == (201, added.body["cut"])

    play(scenario)


# ── refused ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({}, "", "missing"),
        ({"from": "app"}, "to", "missing"),
        ({"from": "app", "to": "db-primry"}, "to", "unknown-node"),
        ({"from": ["app", "ap"], "to": "cache"}, "from.1", "unknown-node"),
        ({"groups": [["app"], ["cach"]]}, "groups.1.0", "unknown-node"),
        ({"topology": "isolate:cach"}, "topology", "unknown-node"),
        ({"topology": "halfs"}, "topology", "unknown-value"),
        ({"topology": "majorities-ring", "nodes": ["app", "cache"]}, "nodes", "no-effect"),
        ({**APP_DB, "oneway": True}, "oneway", "unknown-key"),
        ({**APP_DB, "ttl": 30}, "ttl", "unit-missing"),
        ({**APP_DB, "mode": "kernel"}, "mode", "unknown-value"),
        ({**APP_DB, "down": "1s"}, "down", "not-applicable"),
        ({**APP_DB, "down": "5s"}, "down", "not-applicable"),  # the default, which is given all the same
        ({"from": "cache", "to": "db-primary"}, "", "no-effect"),
        ({**APP_DB, "id": ""}, "id", "empty"),
        ({**APP_DB, "id": 5}, "id", "wrong-type"),
        ({**APP_DB, "id": "two\nlines"}, "id", "invalid-name"),
    ],
)
def test_a_wrong_field_is_refused(body: Json, path: str, code: str) -> None:
    async def scenario(api: Api) -> None:
        answer = await api.ask("POST", HERE, body)
        is_about_proxies = code in ("unknown-node", "no-effect")
        assert (answer.status, answer.wrong) == (409 if is_about_proxies else 400, {path: code})
        assert await cuts(api) == {}

    play(scenario)


def test_an_id_that_is_ours_is_refused_under_its_field() -> None:
    async def scenario(api: Api) -> None:
        answer = await api.ask("POST", HERE, {**APP_DB, "id": "partition:mine"})
        assert (answer.status, list(answer.wrong)) == (400, ["id"])

    play(scenario)


def test_every_wrong_field_is_named() -> None:
    async def scenario(api: Api) -> None:
        answer = await api.ask("POST", HERE, {"from": 5, "to": {}, "mode": "x", "up": "y"})
        assert (answer.status, sorted(answer.wrong)) == (400, ["from", "mode", "to", "up"])
        several = {"id": "", "from": ["ap", "app"], "to": 5, "groups": [["nobody"], ["app"]], "topology": "x", "ttl": 1}
        answer = await api.ask("POST", HERE, several)
        assert answer.wrong == {
            "id": "empty", "to": "wrong-type", "topology": "unknown-value", "ttl": "unit-missing",
            "from.0": "unknown-node", "groups.0.0": "unknown-node",
        }  # fmt: skip

    play(scenario)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_partition_that_is_not_there_is_answered_with_the_nearest(method: str) -> None:
    async def scenario(api: Api) -> None:
        none = await api.ask(method, f"{HERE}/dark")
        assert (none.status, none.body["code"]) == (404, "not-found")
        await api.ask("POST", HERE, {**APP_DB, "id": "darkness"})
        near = await api.ask(method, f"{HERE}/darknes")
        assert (near.status, near.body["code"]) == (404, "not-found")
        assert "did you mean 'darkness'?" in near.body["detail"]
        assert (await api.ask(method, f"{HERE}/darkness?x=1")).wrong.keys() == {"x"}
        assert await cuts(api) == {"db": ["darkness"]}

    play(scenario)


def test_mode_packet_without_the_capability_is_a_conflict_that_tells_the_remedy() -> None:
    async def scenario(api: Api) -> None:
        for method, path, body in (
            ("POST", HERE, {**APP_DB, "mode": "packet"}),
            ("PUT", "/v1/proxies/db/faults/f", {"type": "packet_loss", "rate": "1%", "mode": "packet"}),
            ("POST", "/v1/proxies/db/faults", {"type": "partition", "mode": "packet"}),
        ):
            answer = await api.ask(method, path, body)
            assert (answer.status, answer.body["code"]) == (409, "unsupported-mode")
            assert answer.wrong == {"mode": "unsupported-mode"}
            assert WHY in answer.body["detail"], "it contains the reason that the kernel check gave"
        assert await cuts(api) == {}
        assert (await api.ask("GET", "/v1/status")).body["faults"] == 0

    play(scenario)


def test_a_proxy_with_a_fault_that_cannot_be_had_is_not_added() -> None:
    async def scenario(api: Api) -> None:
        faults = {"f": {"type": "packet_loss", "rate": "1%", "mode": "packet"}}
        wish = {"name": "new", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "faults": faults}
        assert (await api.ask("POST", "/v1/proxies", wish)).status == 409
        assert (await api.ask("PATCH", "/v1/proxies/db", {"faults": faults})).status == 409
        assert (await api.ask("GET", "/v1/proxies/new")).status == 404
        assert (await api.ask("GET", "/v1/proxies/db")).body["faults"] == []

    play(scenario)


# ── with proxies ──────────────────────────────────────────────────────────────────────────


def test_a_proxy_that_comes_is_cut_and_one_that_is_patched_is_cut_or_mended() -> None:
    async def scenario(api: Api) -> None:
        await api.ask("POST", HERE, {**APP_DB, "id": "dark"})
        wish = {"name": "late", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "from": "db-primary", "to": "app"}
        late = await api.ask("POST", "/v1/proxies", wish)
        assert late.body["partitions"] == ["dark"]
        assert await cuts(api) == {"db": ["dark"], "late": ["dark"]}
        for node, through in (("cache", []), ("app", ["dark"]), (None, [])):
            patched = await api.ask("PATCH", "/v1/proxies/late", {"to": node})
            assert (patched.status, patched.body["partitions"]) == (200, through)
            names = [one["proxy"] for one in (await api.ask("GET", f"{HERE}/dark")).body["proxies"]]
            assert names == ["db", *(["late"] if through else [])]
        assert (await api.ask("PATCH", "/v1/proxies/db", (await api.ask("GET", "/v1/proxies/db")).body)).status == 200
        assert (await api.ask("DELETE", "/v1/proxies/db")).status == 204
        assert (await api.ask("GET", f"{HERE}/dark")).body["proxies"] == []
        assert (await api.ask("GET", f"{HERE}/dark")).body["effective_mode"] is None

    play(scenario)


def test_events_tell_who_asked_and_that_a_ttl_ran_out() -> None:
    async def scenario(api: Api, time: Clockwork) -> None:
        told: list[Event] = []
        api.supervisor.bus.subscribe(told.append)
        await api.ask("POST", HERE, {**APP_DB, "id": "hand"})
        [added] = told
        assert isinstance(added, PartitionAdded)
        assert (added.partition, added.proxies, added.by) == ("hand", 1, "rest")
        assert (added.effective_mode, added.mode_reason) == ("stream", WHY)
        await api.ask("DELETE", f"{HERE}/hand")
        assert told[1:] == [PartitionRemoved(partition="hand", by="rest")]
        await api.ask("POST", HERE, {**APP_DB, "id": "brief", "ttl": "20m"})
        time.run_to(1200.0)
        assert told[3:] == [PartitionExpired(partition="brief", at=1200.0)]
        assert await cuts(api) == {}

    timed(scenario)


def test_a_flaky_link_shows_whether_it_is_cut() -> None:
    async def scenario(api: Api, time: Clockwork) -> None:
        await api.ask("POST", HERE, {**APP_DB, "id": "flaky", "preset": "flaky-link", "down": "1h", "up": "1h"})
        for is_cut in (True, False, True, False):
            shown = (await api.ask("GET", f"{HERE}/flaky")).body
            assert (shown["is_cut"], [one["proxy"] for one in shown["proxies"]]) == (is_cut, ["db"])
            assert await cuts(api) == ({"db": ["flaky"]} if is_cut else {})
            time.go_to(time.timer.due)

    timed(scenario)


# ── healing ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "body", "answer", "left"),
    [
        ("", None, {"removed": ["db/slow"], "partitions": ["one", "two"]}, {}),
        ("", {}, {"removed": ["db/slow"], "partitions": ["one", "two"]}, {}),
        ("?partition=one", None, {"removed": [], "partitions": ["one"]}, {"db": ["two"], "cache": ["two"]}),
        ("", {"partition": "two"}, {"removed": [], "partitions": ["two"]}, {"db": ["one"]}),
        ("", {"proxy": "db"}, {"removed": ["db/slow"], "partitions": []}, {"db": ["one", "two"], "cache": ["two"]}),
        ("", {"fault": "slow"}, {"removed": ["db/slow"], "partitions": []}, {"db": ["one", "two"], "cache": ["two"]}),
        ("", {"proxy": None, "fault": None, "partition": "one"}, {"removed": [], "partitions": ["one"]},
         {"db": ["two"], "cache": ["two"]}),
    ],
)  # fmt: skip
def test_heal_takes_what_is_named(query: str, body: object, answer: Json, left: Json) -> None:
    async def scenario(api: Api) -> None:
        await api.ask("PUT", "/v1/proxies/db/faults/slow", {"type": "latency", "delay": "1ms"})
        await api.ask("POST", HERE, {**APP_DB, "id": "one"})
        await api.ask("POST", HERE, {"topology": "isolate:app", "id": "two"})
        healed = await api.ask("POST", f"/v1/heal{query}", body)
        assert healed.status == 200
        removed = [f"{one['proxy']}/{one['fault']}" for one in healed.body["removed"]]
        assert {"removed": removed, "partitions": healed.body["partitions"]} == answer
        assert await cuts(api) == left
        assert (await api.ask("GET", "/v1/status")).body["faults"] == 1 - len(answer["removed"])

    play(scenario)


def test_heal_refuses_what_it_cannot_and_heals_nothing() -> None:
    async def scenario(api: Api) -> None:
        await api.ask("POST", HERE, {**APP_DB, "id": "dark"})
        for body in ({"partition": "dark", "proxy": "db"}, {"partition": "dark", "fault": "f"}, {"partition": 5}):
            answer = await api.ask("POST", "/v1/heal", body)
            assert (answer.status, list(answer.wrong)) == (400, ["partition"])
        near = await api.ask("POST", "/v1/heal", {"partition": "drk"})
        assert near.status == 404
        assert "did you mean 'dark'?" in near.body["detail"]
        assert (await api.ask("POST", "/v1/heal", {"partion": "dark"})).wrong.keys() == {"partion"}
        assert await cuts(api) == {"db": ["dark"]}

    play(scenario)


# ── modes and capabilities ────────────────────────────────────────────────────────────────


def test_capabilities_are_told_with_the_remedy() -> None:
    async def scenario(api: Api) -> None:
        told = (await api.ask("GET", "/v1/capabilities")).body["capabilities"]
        assert told == [
            {"name": "filters", "available": False, "purpose": "drops packets", "lacking": LACKING, "remedy": REMEDY},
            {"name": "pacing", "available": True, "purpose": "keeps a rate", "lacking": None, "remedy": None},
            {"name": "tcp_info", "available": True, "purpose": "tells", "lacking": None, "remedy": None},
            {
                "name": "tap", "available": False, "purpose": "shows",
                "lacking": "no packet sockets", "remedy": "take a kernel that has them",
            },
        ]  # fmt: skip
        assert (await api.ask("GET", "/v1/status")).body["capabilities"] == told

    play(scenario)


def test_where_attempts_are_not_visible_the_answers_say_so() -> None:
    hidden = {"attempts_visible": False, "attempts_reason": "no packet sockets; take a kernel that has them"}

    async def scenario(api: Api) -> None:
        for name, wish, hides in (
            ("down", {"type": "refuse"}, True),
            ("off", {"type": "unreachable"}, True),
            ("some", {"type": "refuse", "probability": 0.5}, False),
            ("slow", {"type": "latency", "delay": "1ms"}, False),
        ):
            shown = (await api.ask("PUT", f"/v1/proxies/db/faults/{name}", wish)).body
            assert {key: shown[key] for key in hidden if key in shown} == (hidden if hides else {})
            again = await api.ask("PUT", f"/v1/proxies/db/faults/{name}", shown)
            assert (again.status, again.body) == (200, shown), "what is answered can be sent back"
        cut = (await api.ask("POST", HERE, {"from": "app", "to": "cache", "id": "cut"})).body
        crash = (await api.ask("POST", "/v1/proxies/plain/crash")).body
        pause = (await api.ask("POST", "/v1/proxies/plain/pause")).body
        assert (cut | hidden, crash | hidden) == (cut, crash)
        assert not hidden.keys() & pause.keys(), "it hides none"
        assert (await api.ask("GET", f"{HERE}/cut")).body["attempts_visible"] is False

    play(scenario)


@pytest.mark.parametrize(
    ("fault", "mode", "why"),
    [
        ({"type": "packet_loss", "rate": 0.01}, "stream", WHY),
        ({"type": "packet_loss", "rate": 0.01, "mode": "stream"}, "stream", None),
        ({"type": "partition", "fail_fast": True}, "stream", "fail_fast drops no packets"),
        ({"type": "bandwidth", "rate": "1MB/s", "mode": "packet"}, "packet", None),
    ],
)
def test_a_fault_tells_what_its_mode_has_become_and_can_be_put_back(fault: Json, mode: str, why: str | None) -> None:
    async def scenario(api: Api) -> None:
        here = "/v1/proxies/db/faults/f"
        put = await api.ask("PUT", here, fault)
        assert put.status == 201
        assert (put.body["effective_mode"], put.body["mode_reason"]) == (mode, why)
        for answer in (await api.ask("GET", here), await api.ask("PUT", here, put.body)):
            assert (answer.status, answer.body) == (200, put.body)
        listed = (await api.ask("GET", "/v1/proxies/db")).body
        assert listed["faults"] == [put.body]
        assert (await api.ask("PATCH", "/v1/proxies/db", {"faults": listed["faults"]})).body["faults"] == [put.body]

    play(scenario)


@pytest.mark.parametrize("fault", [{"type": "partition", "mode": "stream"}, {"type": "pause"}, {"type": "unreachable"}])
def test_a_fault_for_every_client_is_answered_as_it_is_described(fault: Json) -> None:
    """Such a type takes no probability, and its answers can be sent back all the same."""

    async def scenario(api: Api) -> None:
        put = await api.ask("PUT", "/v1/proxies/db/faults/f", fault)
        assert put.status == 201
        assert (await api.ask("PUT", "/v1/proxies/db/faults/f", put.body)).status == 200

    play(scenario)


def test_a_fault_without_modes_tells_none() -> None:
    async def scenario(api: Api) -> None:
        put = await api.ask("PUT", "/v1/proxies/db/faults/f", {"type": "latency", "delay": "1ms"})
        assert "effective_mode" not in put.body

    play(scenario)
