"""A configuration applied to a running supervisor, and then another: what becomes of things that others made."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.errors import CannotListen, InvalidInput
from chaosproxy.events import FaultRemoved, PartitionRemoved, ProxyRemoved
from chaosproxy.model import Config, ProxySpec
from tests.control.resolving import Resolving, free_address
from tests.net.building import fault, partition, proxy
from tests.net.harness import LOOPS, Stage, receive, run, send, turns
from tests.net.tls_peers import Certs
from tests.supervising import change_proxy, statuses

LOOP = "uvloop"
FILE, REST = "file", "rest"
APP_DB = {"from": "app", "to": "db"}


def db(**settings: object) -> ProxySpec:
    return proxy("db", **{"upstream": "127.0.0.1:9", **APP_DB, **settings})


def slow(delay: str = "1ms") -> dict[str, object]:
    return {"type": "latency", "delay": delay}


def made(supervisor: Supervisor) -> dict[str, str]:
    """Who made each proxy, fault and partition: `db`, `db/slow`, `cut!`."""
    proxies = statuses(supervisor)
    found = {one.spec.name: one.origin.by for one in proxies}
    found |= {f"{one.spec.name}/{it.spec.name}": it.origin.by for one in proxies for it in one.faults}
    return found | {f"{one.spec.id}!": one.by for one in supervisor.partitions.all()}


def test_what_rest_made_stays_unless_the_file_names_it() -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        first = Config(proxies=(db(faults={"own": slow(), "old": slow()}),), partitions=(partition("cut", **APP_DB),))
        await supervisor.apply(first, FILE)
        await supervisor.add_proxy(proxy("extra", upstream="127.0.0.1:9", faults={"x": slow()}), REST)
        supervisor.put_fault("db", fault("added", **slow()), REST)
        supervisor.partitions.add(partition("other", **APP_DB), REST)
        assert made(supervisor) == {
            "db": FILE, "db/own": FILE, "db/old": FILE, "db/added": REST, "extra": REST, "extra/x": REST,
            "cut!": FILE, "other!": REST,
        }  # fmt: skip

        await supervisor.apply(Config(proxies=(db(faults={"own": slow()}),)), FILE)
        assert made(supervisor) == {
            "db": FILE, "db/own": FILE, "db/added": REST, "extra": REST, "extra/x": REST, "other!": REST,
        }  # fmt: skip

        named = replace(supervisor.proxy("extra").spec, faults=(fault("x", **slow()), fault("y", **slow())))
        second = Config(
            proxies=(db(faults={"added": slow("2ms")}), named), partitions=(partition("other", **APP_DB),)
        )
        await supervisor.apply(second, FILE)
        assert set(made(supervisor)) == {"db", "db/added", "extra", "extra/x", "extra/y", "other!"}
        assert set(made(supervisor).values()) == {FILE}

        await supervisor.apply(Config(), FILE)
        assert made(supervisor) == {}

    run(LOOP, scenario)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("succeeds", [True, False])
def test_addresses_that_a_configuration_frees_can_be_used_in_it(enabled: bool, succeeds: bool, tmp_path: Path) -> None:
    """One proxy is renamed, two swap their ports, and two their paths."""

    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        ports = [f"127.0.0.1:{free_address()[1]}" for _ in range(3)]
        paths = [f"unix:{tmp_path}/{name}" for name in "pq"]
        before = dict(zip("abcpq", (*ports, *paths), strict=True))
        after = {"new": ports[0], "b": ports[2], "c": ports[1], "p": paths[1], "q": paths[0]}

        def config(listen: dict[str, str], enabled: bool) -> Config:
            made = (proxy(name, listen=one, upstream="127.0.0.1:9", enabled=enabled) for name, one in listen.items())
            return Config(proxies=tuple(made))

        def listening() -> dict[str, str]:
            return {one.spec.name: str(one.listening_on[0]) for one in supervisor.proxies() if one.listening_on}

        await supervisor.apply(config(before, enabled), FILE)
        if not succeeds:
            blocked = f"127.0.0.1:{stage.listener().getsockname()[1]}"
            with pytest.raises(CannotListen) as refused:
                await supervisor.apply(config({**after, "blocked": blocked}, True), FILE)
            assert [one.path for one in refused.value.problems] == [("proxies", "blocked", "listen")]
            assert listening() == (before if enabled else {})
        await supervisor.apply(config(after if succeeds else before, True), FILE)
        assert listening() == (after if succeeds else before)
        assert not [one for one in stage.events if one.kind == "listen_failed"]
        for one in supervisor.proxies():
            address = one.listening_on[0]
            with socket.socket(socket.AF_UNIX if address.is_unix else socket.AF_INET) as client:
                client.connect(address.host if address.is_unix else (address.host, address.port))

    run(LOOP, scenario)


def test_what_the_file_names_is_as_it_says_whoever_changed_it() -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        config = Config(proxies=(db(faults={"own": slow()}),), partitions=(partition("cut", **APP_DB),))
        await supervisor.apply(config, FILE)
        supervisor.put_fault("db", fault("own", **slow("9s")), REST)
        await change_proxy(supervisor, replace(supervisor.proxy("db").spec, service="changed"), REST)
        supervisor.partitions.remove("cut", REST)
        supervisor.partitions.add(partition("cut", one_way=True, **APP_DB), REST)
        assert made(supervisor) == {"db": FILE, "db/own": FILE, "cut!": REST}, "a change does not alter the maker"

        await supervisor.apply(config, FILE)
        assert supervisor.proxy("db").spec == config.proxies[0]
        [cut] = supervisor.partitions.all()
        assert (cut.spec, cut.by) == (config.partitions[0], FILE)
        assert made(supervisor) == {"db": FILE, "db/own": FILE, "cut!": FILE}

    run(LOOP, scenario)


def test_things_of_others_go_on_undisturbed() -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair(faults={"slow": slow()})  # made by "test"
        where = running.listening_on
        since = statuses(stage.supervisor)[0].origin.since
        told = len(stage.events)
        await stage.supervisor.apply(Config(proxies=(db(),)), FILE)
        assert [event.kind for event in stage.events[told:]] == ["proxy_added"]
        assert (running.listening_on, [one.name for one in running.spec.faults]) == (where, ["slow"])
        await send(client, b"same connection")
        assert await receive(server, 15) == b"same connection"
        assert statuses(stage.supervisor)[0].origin.since == since

        await stage.supervisor.apply(Config(proxies=(replace(running.spec, faults=()), db())), FILE)
        assert made(stage.supervisor) == {"proxy": FILE, "proxy/slow": "test", "db": FILE}
        assert running.listening_on == where
        await send(client, b"still")
        assert await receive(server, 5) == b"still"

    run(LOOP, scenario)


def test_a_proxy_that_goes_takes_its_faults_along() -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        await supervisor.apply(Config(proxies=(db(),)), FILE)
        supervisor.put_fault("db", fault("mine", **slow()), REST)
        await supervisor.apply(Config(), FILE)
        assert made(supervisor) == {}
        await supervisor.add_proxy(db(faults={"mine": slow()}), "scenario")
        assert made(supervisor) == {"db": "scenario", "db/mine": "scenario"}, "nothing is left of those before"

    run(LOOP, scenario)


def test_a_partition_of_the_file_goes_through_proxies_of_others() -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        await supervisor.add_proxy(db(), REST)
        await supervisor.apply(Config(partitions=(partition("cut", **APP_DB),)), FILE)
        assert supervisor.proxy("db").partitions == ["cut"]
        assert made(supervisor) == {"db": REST, "cut!": FILE}

    run(LOOP, scenario)


def test_a_fault_of_another_that_the_new_settings_do_not_allow_refuses_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    certs = Certs(tmp_path_factory.mktemp("certs"))

    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        await supervisor.apply(Config(proxies=(db(listen_tls=certs.listen()),)), FILE)
        supervisor.put_fault("db", fault("wrong", type="tls_handshake", how="expired_cert"), REST)
        before = made(supervisor)
        with pytest.raises(InvalidInput) as refused:
            await supervisor.apply(Config(proxies=(db(),)), FILE)
        assert [one.field for one in refused.value.problems] == ["proxies.db.faults.wrong.type"]
        assert made(supervisor) == before
        assert supervisor.proxy("db").spec.listen_tls is not None

    run(LOOP, scenario)


def test_an_apply_that_fails_changes_no_maker() -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        await supervisor.add_proxy(db(faults={"f": slow()}), REST)
        taken = stage.listener().getsockname()[1]
        blocked = proxy("blocked", listen=f"127.0.0.1:{taken}", upstream="127.0.0.1:9")
        with pytest.raises(CannotListen):
            await supervisor.apply(Config(proxies=(db(faults={"f": slow()}), blocked)), FILE)
        assert made(supervisor) == {"db": REST, "db/f": REST}

    run(LOOP, scenario)


def test_a_fault_that_comes_while_a_socket_is_bound_stays() -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        await supervisor.apply(Config(proxies=(db(),)), FILE)
        moved = db(listen="localhost:0", faults={"own": slow()})
        change = asyncio.ensure_future(supervisor.apply(Config(proxies=(moved,)), FILE))
        await asyncio.sleep(0)  # it looks its address up
        assert not change.done()
        supervisor.put_fault("db", fault("late", **slow()), REST)
        await change
        assert made(supervisor) == {"db": FILE, "db/late": REST, "db/own": FILE}

    run(LOOP, scenario)


def test_events_say_who_asked() -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        cut = partition("cut", **APP_DB)
        await supervisor.apply(Config(proxies=(db(faults={"f": slow()}),), partitions=(cut,)), FILE)
        supervisor.remove_fault("db", "f", REST)
        await supervisor.apply(Config(), FILE)
        told = [(type(one), one.by) for one in stage.events if hasattr(one, "by") and "removed" in one.kind]  # type: ignore[attr-defined]
        assert told == [(FaultRemoved, REST), (PartitionRemoved, FILE), (ProxyRemoved, FILE)]

    run(LOOP, scenario)


@pytest.mark.parametrize("loop_name", list(LOOPS))
def test_a_client_that_comes_while_apply_binds_waits_and_is_reset_if_apply_fails(
    loop_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(stage: Stage) -> None:
        resolving = Resolving(monkeypatch)
        host, port = free_address()
        taken = stage.listener().getsockname()[1]
        specs = (
            proxy("one", listen=f"{host}:{port}", upstream="127.0.0.1:9"),
            proxy("two", listen=f"localhost:{taken}", upstream="127.0.0.1:9"),
        )
        applying = asyncio.create_task(stage.supervisor.apply(Config(proxies=specs), FILE))
        await resolving.begun.wait()
        client = stage.keep(socket.socket())
        await asyncio.get_running_loop().sock_connect(client, (host, port))
        await turns()
        resolving.go_on()
        with pytest.raises(CannotListen):
            await applying
        with pytest.raises(ConnectionResetError):
            await receive(client, 1)
        assert [event.kind for event in stage.events] == []

    run(loop_name, scenario)


@pytest.mark.parametrize("loop_name", list(LOOPS))
def test_a_client_that_comes_while_apply_binds_meets_the_partition_that_it_adds(
    loop_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(stage: Stage) -> None:
        resolving = Resolving(monkeypatch)
        host, port = free_address()
        server = stage.listener()
        specs = (
            db(listen=f"{host}:{port}", upstream=f"127.0.0.1:{server.getsockname()[1]}"),
            proxy("two", listen="localhost:0", upstream="127.0.0.1:9"),
        )
        cut = partition("cut", fail_fast=True, **APP_DB)
        applying = asyncio.create_task(stage.supervisor.apply(Config(proxies=specs, partitions=(cut,)), FILE))
        await resolving.begun.wait()
        client = stage.keep(socket.socket())
        await asyncio.get_running_loop().sock_connect(client, (host, port))
        await send(client, b"through")
        await turns()
        resolving.go_on()
        await applying
        with pytest.raises(ConnectionResetError):
            await receive(client, 1)
        tally = stage.supervisor.proxy("db").tally
        assert (tally.attempts["reset"], tally.opened) == (1, 0)
        with pytest.raises(BlockingIOError):  # nothing was dialled
            server.accept()

    run(loop_name, scenario)
