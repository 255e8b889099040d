"""Long lists come in pages, and a change that waits between its steps is still all or nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest

from chaosproxy.cli.client import Client
from chaosproxy.control.preflight import preflight_cut
from chaosproxy.control.selection import add_on, heal_on, put_on
from chaosproxy.control.web import rendering
from chaosproxy.control.web.rendering import LARGEST_LIMIT
from chaosproxy.control.web.turns import Turns
from chaosproxy.errors import Conflict
from chaosproxy.model import Config
from chaosproxy.model.proxy import MOST_FAULTS
from chaosproxy.model.settings import MOST_PARTITIONS
from tests.control.hostile_requests import scene
from tests.control.serving import Api, echo_server, serving
from tests.net.building import fault, proxy

LATENCY = {"type": "latency", "delay": "1ms"}
LONG = "x" * 2_000
"""The value of a key that is ignored, so long that the body is parsed off the loop."""
NAMES = ["a", "b c", "d/e", "f&after=a", "gé"]


def off(name: str, **settings: object) -> dict[str, object]:
    return {"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "enabled": False, **settings}


def run(scenario: Callable[[Api], Awaitable[None]], *proxies: dict[str, object]) -> None:
    async def main() -> None:
        async with serving() as api:
            for one in proxies:
                answer = await api.ask("POST", "/v1/proxies", one)
                assert answer.status == 201, answer
            async with asyncio.timeout(60):
                await scenario(api)

    asyncio.run(main())


async def pages(api: Api, path: str) -> list[Any]:  # Any: JSON
    """Return the bodies of all pages, from `path` on."""
    found = []
    following: str | None = path
    while following is not None:
        answer = await api.ask("GET", following)
        assert answer.status == 200, answer
        found.append(answer.body)
        following = answer.body.get("next")
    return found


@pytest.mark.parametrize("path", ["/v1/proxies", "/v1/status"])
def test_proxies_come_in_pages(path: str) -> None:
    async def scenario(api: Api) -> None:
        found = await pages(api, f"{path}?limit=2")
        assert [[one["name"] for one in page["proxies"]] for page in found] == [NAMES[:2], NAMES[2:4], NAMES[4:]]
        assert [[one["name"] for one in page["proxies"]] for page in await pages(api, path)] == [NAMES]
        assert "next" not in (await api.ask("GET", f"{path}?limit=5")).body

    run(scenario, *map(off, NAMES))


def test_faults_and_partitions_come_in_pages() -> None:
    async def scenario(api: Api) -> None:
        found = await pages(api, "/v1/proxies/p/faults?limit=2")
        assert [[one["name"] for one in page["faults"]] for page in found] == [NAMES[:2], NAMES[2:4], NAMES[4:]]
        for name in NAMES:
            assert (await api.ask("POST", "/v1/partitions", {"id": name, "from": "x", "to": "y"})).status == 201
        found = await pages(api, "/v1/partitions?limit=3")
        assert [[one["id"] for one in page["partitions"]] for page in found] == [NAMES[:3], NAMES[3:]]

    run(scenario, off("p", faults={name: LATENCY for name in NAMES}, **{"from": "x", "to": "y"}))


def test_connections_come_in_pages_while_they_come_and_go() -> None:
    async def main() -> None:
        async with echo_server() as port, serving() as api:
            for name in ("p", "q"):
                here = {"name": name, "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{port}"}
                assert (await api.ask("POST", "/v1/proxies", here)).status == 201
            loop, clients = asyncio.get_running_loop(), ExitStack()
            with clients:
                for name in ("p", "p", "p", "q", "q"):
                    address = api.supervisor.proxy(name).listening_on[0]
                    client = clients.enter_context(socket.socket())
                    client.setblocking(False)
                    await loop.sock_connect(client, ("127.0.0.1", address.port))
                    await loop.sock_sendall(client, b"x")
                    assert await loop.sock_recv(client, 1) == b"x"
                first = (await api.ask("GET", "/v1/connections?limit=2")).body
                assert [one["id"] for one in first["connections"]] == ["p:1", "p:2"]
                api.supervisor.proxy("p").connections[2].abort()  # the last one of the page
                second = (await api.ask("GET", first["next"])).body
                assert [one["id"] for one in second["connections"]] == ["p:3", "q:1"]
                [last] = await pages(api, second["next"])
                assert [one["id"] for one in last["connections"]] == ["q:2"]
                of_q = await pages(api, "/v1/connections?proxy=q&limit=1")
                assert [[one["id"] for one in page["connections"]] for page in of_q] == [["q:1"], ["q:2"]]
                for after in ("none:1", "q", "p:x:"):
                    answer = await api.ask("GET", f"/v1/connections?after={after}")
                    assert answer.status in (200, 404), answer
                assert (await api.ask("GET", "/v1/connections?after=none:1")).status == 404

    asyncio.run(main())


def test_nodes_come_in_pages_and_pairs_without_a_proxy_only_in_small_systems() -> None:
    async def scenario(api: Api) -> None:
        small = (await api.ask("GET", "/v1/nodes")).body
        assert small["reach"]["x"] == {"y": True, "z": None}
        await api.supervisor.apply(scene("ring"), "file")
        found = await pages(api, "/v1/nodes?limit=400")
        nodes = [node["name"] for page in found for node in page["nodes"]]
        assert (len(found), len(nodes), len(set(nodes))) == (3, 1_003, 1_003)
        for page in found:
            assert [*page["reach"]] == [node["name"] for node in page["nodes"]]
        rows = {name: row for page in found for name, row in page["reach"].items()}
        assert rows["n1"] == {"n0": False, "n2": False}, "the proxies of the ring are disabled"
        assert (rows["x"], rows["z"]) == ({"y": True}, {})

    run(scenario, {**off("p", **{"from": "x", "to": "y"}), "enabled": True}, off("q", to="z"))


def test_a_page_ends_when_it_is_large() -> None:
    async def scenario(api: Api) -> None:
        found = await pages(api, "/v1/proxies/p/faults")
        names = [[one["name"] for one in page["faults"]] for page in found]
        assert names == [["f0", "f1", "f2", "f3"], ["f4", "f5"]]

    async def filled(api: Api) -> None:
        for number in range(6):
            large = {"type": "http_abort", "name": f"f{number}", "body": "x" * 300_000}
            assert (await api.ask("POST", "/v1/proxies/p/faults", large)).status == 201
        await scenario(api)

    run(filled, off("p", protocol="http"))


@pytest.mark.parametrize(
    "path", ["/v1/proxies", "/v1/status", "/v1/nodes", "/v1/partitions", "/v1/connections", "/v1/proxies/p/faults"]
)
def test_a_page_that_does_not_exist_is_refused(path: str) -> None:
    async def scenario(api: Api) -> None:
        for limit in ("0", str(LARGEST_LIMIT + 1), "-1", "x", "", "1" * 40):
            answer = await api.ask("GET", f"{path}?limit={limit}")
            assert (answer.status, [*answer.wrong]) == (400, ["limit"]), answer
        answer = await api.ask("GET", f"{path}?after=none:7")
        assert (answer.status, answer.body["code"]) == (404, "not-found")

    run(scenario, off("p"))


@pytest.mark.parametrize("following", ["status", "proxies", "nodes"])
def test_the_command_line_reads_every_page(following: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "DEFAULT_LIMIT", 2)

    async def scenario(api: Api) -> None:
        for name in ("cut-1", "cut-2"):
            await api.ask("POST", "/v1/partitions", {"id": name, "from": "a", "to": "z"})
        body = await asyncio.to_thread(lambda: Client(f"http://127.0.0.1:{api.port}", None).get(following).body)
        assert [one["name"] for one in body["nodes" if following == "nodes" else "proxies"]] == (
            ["a", "z", *NAMES[1:]] if following == "nodes" else NAMES
        )
        if following == "nodes":
            assert [*body["reach"]] == ["a", "z", *NAMES[1:]]
        if following == "status":
            assert body["partitions"] == ["cut-1", "cut-2"], "a list that does not come in pages"
        assert "next" not in body

    run(scenario, *(off(name, **{"from": name, "to": "z"}) for name in NAMES))


# ── changes that wait between their steps ─────────────────────────────────────────────────


def interrupted(after: int, change: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """Return a `rest` that makes a change at the call of that number."""
    calls = 0

    async def rest() -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            change()

    return rest


def placed(api: Api) -> list[str]:
    return [f"{one.spec.name}/{each.name}" for one in api.supervisor.proxies() for each in one.spec.faults]


@pytest.mark.parametrize("change", [add_on, put_on])
@pytest.mark.parametrize("after", [2, 4])
def test_a_proxy_that_is_removed_meanwhile_is_skipped(change: Any, after: int) -> None:  # Any: either of the two
    async def scenario(api: Api) -> None:
        proxies = api.supervisor.proxies()
        await change(
            api.supervisor, proxies, fault("slow", **LATENCY), "test",
            interrupted(after, lambda: api.supervisor._remove("c", "test")),
        )  # fmt: skip
        assert placed(api) == ["a/slow", "b/slow"]

    run(scenario, off("a"), off("b"), off("c"))


def test_a_fault_that_another_adds_meanwhile_makes_the_whole_change_fail() -> None:
    async def scenario(api: Api) -> None:
        supervisor, other = api.supervisor, fault("slow", type="stall")
        interrupt = interrupted(4, lambda: supervisor.put_fault("c", other, "test"))
        with pytest.raises(Conflict) as caught:
            await add_on(supervisor, supervisor.proxies(), fault("slow", **LATENCY), "test", interrupt)
        assert "'c'" in str(caught.value)
        assert placed(api) == ["c/slow"]
        assert supervisor.proxy("c").spec.faults == (other,)

    run(scenario, off("a"), off("b"), off("c"))


def test_a_change_that_fails_on_a_later_proxy_restores_the_fault_of_an_earlier_one() -> None:
    async def scenario(api: Api) -> None:
        supervisor, before = api.supervisor, fault("slow", type="stall")
        supervisor.put_fault("a", before, "test")

        def fill() -> None:
            for number in range(MOST_FAULTS):
                supervisor.put_fault("c", fault(f"f{number}", **LATENCY), "test")

        with pytest.raises(Conflict):
            await put_on(supervisor, supervisor.proxies(), fault("slow", **LATENCY), "test", interrupted(5, fill))
        assert supervisor.proxy("a").spec.faults == (before,)
        assert supervisor.proxy("b").spec.faults == ()

    run(scenario, off("a"), off("b"), off("c"))


def test_a_fault_that_another_heals_meanwhile_is_not_healed_twice() -> None:
    async def scenario(api: Api) -> None:
        supervisor = api.supervisor
        interrupt = interrupted(1, lambda: supervisor.remove_fault("b", "x", "test"))
        removed = await heal_on(supervisor, supervisor.proxies(), None, "test", interrupt)
        assert [(where, one.name) for where, one in removed] == [("a", "x"), ("a", "y"), ("b", "y")]
        assert placed(api) == []

    both = {"x": LATENCY, "y": LATENCY}
    run(scenario, off("a", faults=both), off("b", faults=both))


def test_names_that_requests_choose_at_the_same_time_differ() -> None:
    async def scenario(api: Api) -> None:
        many, cut = {**LATENCY, "proxies": "*"}, {"from": "x", "to": "y"}
        asked = [("/v1/faults", many), ("/v1/partitions", cut), ("/v1/proxies/a/faults", LATENCY)] * 6
        answers = await asyncio.gather(*(api.ask("POST", path, body) for path, body in asked))
        assert [one.status for one in answers] == [201] * len(asked)
        assert len({one.spec.id for one in api.supervisor.partitions.all()}) == 6
        assert len(placed(api)) == len(set(placed(api))) == 6 * 3

    run(scenario, off("a", **{"from": "x", "to": "y"}), off("b"))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/v1/proxies/a", {"connect_timeout": "3s", "faults": {"slow": LATENCY}}),
        ("PUT", "/v1/proxies/a/faults/slow", LATENCY),
        ("POST", "/v1/proxies/a/faults", LATENCY),
    ],
)
def test_a_change_made_while_a_body_is_parsed_is_kept(
    method: str, path: str, body: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(api: Api) -> None:
        off_loop = Turns.off_loop

        async def then_interfere(self: Turns, *args: Any, **kwargs: Any) -> object:  # Any: those of any function
            result = await off_loop(self, *args, **kwargs)
            if api.supervisor.proxy("a").spec.fault("latency-1") is None:
                api.supervisor.put_fault("a", fault("latency-1", **LATENCY), "other")
            return result

        monkeypatch.setattr(Turns, "off_loop", then_interfere)
        answer = await api.ask(method, path, {**body, "by": LONG})
        assert answer.status in (200, 201), answer
        assert sorted(placed(api)) == ["a/latency-1", "a/latency-2" if method == "POST" else "a/slow"]

    run(scenario, off("a"))


def test_a_partition_is_checked_against_the_proxies_at_the_moment_at_which_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(api: Api) -> None:
        off_loop = Turns.off_loop

        async def then_interfere(self: Turns, *args: Any, **kwargs: Any) -> object:  # Any: those of any function
            result = await off_loop(self, *args, **kwargs)
            if args[0] is preflight_cut:
                await api.supervisor.remove_proxy("a", "other")
            return result

        monkeypatch.setattr(Turns, "off_loop", then_interfere)
        answer = await api.ask("POST", "/v1/partitions", {"from": "x", "to": "y"})
        assert (answer.status, api.supervisor.partitions.all()) == (409, [])

    run(scenario, off("a", **{"from": "x", "to": "y"}))


@pytest.mark.slow
def test_lists_that_are_filled_one_by_one_have_bounds_too() -> None:
    async def scenario(api: Api) -> None:
        full = await api.ask("POST", "/v1/proxies/full/faults", LATENCY)
        assert (full.status, full.body["code"]) == (409, "too-large")
        assert (await api.ask("PUT", "/v1/proxies/full/faults/f7", LATENCY)).status == 200, "none is added"
        for number in range(MOST_PARTITIONS):
            cut = {"from": "x", "to": "y", "id": f"{number}"}
            assert (await api.ask("POST", "/v1/partitions", cut)).status == 201
        full = await api.ask("POST", "/v1/partitions", {"from": "x", "to": "y"})
        assert (full.status, full.body["code"]) == (409, "too-large")

    run(scenario, off("full", faults={f"f{at}": LATENCY for at in range(MOST_FAULTS)}, **{"from": "x", "to": "y"}))


def test_the_partitions_together_cut_a_bounded_number_of_pairs() -> None:
    async def scenario(api: Api) -> None:
        proxies = [proxy(f"p{at}", upstream="127.0.0.1:9", enabled=False, to=f"n{at}") for at in range(140)]
        linked = proxy("linked", upstream="127.0.0.1:9", enabled=False, **{"from": "n0", "to": "n139"})
        await api.supervisor.apply(Config(proxies=(*proxies, linked)), "file")
        for expected in (201, 201, 409):
            answer = await api.ask("POST", "/v1/partitions", {"topology": "halves"})
            assert answer.status == expected
        assert answer.body["code"] == "too-large"
        first = (await api.ask("GET", "/v1/partitions/partition-1")).body
        assert (len(first["cut"]), first["cut_more"]) == (1_000, 8_800)
        sent_back = {key: one for key, one in first.items() if key != "id"}
        assert (await api.ask("POST", "/v1/partitions", sent_back)).body["code"] == "too-large"

    run(scenario)
