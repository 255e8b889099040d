"""/v1/nodes, and crash and pause of nodes and proxies, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from chaosproxy.net.kernel.capabilities import probe
from tests.control.serving import Api, echo_server, serving
from tests.net.clockwork import Clockwork

Json: TypeAlias = dict[str, Any]


def play(scenario: Callable[[Api], Awaitable[None]]) -> None:
    """With app → db, app → cache and cache → db, all in front of an echo server, and a proxy between no nodes."""
    timed(lambda api, _: scenario(api))


def timed(scenario: Callable[[Api, Clockwork], Awaitable[None]]) -> None:
    """The same; the scenario moves time."""

    async def main() -> None:
        time = Clockwork()
        async with asyncio.timeout(60), echo_server() as port, serving(time=time) as api:
            for name, client, server in (
                ("app-db", "app", "db"), ("app-cache", "app", "cache"), ("cache-db", "cache", "db"),
                ("plain", None, None),
            ):  # fmt: skip
                upstream = f"127.0.0.1:{port}"
                wish = {"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "from": client, "to": server}
                assert (await api.ask("POST", "/v1/proxies", wish)).status == 201
            await scenario(api, time)

    asyncio.run(main())


async def dial(api: Api, proxy: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    [address] = api.supervisor.proxy(proxy).listening_on
    return await asyncio.open_connection(address.host, address.port)


async def echo(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], text: bytes) -> bytes:
    reader, writer = connection
    writer.write(text)
    return await reader.readexactly(len(text))


async def hang_up(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    connection[1].close()
    await connection[1].wait_closed()


async def states(api: Api) -> dict[str, str]:
    return {node["name"]: node["state"] for node in (await api.ask("GET", "/v1/nodes")).body["nodes"]}


async def reach(api: Api) -> str:
    """`app>db` for what arrives, `app!db` for what does not."""
    rows = (await api.ask("GET", "/v1/nodes")).body["reach"]
    return " ".join(
        f"{sender}{'>' if way else '!'}{receiver}"
        for sender, row in rows.items()
        for receiver, way in row.items()
        if way is not None
    )


WHOLE = "app>db app>cache db>app db>cache cache>app cache>db"


def test_nodes_and_their_reach_before_anything_happens() -> None:
    async def scenario(api: Api) -> None:
        assert (await api.ask("GET", "/v1/nodes")).body == {
            "nodes": [
                {"name": "app", "state": "up", "serves": [], "uses": ["app-db", "app-cache"]},
                {"name": "db", "state": "up", "serves": ["app-db", "cache-db"], "uses": []},
                {"name": "cache", "state": "up", "serves": ["app-cache"], "uses": ["cache-db"]},
            ],
            "reach": {
                "app": {"db": True, "cache": True},
                "db": {"app": True, "cache": True},
                "cache": {"app": True, "db": True},
            },
        }
        assert (await api.ask("DELETE", "/v1/proxies/cache-db")).status == 204
        cells = (await api.ask("GET", "/v1/nodes")).body["reach"]
        assert (cells["cache"]["db"], cells["db"]["cache"]) == (None, None)

    play(scenario)


def test_without_nodes_there_is_an_empty_matrix() -> None:
    async def main() -> None:
        async with serving() as api:
            assert (await api.ask("GET", "/v1/nodes")).body == {"nodes": [], "reach": {}}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("partition", "seen"),
    [
        ({"from": "app", "to": "db", "one_way": True}, WHOLE.replace("app>db", "app!db")),
        ({"from": "db", "to": "app", "one_way": True}, WHOLE.replace("db>app", "db!app")),
        ({"from": "app", "to": "db"}, WHOLE.replace("app>db", "app!db").replace("db>app", "db!app")),
        ({"topology": "isolate:cache"}, "app>db app!cache db>app db!cache cache!app cache!db"),
        ({"topology": "one-way-ring"}, "app>db app!cache db!app db>cache cache>app cache!db"),
    ],
)
def test_the_matrix_shows_what_is_cut(partition: Json, seen: str) -> None:
    async def scenario(api: Api) -> None:
        added = await api.ask("POST", "/v1/partitions", {**partition, "mode": "stream"})
        assert added.status == 201
        assert await reach(api) == seen
        assert (await states(api)) == {"app": "up", "db": "up", "cache": "up"}
        await api.ask("POST", "/v1/heal")
        assert await reach(api) == WHOLE

    play(scenario)


def test_a_crashed_node_resets_and_refuses_until_it_is_healed() -> None:
    async def scenario(api: Api) -> None:
        there, apart = await dial(api, "app-db"), await dial(api, "app-cache")
        assert await echo(there, b"hello") == b"hello"
        answer = await api.ask("POST", "/v1/nodes/db/crash")
        assert (answer.status, answer.body) == (
            200,
            {
                "fault": "crash:db", "type": "refuse", "ttl": None, "proxies": ["app-db", "cache-db"],
                "attempts_visible": probe().tap.available,
                "attempts_reason": None if probe().tap.available else f"{probe().tap.lacking}; {probe().tap.remedy}",
            },
        )  # fmt: skip
        with pytest.raises(ConnectionResetError):
            await there[0].read()
        for proxy in ("app-db", "cache-db"):
            with pytest.raises(ConnectionRefusedError):
                await dial(api, proxy)
        assert await echo(apart, b"still here") == b"still here"
        assert await states(api) == {"app": "up", "db": "crashed", "cache": "up"}
        assert await reach(api) == "app!db app>cache db!app db!cache cache>app cache!db"

        healed = (await api.ask("POST", "/v1/heal", {"fault": "crash:db"})).body["removed"]
        assert [one["proxy"] for one in healed] == ["app-db", "cache-db"]
        back = await dial(api, "app-db")
        assert await echo(back, b"back") == b"back"
        assert (await states(api), await reach(api)) == ({"app": "up", "db": "up", "cache": "up"}, WHOLE)
        for one in (apart, back):
            await hang_up(one)
        there[1].close()

    play(scenario)


def test_a_paused_node_holds_everything_and_then_goes_on() -> None:
    async def scenario(api: Api) -> None:
        before = await dial(api, "app-db")
        answer = await api.ask("POST", "/v1/nodes/db/pause", {})
        assert answer.body == {"fault": "pause:db", "type": "pause", "ttl": None, "proxies": ["app-db", "cache-db"]}
        during = await dial(api, "cache-db")  # the kernel accepts for it
        assert (await states(api))["db"] == "paused"
        assert await reach(api) == "app!db app>cache db!app db!cache cache>app cache!db"
        echoes = [asyncio.ensure_future(echo(one, b"waiting")) for one in (before, during)]
        await api.ask("GET", "/healthz")
        assert not any(one.done() for one in echoes)
        await api.ask("POST", "/v1/heal")
        assert await asyncio.gather(*echoes) == [b"waiting", b"waiting"]
        for one in (before, during):
            await hang_up(one)

    play(scenario)


@pytest.mark.parametrize(
    ("path", "body", "fault", "proxies"),
    [
        ("nodes/cache/crash", {"down": "50m"}, "crash:cache", ["app-cache", "cache-db"]),
        ("nodes/cache/pause", {"for": "50m"}, "pause:cache", ["app-cache", "cache-db"]),
        ("proxies/app-db/crash", {"down": "50m"}, "crash", ["app-db"]),
        ("proxies/app-db/pause", {"for": "50m"}, "pause", ["app-db"]),
    ],
)
def test_with_a_duration_it_comes_back_by_itself(path: str, body: Json, fault: str, proxies: list[str]) -> None:
    async def scenario(api: Api, time: Clockwork) -> None:
        answer = await api.ask("POST", f"/v1/{path}", body)
        assert answer.status == 200
        assert (answer.body["fault"], answer.body["ttl"], answer.body["proxies"]) == (fault, "50m", proxies)
        assert {one.spec.name for one in api.supervisor.proxies() if one.active_fault(fault)} == set(proxies)
        time.run_to(3000.0)
        assert (await api.ask("GET", "/v1/status")).body["faults"] == 0
        assert await reach(api) == WHOLE
        connection = await dial(api, proxies[0])
        assert await echo(connection, b"back") == b"back"
        await hang_up(connection)

    timed(scenario)


@pytest.mark.parametrize("verb", ["crash", "pause"])
def test_a_single_proxy_is_no_node(verb: str) -> None:
    async def scenario(api: Api) -> None:
        answer = await api.ask("POST", f"/v1/proxies/plain/{verb}")
        assert (answer.body["fault"], answer.body["proxies"]) == (verb, ["plain"])
        await api.ask("POST", f"/v1/proxies/app-db/{verb}")
        assert await reach(api) == WHOLE.replace("app>db", "app!db").replace("db>app", "db!app")
        assert await states(api) == {"app": "up", "db": "up", "cache": "up"}
        shown = (await api.ask("GET", "/v1/proxies/app-db/faults")).body["faults"]
        assert [(one["name"], one["direction"]) for one in shown] == [(verb, "both")]
        assert (await api.ask("PUT", f"/v1/proxies/app-db/faults/{verb}", shown[0])).body == shown[0]

    play(scenario)


def test_a_second_verb_sets_the_time_anew() -> None:
    async def scenario(api: Api, time: Clockwork) -> None:
        await api.ask("POST", "/v1/nodes/db/crash", {"down": "10s"})
        time.run_to(9.0)
        again = await api.ask("POST", "/v1/nodes/db/crash", {"down": "20s"})
        assert again.body["ttl"] == "20s"
        time.run_to(28.9)
        assert (await states(api))["db"] == "crashed"
        time.run_to(29.0)
        assert (await states(api))["db"] == "up"

    timed(scenario)


def test_two_nodes_that_are_down_at_once_come_back_one_by_one() -> None:
    async def scenario(api: Api) -> None:
        await api.ask("POST", "/v1/nodes/db/crash")
        await api.ask("POST", "/v1/nodes/cache/crash", {"down": None})
        assert await states(api) == {"app": "up", "db": "crashed", "cache": "crashed"}
        await api.ask("POST", "/v1/heal", {"fault": "crash:db"})
        assert await states(api) == {"app": "up", "db": "up", "cache": "crashed"}
        assert await reach(api) == "app>db app!cache db>app db!cache cache!app cache!db"

    play(scenario)


@pytest.mark.parametrize("verb", ["crash", "pause"])
def test_who_is_not_there_is_answered_with_the_nearest(verb: str) -> None:
    async def scenario(api: Api) -> None:
        node = await api.ask("POST", f"/v1/nodes/cahe/{verb}")
        assert (node.status, node.body["code"]) == (404, "not-found")
        assert "did you mean 'cache'?" in node.body["detail"]
        proxy = await api.ask("POST", f"/v1/proxies/app-bd/{verb}")
        assert (proxy.status, proxy.body["code"]) == (404, "not-found")
        assert "did you mean 'app-db'?" in proxy.body["detail"]
        assert (await api.ask("GET", f"/v1/nodes/cache/{verb}")).status == 405
        assert (await api.ask("GET", "/v1/status")).body["faults"] == 0

    play(scenario)


@pytest.mark.parametrize(
    ("path", "body", "field", "code"),
    [
        ("nodes/db/crash", {"down": "0s"}, "down", "out-of-range"),
        ("nodes/db/crash", {"down": 5}, "down", "unit-missing"),
        ("nodes/db/crash", {"for": "5s"}, "for", "unknown-key"),
        ("nodes/db/pause", {"dow": "5s", "for": "1s"}, "dow", "unknown-key"),
        ("proxies/app-db/crash", {"donw": "5s"}, "donw", "unknown-key"),
        ("proxies/app-db/pause", {"for": []}, "for", "not-a-duration"),
        ("proxies/app-db/pause?for=5s", None, "for", "unknown-key"),
    ],
)
def test_a_wrong_duration_is_refused(path: str, body: object, field: str, code: str) -> None:
    async def scenario(api: Api) -> None:
        answer = await api.ask("POST", f"/v1/{path}", body)
        assert (answer.status, answer.wrong) == (400, {field: code})
        assert (await api.ask("GET", "/v1/status")).body["faults"] == 0

    play(scenario)


def test_a_proxy_that_goes_while_the_request_comes_in_leaves_no_half_crash() -> None:
    """The body comes in later than its head: by then one of the node's proxies is gone."""

    async def scenario(api: Api) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        head = "POST /v1/nodes/db/crash HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n".encode())
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n"), "it is in the handler now"
        await api.ask("DELETE", "/v1/proxies/cache-db")
        writer.write(b"{}")
        status = (await reader.readline()).split()[1]
        crashed = [one.spec.name for one in api.supervisor.proxies() if one.active_fault("crash:db")]
        assert (status, crashed) in ((b"200", ["app-db"]), (b"404", []))
        await reader.read()
        await hang_up((reader, writer))

    play(scenario)


def test_a_node_may_have_any_name() -> None:
    async def scenario(api: Api) -> None:
        wish = {"name": "odd", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "from": "app", "to": "a/b ü"}
        await api.ask("POST", "/v1/proxies", wish)
        answer = await api.ask("POST", "/v1/nodes/a%2Fb%20%C3%BC/crash")
        assert (answer.status, answer.body["proxies"]) == (200, ["odd"])
        assert (await states(api))["a/b ü"] == "crashed"
        [shown] = (await api.ask("GET", "/v1/proxies/odd/faults")).body["faults"]
        assert (await api.ask("DELETE", "/v1/proxies/odd/faults/crash%3Aa%2Fb%20%C3%BC")).status == 204
        assert shown["name"] == "crash:a/b ü"

    play(scenario)
