"""/v1/proxies and /v1/connections, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from aiohttp import web

from chaosproxy.control.v1 import proxies
from chaosproxy.control.web.body import read_object
from chaosproxy.model import PolicySpec
from chaosproxy.model.names import LONGEST
from tests.control.resolving import Resolving, free_address
from tests.control.serving import Api, echo_server, serving
from tests.net.building import proxy

SIDES = ("client", "server")
FREE = {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}


async def echo_through(listen: str, text: bytes) -> bytes:
    host, _, port = listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(text)
        return await reader.readexactly(len(text))
    finally:
        writer.close()
        await writer.wait_closed()


def test_a_proxy_and_its_faults_are_added_in_one_request() -> None:
    async def scenario() -> None:
        async with echo_server() as upstream, serving() as api:
            wish = {
                "name": "db",
                "listen": "127.0.0.1:0",
                "upstream": f"127.0.0.1:{upstream}",
                "faults": {"slow": {"type": "latency", "delay": "30ms"}},
            }
            added = await api.ask("POST", "/v1/proxies", wish)
            assert added.status == 201
            assert added.headers["Location"] == "/v1/proxies/db"
            assert added.body["listen"] != "127.0.0.1:0"
            assert added.body["faults"] == [
                {
                    "name": "slow", "type": "latency", "direction": "downstream", "probability": 1.0, "ttl": None,
                    "delay": "30ms",
                }
            ]  # fmt: skip
            started = asyncio.get_running_loop().time()
            assert await echo_through(added.body["listen"], b"hello") == b"hello"
            assert asyncio.get_running_loop().time() - started >= 0.030

    asyncio.run(scenario())


def test_what_is_answered_can_be_sent_back() -> None:
    async def scenario() -> None:
        async with serving() as api:
            faults = [
                {"name": "a", "type": "latency", "delay": "20ms", "ttl": "1h", "probability": "5%"},
                {"type": "latency", "delay": "1.5s", "direction": "both"},
            ]
            wish = {**FREE, "name": "db", "queue": "64KiB", "connect_timeout": "2s", "service": "db", "faults": faults}
            first = (await api.ask("POST", "/v1/proxies", wish)).body
            assert first["queue"] == "64KiB"
            assert [fault["name"] for fault in first["faults"]] == ["a", "latency-1"]

            assert (await api.ask("PATCH", "/v1/proxies/db", first)).body == first
            for fault in first["faults"]:
                put = await api.ask("PUT", f"/v1/proxies/db/faults/{fault['name']}", fault)
                assert (put.status, put.body) == (200, fault)
            assert (await api.ask("DELETE", "/v1/proxies/db")).status == 204
            again = await api.ask("POST", "/v1/proxies", first)
            assert (again.status, again.body) == (201, first)

    asyncio.run(scenario())


def test_every_wrong_field_is_named_where_it_was_sent() -> None:
    async def scenario() -> None:
        async with serving() as api:
            faults = [{"name": "ok", "type": "latency", "delay": "1ms"}, {"type": "latency", "delay": 20}, "what", {}]
            wish = {"name": "db", "listen": "nowhere", "upstrem": "127.0.0.1:1", "faults": faults}
            answer = await api.ask("POST", "/v1/proxies", wish)
            assert answer.status == 400
            assert answer.wrong == {
                "listen": "not-an-address",
                "upstream": "missing",
                "upstrem": "unknown-key",
                "faults.1.delay": "unit-missing",
                "faults.2": "wrong-type",
                "faults.3.type": "missing",
            }
            assert api.supervisor.proxies() == []

    asyncio.run(scenario())


def test_a_name_that_is_wrong_hides_no_other_problem() -> None:
    async def scenario() -> None:
        async with serving() as api:
            bad = {"listen": "nowhere", "upstream": "127.0.0.1:1"}
            stand_in = [{"name": "unnamed", "type": "stall"}, {"name": "", "type": "stall"}]
            answer = await api.ask("POST", "/v1/proxies", {**FREE, "name": "db", "faults": stand_in})
            assert answer.wrong == {"faults.1.name": "empty"}
            latency = {"type": "latency", "delay": 20}
            faults = [{"name": "", **latency}, {"name": "a", "type": "x"}, {"name": "a", "type": 1}]
            for body, code in (({}, "missing"), ({"name": ""}, "empty"), ({"name": 7}, "wrong-type")):
                answer = await api.ask("POST", "/v1/proxies", {**bad, **body, "faults": faults})
                assert list(answer.wrong.items()) == [
                    ("name", code), ("listen", "not-an-address"),
                    ("faults.0.name", "empty"), ("faults.0.delay", "unit-missing"),
                    ("faults.1.type", "unknown-fault-type"),
                    ("faults.2.name", "duplicate"), ("faults.2.type", "unknown-fault-type"),
                ], body  # fmt: skip
            await api.ask("POST", "/v1/proxies", {**FREE, "name": "db"})
            patch = await api.ask("PATCH", "/v1/proxies/db", {"name": "other", "from": 5, "enabled": "yes"})
            assert patch.wrong == {"name": "immutable", "from": "wrong-type", "enabled": "wrong-type"}
            made = await api.ask("POST", "/v1/proxies/db/faults", {**latency, "name": ""})
            assert made.wrong == {"name": "empty", "delay": "unit-missing"}
            other = {"faults": {"slow": {"name": "fast", **latency}}}
            patch = await api.ask("PATCH", "/v1/proxies/db", other)
            assert patch.wrong == {"faults.slow.name": "immutable", "faults.slow.delay": "unit-missing"}
            put = await api.ask("PUT", "/v1/proxies/db/faults/slow", {**latency, "name": "fast"})
            assert put.wrong == {"name": "immutable", "delay": "unit-missing"}

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["", "a\nb", "..", " db", "x" * 201, 7, None])
def test_a_name_that_cannot_stand_in_a_path_or_a_line_is_refused(name: object) -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask("POST", "/v1/proxies", {**FREE, "name": name})
            assert answer.status == 400
            assert list(answer.wrong) == ["name"]

    asyncio.run(scenario())


def test_a_name_is_as_long_as_in_a_file() -> None:
    """The answers are held against the OpenAPI document."""

    async def scenario() -> None:
        async with serving() as api:
            longest = "x" * LONGEST
            fault = {"name": longest, "type": "latency", "delay": "1ms"}
            added = await api.ask("POST", "/v1/proxies", {**FREE, "name": longest, "faults": [fault]})
            assert added.status == 201
            shown = await api.ask("GET", f"/v1/proxies/{longest}/faults/{longest}")
            assert (shown.status, shown.body["name"]) == (200, longest)

    asyncio.run(scenario())


def test_names_are_percent_decoded() -> None:
    async def scenario() -> None:
        async with serving() as api:
            added = await api.ask("POST", "/v1/proxies", {**FREE, "name": "data/base ü"})
            assert added.headers["Location"] == "/v1/proxies/data%2Fbase%20%C3%BC"
            shown = await api.ask("GET", added.headers["Location"])
            assert (shown.status, shown.body["name"]) == (200, "data/base ü")

    asyncio.run(scenario())


def test_a_taken_name_or_address_is_a_conflict_and_changes_nothing() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = f"127.0.0.1:{other.getsockname()[1]}"
            async with serving() as api:
                first = (await api.ask("POST", "/v1/proxies", {**FREE, "name": "db"})).body

                again = await api.ask("POST", "/v1/proxies", {**FREE, "name": "db"})
                assert (again.status, again.body["code"], again.wrong) == (409, "name-taken", {"name": "name-taken"})

                bound = await api.ask("POST", "/v1/proxies", {**FREE, "name": "other", "listen": taken})
                assert (bound.status, bound.body["code"]) == (409, "address-in-use")
                assert bound.wrong == {"listen": "address-in-use"}

                moved = await api.ask("PATCH", "/v1/proxies/db", {"listen": taken, "upstream": "127.0.0.1:10"})
                assert (moved.status, moved.wrong) == (409, {"listen": "address-in-use"})
                assert (await api.ask("GET", "/v1/proxies")).body == {"proxies": [first]}

    asyncio.run(scenario())


def test_a_name_that_is_not_there_is_answered_with_the_nearest() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await api.ask("POST", "/v1/proxies", {**FREE, "name": "db-primary"})
            for method, path, body in (
                ("GET", "/v1/proxies/db-primry", None),
                ("PATCH", "/v1/proxies/db-primry", {}),
                ("DELETE", "/v1/proxies/db-primry", None),
                ("GET", "/v1/connections?proxy=db-primry", None),
            ):
                answer = await api.ask(method, path, body)
                assert (answer.status, answer.body["code"]) == (404, "not-found")
                assert "did you mean 'db-primary'?" in answer.body["detail"]

    asyncio.run(scenario())


def test_a_patch_is_merged_into_what_there_is() -> None:
    async def scenario() -> None:
        async with serving() as api:
            faults = {name: {"type": "latency", "delay": "1ms"} for name in ("a", "b", "c")}
            wish = {**FREE, "name": "db", "service": "s", "faults": faults}
            before = (await api.ask("POST", "/v1/proxies", wish)).body
            change = {
                "upstream": "127.0.0.1:10",
                "service": None,
                "faults": {"a": {"delay": "2ms"}, "b": None, "d": {"type": "latency", "delay": "4ms"}},
            }
            after = (await api.ask("PATCH", "/v1/proxies/db", change)).body
            assert (after["upstream"], after["service"], after["listen"]) == ("127.0.0.1:10", None, before["listen"])
            assert {fault["name"]: fault["delay"] for fault in after["faults"]} == {"a": "2ms", "c": "1ms", "d": "4ms"}

            renamed = await api.ask("PATCH", "/v1/proxies/db", {"name": "other"})
            assert (renamed.status, renamed.wrong) == (400, {"name": "immutable"})

    asyncio.run(scenario())


def test_a_patch_is_merged_at_every_depth() -> None:
    async def scenario() -> None:
        async with serving() as api:
            wave = {"amplitude": "5ms", "period": "2s", "shape": "square"}
            faults = {"slow": {"type": "latency", "delay": "10ms", "wave": wave}}
            await api.ask("POST", "/v1/proxies", {**FREE, "name": "db", "faults": faults})
            patch = {"faults": {"slow": {"wave": {"period": "20s", "shape": None}}}}
            [slow] = (await api.ask("PATCH", "/v1/proxies/db", patch)).body["faults"]
            assert (slow["delay"], slow["wave"]) == ("10ms", {"amplitude": "5ms", "period": "20s"})

    asyncio.run(scenario())


def test_a_patch_that_is_wrong_anywhere_changes_nothing() -> None:
    async def scenario() -> None:
        async with serving() as api:
            before = (await api.ask("POST", "/v1/proxies", {**FREE, "name": "db"})).body
            change = {"upstream": "127.0.0.1:10", "faults": {"a": {"type": "latency", "delay": "soon"}}}
            answer = await api.ask("PATCH", "/v1/proxies/db", change)
            assert (answer.status, list(answer.wrong)) == (400, ["faults.a.delay"])
            assert (await api.ask("GET", "/v1/proxies/db")).body == before

    asyncio.run(scenario())


def test_disabled_closes_the_listener_and_enabled_opens_it_again() -> None:
    async def scenario() -> None:
        async with echo_server() as upstream, serving() as api:
            wish = {"name": "db", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream}"}
            added = (await api.ask("POST", "/v1/proxies", wish)).body
            assert (await api.ask("PATCH", "/v1/proxies/db", {"enabled": False})).body["enabled"] is False
            with pytest.raises(ConnectionRefusedError):
                await echo_through(added["listen"], b"x")
            assert (await api.ask("GET", "/readyz")).status == 200
            opened = (await api.ask("PATCH", "/v1/proxies/db", {"enabled": True})).body
            assert await echo_through(opened["listen"], b"hello") == b"hello"

    asyncio.run(scenario())


class Bodies:
    """Counts the bodies that have been read; a handler then runs without a pause until it waits for its turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._read = asyncio.Semaphore(0)
        monkeypatch.setattr(proxies, "read_object", self._read_object)

    async def _read_object(self, request: web.Request) -> dict[str, object]:
        body = await read_object(request)
        self._read.release()
        return body

    async def another(self) -> None:
        await self._read.acquire()


