"""The only way to change anything: all or nothing, and the old state still serving."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from chaosproxy.errors import CannotListen, Conflict, NotFound
from chaosproxy.model import Address, Config
from chaosproxy.net.sockets import listener
from chaosproxy.net.sockets.binding import bind_all
from tests.control.resolving import Resolving
from tests.net.building import fault, proxy
from tests.net.harness import Stage, address_of, receive, run, send, turns
from tests.supervising import change_proxy

LOOP = "uvloop"


def test_apply_is_all_or_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        taken = stage.listener().getsockname()[1]
        new = proxy("new", upstream="127.0.0.1:9")
        blocked = proxy("blocked", listen=f"127.0.0.1:{taken}", upstream="127.0.0.1:9")
        with pytest.raises(CannotListen) as caught:
            await stage.supervisor.apply(Config(proxies=(new, blocked)), "test")
        assert caught.value.code == "address-in-use"
        assert [one.spec.name for one in stage.supervisor.proxies()] == ["proxy"]
        await send(client, b"still serving")
        assert await receive(server, 13) == b"still serving"
        assert running.listening_on

    run(LOOP, scenario)


def test_apply_touches_only_what_differs() -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        where = running.listening_on
        spec = replace(running.spec, faults=(fault("slow", type="latency", delay="1ms"),))
        other = proxy("other", upstream="127.0.0.1:9")
        await stage.supervisor.apply(Config(proxies=(spec, other)), "test")
        assert running.listening_on == where
        assert [one.name for one in running.spec.faults] == ["slow"]
        await send(server, b"same connection")
        assert await receive(client, 15) == b"same connection"
        await stage.supervisor.apply(Config(proxies=(other,)), "test")
        assert [one.spec.name for one in stage.supervisor.proxies()] == ["other"]

    run(LOOP, scenario)


def test_a_change_that_fails_leaves_the_proxy_as_it_was() -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        taken = stage.listener().getsockname()
        before = running.spec
        wanted = proxy("proxy", listen=f"127.0.0.1:{taken[1]}", upstream="127.0.0.1:9")
        with pytest.raises(CannotListen):
            await change_proxy(stage.supervisor, wanted, "test")
        assert running.spec == before
        await send(client, b"x")
        assert await receive(server, 1) == b"x"

    run(LOOP, scenario)


def test_disabling_closes_and_enabling_serves_again() -> None:
    async def scenario(stage: Stage) -> None:
        upstream = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{upstream.getsockname()[1]}")
        client = await stage.connect(running)
        await stage.accept(upstream)
        await change_proxy(stage.supervisor, replace(running.spec, enabled=False), "test")
        assert running.listening_on == []
        assert await receive(client, 1) == b""
        await change_proxy(stage.supervisor, replace(running.spec, enabled=True), "test")
        again = await stage.connect(running)
        await send(again, b"x")
        assert await receive(await stage.accept(upstream), 1) == b"x"

    run(LOOP, scenario)


def test_a_proxy_that_is_enabled_by_a_change_that_fails_stays_off() -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:9", enabled=False)
        assert running.listener is not None
        where = "127.0.0.1", running.listener.addresses[0].port
        taken = stage.listener().getsockname()[1]
        blocked = proxy("blocked", listen=f"127.0.0.1:{taken}", upstream="127.0.0.1:9")
        enabled = replace(running.spec, enabled=True)
        with pytest.raises(CannotListen):
            await stage.supervisor.apply(Config(proxies=(enabled, blocked)), "test")
        client = stage.keep(socket.socket())
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().sock_connect(client, where)
        await stage.supervisor.apply(Config(proxies=(enabled,)), "test")
        assert [one.port for one in running.listening_on] == [where[1]]

    run(LOOP, scenario)


def test_a_move_over_its_own_address_with_a_fault_loses_no_address() -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:9", faults={"down": {"type": "refuse"}})
        assert running.listener is not None
        everywhere = Address("0.0.0.0", running.listener.addresses[0].port)
        slow = (fault("slow", type="latency", delay="1ms"),)
        await change_proxy(stage.supervisor, replace(running.spec, listen=everywhere, faults=slow), "test")
        assert running.listening_on == [everywhere]
        assert not [one for one in stage.events if one.kind == "listen_failed"]

    run(LOOP, scenario)


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_fault_that_is_added_during_a_move_over_its_own_address(
    monkeypatch: pytest.MonkeyPatch, succeeds: bool
) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:9")
        before = running.listening_on
        calls: list[Address] = []

        async def bind(address: Address, **how: bool) -> list[socket.socket]:
            calls.append(address)
            if len(calls) == 2:  # the proxy has released its address
                stage.supervisor.put_fault("proxy", fault("slow", type="latency", delay="1ms"), "test")
                await turns()
                if not succeeds:
                    raise CannotListen("no", "address-in-use")
            return await bind_all(address, **how)

        monkeypatch.setattr(listener, "bind_all", bind)
        everywhere = replace(before[0], host="0.0.0.0")
        change = stage.supervisor.merge_proxy("proxy", lambda one: replace(one.spec, listen=everywhere), "test")
        if succeeds:
            await change
        else:
            with pytest.raises(CannotListen):
                await change
        assert len(calls) == 2
        assert running.listening_on == ([everywhere] if succeeds else before)
        await stage.connect(running)
        await stage.event("dial_failed")
        assert [one.name for one in running.spec.faults] == ["slow"]
        assert not [one for one in stage.events if one.kind == "listen_failed"]

    run(LOOP, scenario)


def test_a_disabled_proxy_may_have_an_address_that_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stage: Stage) -> None:
        taken = Address(*stage.listener().getsockname())
        running = await stage.proxy_to("127.0.0.1:9", enabled=False)
        assert running.listener is not None
        before = running.listener.addresses[0]
        await change_proxy(stage.supervisor, replace(running.spec, listen=taken), "test")
        assert f"the address of the disabled proxy proxy cannot be kept for it: cannot listen on {taken}" in caplog.text
        with pytest.raises(CannotListen) as caught:
            await change_proxy(stage.supervisor, replace(running.spec, enabled=True), "test")
        assert [one.path for one in caught.value.problems] == [("listen",)]
        await stage.supervisor.add_proxy(proxy("other", listen=str(before), upstream="127.0.0.1:9"), "test")

    run(LOOP, scenario)


def test_names_are_unique_and_absent_ones_are_suggested() -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:9", faults={"slow": {"type": "stall"}})
        with pytest.raises(Conflict):
            await stage.supervisor.add_proxy(proxy("proxy", upstream="127.0.0.1:9"), "test")
        with pytest.raises(Conflict):
            stage.supervisor.add_fault("proxy", fault("slow", type="stall"), "test")
        with pytest.raises(NotFound, match="did you mean 'proxy'"):
            stage.supervisor.proxy("proxi")
        with pytest.raises(NotFound, match="did you mean 'slow'"):
            stage.supervisor.remove_fault("proxy", "slwo", "test")
        assert address_of(running)

    run(LOOP, scenario)


def test_every_change_tells_who_asked() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.proxy_to("127.0.0.1:9")
        for change in ("added", "changed"):
            stage.supervisor.put_fault("proxy", fault("f", type="stall"), "rest")
            event = await stage.event(f"fault_{change}")
            assert (event.proxy, event.by) == ("proxy", "rest")  # type: ignore[attr-defined]
        removed = stage.supervisor.heal("cli")
        assert [(where, gone.name) for where, gone in removed] == [("proxy", "f")]
        assert (await stage.event("fault_removed")).by == "cli"  # type: ignore[attr-defined]

    run(LOOP, scenario)


@pytest.mark.parametrize("first", [True, False], ids=["while it binds", "while it waits for its turn"])
def test_faults_that_are_added_or_removed_during_a_change_stay_so(first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        supervisor, resolving = stage.supervisor, Resolving(monkeypatch)
        running = await stage.proxy_to("127.0.0.1:9", faults={name: {"type": "stall"} for name in ("a", "b", "c")})
        tasks = []
        if not first:
            ahead = proxy("ahead", listen="localhost:0", upstream="127.0.0.1:9")
            tasks.append(asyncio.create_task(supervisor.add_proxy(ahead, "test")))
        wanted = replace(running.spec, listen=Address("localhost", 0), faults=running.spec.faults[:2])
        tasks.append(asyncio.create_task(supervisor.merge_proxy("proxy", lambda _: wanted, "test")))
        await resolving.begun.wait()
        supervisor.add_fault("proxy", fault("late", type="stall"), "test")
        if first:
            supervisor.remove_fault("proxy", "a", "test")
        resolving.go_on()
        await asyncio.gather(*tasks)
        assert {one.name for one in running.spec.faults} == ({"b", "late"} if first else {"a", "b", "late"})

    run(LOOP, scenario)


def test_a_merge_finds_the_outcome_of_the_change_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        supervisor, resolving = stage.supervisor, Resolving(monkeypatch)
        running = await stage.proxy_to("127.0.0.1:9")
        moved = replace(running.spec, listen=Address("localhost", 0))
        moving = asyncio.create_task(change_proxy(supervisor, moved, "test"))
        merging = asyncio.create_task(
            supervisor.merge_proxy("proxy", lambda present: replace(present.spec, connect_timeout=3.0), "test")
        )
        await resolving.begun.wait()
        resolving.go_on()
        await asyncio.gather(moving, merging)
        assert running.spec == replace(moved, connect_timeout=3.0)

    run(LOOP, scenario)


def test_a_change_is_refused_if_another_proxy_has_its_name_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        supervisor, resolving = stage.supervisor, Resolving(monkeypatch)
        running = await stage.proxy_to("127.0.0.1:9")
        another = proxy("proxy", upstream="127.0.0.1:7777")
        ahead = proxy("ahead", listen="localhost:0", upstream="127.0.0.1:9")
        tasks = [
            asyncio.create_task(one)
            for one in (
                supervisor.add_proxy(ahead, "test"),
                supervisor.remove_proxy("proxy", "test"),
                supervisor.add_proxy(another, "test"),
                change_proxy(supervisor, replace(running.spec, connect_timeout=3.0), "test"),
            )
        ]
        await resolving.begun.wait()
        resolving.go_on()
        *_, outcome = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcome, NotFound)
        assert supervisor.proxy("proxy").spec == another

    run(LOOP, scenario)
