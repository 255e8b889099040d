"""What REST shows of a proxy's address: the port while it is off, and the reason while it cannot listen."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chaosproxy.model import PolicySpec
from tests.control.serving import Answer, Api, serving

FREE = {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
NODES = {"from": "app", "to": "db"}
ANYWHERE = PolicySpec(listen=("unix:/*", "127.0.0.1", "0.0.0.0", "::"))


async def refuse(api: Api) -> None:
    await api.ask("PUT", "/v1/proxies/db/faults/down", {"type": "refuse"})


async def crash(api: Api) -> None:
    await api.ask("POST", "/v1/proxies/db/crash", {})


async def disable(api: Api) -> None:
    await api.ask("PATCH", "/v1/proxies/db", {"enabled": False})


async def enable(api: Api) -> None:
    await api.ask("PATCH", "/v1/proxies/db", {"enabled": True})


async def heal(api: Api) -> None:
    await api.ask("POST", "/v1/heal", {})


async def other_setting(api: Api) -> None:
    await api.ask("PATCH", "/v1/proxies/db", {"upstream": "127.0.0.1:7", "listen": "127.0.0.1:0"})


async def same_address(api: Api) -> None:
    shown = (await api.ask("GET", "/v1/proxies/db")).body
    await api.ask("PATCH", "/v1/proxies/db", shown)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_chosen_port_stays_for_the_life_of_the_proxy(enabled: bool) -> None:
    async def scenario() -> None:
        async with serving() as api:
            made = await api.ask("POST", "/v1/proxies", {**FREE, "name": "db", "enabled": enabled})
            listen = made.body["listen"]
            assert listen != FREE["listen"]
            steps: list[Callable[[Api], Awaitable[None]]] = [
                enable, disable, same_address, other_setting, enable, refuse, same_address, disable, heal, enable,
                crash, heal, other_setting, disable, refuse, enable, heal,
            ]  # fmt: skip
            for step in steps:
                await step(api)
                assert (await api.ask("GET", "/v1/proxies/db")).body["listen"] == listen, step
                [status] = (await api.ask("GET", "/v1/status")).body["proxies"]
                assert status["listen"] == listen, step
                assert status["listening_on"] == ([listen] if status["enabled"] else []), step
                assert status["listening"] is status["enabled"], step
                assert status["listening_reason"] == (None if status["enabled"] else "disabled"), step

    asyncio.run(scenario())


@asynccontextmanager
async def robbed(tmp_path: Path) -> AsyncIterator[tuple[Api, Path]]:
    """A proxy `db` that refuses clients, and whose path another program has taken; `other` refuses too."""
    path = tmp_path / "sock"
    async with serving(policy=ANYWHERE) as api:
        for name, listen in (("db", f"unix:{path}"), ("other", "127.0.0.1:0")):
            wish = {"name": name, "listen": listen, "upstream": "127.0.0.1:9", **NODES}
            assert (await api.ask("POST", "/v1/proxies", wish)).status == 201
            await api.ask("PUT", f"/v1/proxies/{name}/faults/down", {"type": "refuse"})
            await api.ask("PUT", f"/v1/proxies/{name}/faults/slow", {"type": "latency", "delay": "1ms"})
        path.unlink()
        with socket.socket(socket.AF_UNIX) as thief:
            thief.bind(str(path))
            thief.listen()
            yield api, path


def check_problem(refused: Answer, path: Path) -> None:
    assert (refused.status, refused.body["code"]) == (409, "cannot-listen")
    assert refused.wrong == {"proxies.db.listen": "address-in-use"}
    assert f"unix:{path}" in refused.body["detail"]


@pytest.mark.parametrize("wish", [{}, {"proxy": "db"}, {"proxies": ["*"]}, {"fault": "down"}], ids=str)
def test_a_heal_removes_everything_and_lists_the_proxies_that_cannot_listen(
    tmp_path: Path, wish: dict[str, object]
) -> None:
    async def scenario() -> None:
        async with robbed(tmp_path) as (api, path):
            await api.ask("POST", "/v1/partitions", {**NODES, "id": "cut"})
            refused = await api.ask("POST", "/v1/heal", wish)
            check_problem(refused, path)
            removed = {f"{one['proxy']}/{one['fault']}" for one in refused.body["removed"]}
            slow = {"db/slow", "other/slow"} if "fault" not in wish else set()
            expected = {"db/down", "other/down"} | slow
            assert removed == (expected if "proxy" not in wish else {"db/down", "db/slow"})
            assert refused.body["partitions"] == ([] if wish else ["cut"])
            for one in removed:
                assert (await api.ask("GET", f"/v1/proxies/{one.replace('/', '/faults/')}")).status == 404

    asyncio.run(scenario())


def test_a_proxy_that_cannot_listen_is_shown_with_the_reason_and_can_be_changed_and_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with robbed(tmp_path) as (api, path):
            check_problem(await api.ask("POST", "/v1/heal", {}), path)
            ready = await api.ask("GET", "/readyz")
            assert (ready.status, ready.body["waiting_for"]) == (503, ["db"])
            reason = ready.body["reasons"]["db"]
            assert reason.startswith(f"cannot listen on unix:{path}: Address already in use")
            for shown in (
                (await api.ask("GET", "/v1/proxies/db")).body,
                (await api.ask("GET", "/v1/proxies")).body["proxies"][0],
                (await api.ask("GET", "/v1/status")).body["proxies"][0],
                (await api.ask("PATCH", "/v1/proxies/db", {"connect_timeout": "3s"})).body,
            ):
                assert (shown["name"], shown["listening"], shown["listening_reason"]) == ("db", False, reason)
            metrics = (await api.ask("GET", "/metrics")).body
            assert 'chaosproxy_listening{proxy="db"} 0.0' in metrics
            assert 'chaosproxy_listening{proxy="other"} 1.0' in metrics
            assert (await api.ask("POST", "/v1/heal", {})).status == 409, "as long as it cannot listen"
            moved = await api.ask("PATCH", "/v1/proxies/db", {"listen": f"unix:{path}2"})
            assert (moved.status, moved.body["listening"]) == (200, True)
            assert (await api.ask("GET", "/readyz")).status == 200
            assert (await api.ask("POST", "/v1/heal", {})).status == 200
            assert (await api.ask("DELETE", "/v1/proxies/db")).status == 204
            assert path.exists()

    asyncio.run(scenario())


def test_a_heal_tries_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with robbed(tmp_path) as (api, path):
            check_problem(await api.ask("POST", "/v1/heal", {}), path)
            path.unlink()
            assert (await api.ask("POST", "/v1/heal", {})).status == 200
            assert (await api.ask("GET", "/v1/proxies/db")).body["listening"] is True

    asyncio.run(scenario())


def test_the_end_of_one_fault_or_partition_is_told_as_well(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with robbed(tmp_path) as (api, path):
            assert (await api.ask("DELETE", "/v1/proxies/other/faults/down")).status == 204
            check_problem(await api.ask("DELETE", "/v1/proxies/db/faults/down"), path)
            assert (await api.ask("DELETE", "/v1/proxies/db/faults/down")).status == 404, "it is removed"
            assert (await api.ask("DELETE", "/v1/proxies/db/faults/slow")).status == 204, "it is told once"
            for end in ("DELETE", "POST"):
                await api.ask("POST", "/v1/partitions", {**NODES, "id": "cut", "fail_fast": True})
                if end == "DELETE":
                    check_problem(await api.ask("DELETE", "/v1/partitions/cut"), path)
                else:
                    refused = await api.ask("POST", "/v1/heal", {"partition": "cut"})
                    check_problem(refused, path)
                    assert refused.body["partitions"] == ["cut"]
                assert (await api.ask("GET", "/v1/partitions/cut")).status == 404

    asyncio.run(scenario())


def test_the_message_for_a_taken_port_names_the_proxy_that_has_it() -> None:
    async def scenario() -> None:
        async with serving(policy=ANYWHERE) as api:
            listen = (await api.ask("POST", "/v1/proxies", {**FREE, "name": "db", "enabled": False})).body["listen"]
            for host in ("127.0.0.1", "0.0.0.0", "[::]"):
                wish = {"name": "b", "upstream": "127.0.0.1:9", "listen": f"{host}:{listen.rpartition(':')[2]}"}
                refused = await api.ask("POST", "/v1/proxies", wish)
                assert (refused.status, refused.wrong) == (409, {"listen": "address-in-use"})
                assert f"(the proxy 'db' has {listen}, which is disabled and keeps it)" in refused.body["detail"]

    asyncio.run(scenario())


def test_ipv6only_is_a_setting_of_the_proxy() -> None:
    async def scenario() -> None:
        async with serving(policy=ANYWHERE) as api:
            wish = {"name": "db", "listen": "[::]:0", "upstream": "127.0.0.1:9", "ipv6only": True}
            made = (await api.ask("POST", "/v1/proxies", wish)).body
            assert made["ipv6only"] is True
            changed = (await api.ask("PATCH", "/v1/proxies/db", {"ipv6only": None})).body
            assert (changed["ipv6only"], changed["listen"]) == (False, made["listen"])
            refused = await api.ask("PATCH", "/v1/proxies/db", {"ipv6only": True, "listen": "127.0.0.1:0"})
            assert refused.wrong == {"ipv6only": "not-applicable"}

    asyncio.run(scenario())