def test_patches_at_the_same_time_lose_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving() as api:
            resolving, bodies = Resolving(monkeypatch), Bodies(monkeypatch)
            await api.ask("POST", "/v1/proxies", {**FREE, "name": "db"})
            await bodies.another()
            where = f"localhost:{free_address()[1]}"
            moving = asyncio.create_task(api.ask("PATCH", "/v1/proxies/db", {"listen": where}))
            await resolving.begun.wait()
            await bodies.another()
            other = asyncio.create_task(api.ask("PATCH", "/v1/proxies/db", {"connect_timeout": "3s"}))
            await bodies.another()
            resolving.go_on()
            assert ((await moving).body["listen"], (await moving).body["connect_timeout"]) == (where, "10s")
            assert ((await other).body["listen"], (await other).body["connect_timeout"]) == (where, "3s")
            assert (await api.ask("GET", "/v1/proxies/db")).body == (await other).body

    asyncio.run(scenario())


def test_the_policy_is_asked_about_the_addresses_at_the_time_of_the_change(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        policy = PolicySpec(listen=("127.0.0.1", "localhost"))
        async with serving(policy=policy) as api:
            resolving, bodies = Resolving(monkeypatch), Bodies(monkeypatch)
            outside = f"127.0.0.2:{free_address()[1]}"
            await api.supervisor.add_proxy(proxy("db", listen=outside, upstream="127.0.0.1:9"), "file")
            moving = asyncio.create_task(api.ask("PATCH", "/v1/proxies/db", {"listen": "localhost:0"}))
            await resolving.begun.wait()
            await bodies.another()
            back = asyncio.create_task(api.ask("PATCH", "/v1/proxies/db", {"listen": outside}))
            await bodies.another()
            resolving.go_on()
            assert (await moving).status == 200
            assert ((await back).status, (await back).wrong) == (403, {"listen": "forbidden-by-policy"})
            assert (await api.ask("GET", "/v1/proxies/db")).body["listen"] == (await moving).body["listen"]

    asyncio.run(scenario())


def test_a_patch_does_not_change_another_proxy_that_has_the_name_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving() as api:
            resolving, bodies = Resolving(monkeypatch), Bodies(monkeypatch)
            await api.ask("POST", "/v1/proxies", {**FREE, "name": "db"})
            await bodies.another()
            slow = asyncio.create_task(api.ask("POST", "/v1/proxies", {**FREE, "name": "x", "listen": "localhost:0"}))
            await resolving.begun.wait()
            removing = asyncio.create_task(api.supervisor.remove_proxy("db", "rest"))
            another = proxy("db", upstream="127.0.0.1:7777")
            adding = asyncio.create_task(api.supervisor.add_proxy(another, "rest"))
            await bodies.another()
            patching = asyncio.create_task(api.ask("PATCH", "/v1/proxies/db", {"connect_timeout": "3s"}))
            await bodies.another()
            resolving.go_on()
            assert (await slow).status == 201
            await removing
            assert ((await patching).status, (await patching).body["code"]) == (404, "not-found")
            assert (await adding).spec == another

    asyncio.run(scenario())


async def open_through(api: Api, listen: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"12345")
    assert await reader.readexactly(5) == b"12345"
    return reader, writer


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_is_listed_and_ended(how: str) -> None:
    async def scenario() -> None:
        async with echo_server() as upstream, serving() as api:
            wish = {"name": "a:b", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream}"}
            listen = (await api.ask("POST", "/v1/proxies", wish)).body["listen"]
            reader, writer = await open_through(api, listen)
            [listed] = (await api.ask("GET", "/v1/connections?proxy=a%3Ab")).body["connections"]
            assert listed["id"] == "a:b:1"
            assert listed["client"].endswith(str(writer.get_extra_info("sockname")[1]))
            assert (listed["bytes_upstream"], listed["bytes_downstream"]) == (5, 5)
            assert (listed["shape"], listed["turns"], listed["faults"]) == ("turns", 1, [])
            assert listed["turn_open_for_s"] is None
            if sys.platform == "linux":
                assert 0 <= listed["last_activity_s"] <= listed["open_for_s"] + 0.1
                assert 0 < listed["tcp_client"]["rtt_s"] < 1 and listed["tcp_server"]["retransmits"] == 0

            await api.ask("PUT", "/v1/proxies/a%3Ab/faults/held", {"type": "stall", "direction": "upstream"})
            writer.write(b"678")
            running = api.supervisor.proxy("a:b")
            while not running.registry.held("upstream"):
                await asyncio.sleep(0.001)
            [listed] = (await api.ask("GET", "/v1/connections")).body["connections"]
            assert (listed["turns"], listed["held_upstream"], listed["held_downstream"]) == (2, 3, 0)
            assert listed["faults"] == ["held"] and 0 <= listed["turn_open_for_s"] <= listed["open_for_s"]

            ended = await api.ask("DELETE", f"/v1/connections/a%3Ab:1?how={how}")
            assert ended.status == 204
            if how == "reset":
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            else:
                assert await reader.read() == b""
            writer.close()
            if how == "close":
                await writer.wait_closed()

    asyncio.run(scenario())


def test_a_connection_shows_which_side_has_ended_and_which_fault_holds_that_now() -> None:
    async def scenario() -> None:
        async with echo_server() as upstream, serving() as api:
            stall = {"type": "stall", "name": "dark", "direction": "upstream"}
            wish = {"name": "db", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream}"}
            listen = (await api.ask("POST", "/v1/proxies", wish)).body["listen"]
            reader, writer = await open_through(api, listen)

            async def listed() -> dict[str, object]:
                [found] = (await api.ask("GET", "/v1/connections")).body["connections"]
                return {key: found[key] for key in ("first", *nothing)}

            nothing = dict.fromkeys(f"{side}_{fact}" for side in SIDES for fact in ("ended_s", "how", "held_by"))
            assert await listed() == {"first": None, **nothing}
            await api.ask("POST", "/v1/proxies/db/faults", stall)
            writer.write_eof()
            while (now := await listed())["first"] is None:
                await asyncio.sleep(0)
            assert isinstance(now["client_ended_s"], float)
            held = {**nothing, "client_ended_s": now["client_ended_s"], "client_how": "fin", "client_held_by": "dark"}
            assert now == {"first": "client", **held}
            await api.ask("POST", "/v1/heal")
            assert await reader.read() == b""  # the server has the end, and has ended too
            assert (await api.ask("GET", "/v1/connections")).body["connections"] == []
            writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("identity", ["db:7", "db", "nobody:1", "db:", "db:01", "db:x"])
def test_a_connection_that_is_not_open_is_not_found(identity: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            await api.ask("POST", "/v1/proxies", {**FREE, "name": "db"})
            assert (await api.ask("DELETE", f"/v1/connections/{identity}")).status == 404

    asyncio.run(scenario())


def test_an_unknown_query_parameter_or_value_is_refused() -> None:
    async def scenario() -> None:
        async with serving() as api:
            unknown = await api.ask("GET", "/v1/connections?prxy=db")
            assert (unknown.status, unknown.wrong) == (400, {"prxy": "unknown-key"})
            twice = await api.ask("GET", "/v1/connections?proxy=a&proxy=b")
            assert (twice.status, twice.wrong) == (400, {"proxy": "duplicate"})
            how = await api.ask("DELETE", "/v1/connections/db:1?how=slowly")
            assert (how.status, how.wrong) == (400, {"how": "unknown-value"})

    asyncio.run(scenario())
