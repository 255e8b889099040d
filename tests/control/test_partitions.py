"""Partitions at work on a real supervisor: all proxies of a cut at once, overlapping, timed, and all or none.

What a cut does to packets and bytes is shown in tests/net; here it is which proxies are cut, and when. Where
time matters the test moves the clock, so that a day takes none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

import pytest
from prometheus_client import generate_latest

from chaosproxy.control.partitions import ActivePartition
from chaosproxy.control.selection import put_on
from chaosproxy.control.status import partition_status
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.control.v1.views import partition_view
from chaosproxy.control.wall import WallClock
from chaosproxy.errors import ChaosproxyError, Conflict, InvalidInput, NotFound, Unsupported
from chaosproxy.events import (
    Event,
    FaultRemoved,
    PartitionAdded,
    PartitionExpired,
    PartitionRemoved,
)
from chaosproxy.faults.base import NEVER
from chaosproxy.model import Config, ProxySpec
from chaosproxy.model.partition import PartitionSpec, cut_by, written
from chaosproxy.model.topology import bad_switch, flaky_link
from chaosproxy.net.kernel.capabilities import Capabilities, Capability
from chaosproxy.observe import GcPauses, make_registry
from chaosproxy.seed import Seed
from tests.control.serving import echo_server
from tests.net.building import fault, partition, proxy
from tests.net.clockwork import Clockwork
from tests.refused import places
from tests.supervising import change_proxy

Scenario: TypeAlias = Callable[[Supervisor], Awaitable[None]]
TimedScenario: TypeAlias = Callable[[Supervisor, Clockwork], Awaitable[None]]

ALL = Capabilities(*(Capability(name, "for tests") for name in ("filters", "pacing", "tcp_info", "tap")))
NO_FILTERS = replace(ALL, filters=Capability("filters", "drops", "no privilege", "grant it"))
WHY = "no privilege; grant it (`chaosproxy doctor` explains)"
SEED = Seed(1)


def play(scenario: Scenario, kernel: Capabilities = NO_FILTERS) -> None:
    """On real sockets, in real time."""

    async def main() -> None:
        supervisor = Supervisor(SEED, kernel=kernel)
        try:
            async with asyncio.timeout(60):
                await scenario(supervisor)
        finally:
            await supervisor.close()

    asyncio.run(main())


def timed(scenario: TimedScenario, kernel: Capabilities = ALL) -> None:
    """Without sockets: proxies that are disabled, so that a filter is attached to none. The scenario moves time."""

    async def main() -> None:
        time = Clockwork()
        supervisor = Supervisor(SEED, kernel=kernel, clock=time.clock, make_timer=time.make_timer)
        try:
            await scenario(supervisor, time)
        finally:
            await supervisor.close()

    asyncio.run(main())


def still(scenario: Scenario, kernel: Capabilities = ALL) -> None:
    """The same, while time stands still."""
    timed(lambda supervisor, _: scenario(supervisor), kernel)


def between(client: str, server: str, name: str | None = None, **settings: object) -> ProxySpec:
    return proxy(name or f"{client}-{server}", **{"upstream": "127.0.0.1:9", "from": client, "to": server, **settings})


def quiet(client: str, server: str, name: str | None = None, **settings: object) -> ProxySpec:
    """A proxy without a socket."""
    return between(client, server, name, enabled=False, **settings)


APP_DB = {"from": "app", "to": "db"}


async def add(supervisor: Supervisor, *specs: ProxySpec) -> None:
    for spec in specs:
        await supervisor.add_proxy(spec, "test")


def severed(supervisor: Supervisor) -> dict[str, str]:
    """Which ways nothing gets through, for each proxy where there is such a way."""
    found = {}
    for one in supervisor.proxies():
        there, back = one.severed("upstream"), one.severed("downstream")
        if there or back:
            found[one.spec.name] = "both" if there and back else "upstream" if there else "downstream"
    return found


def view_of(supervisor: Supervisor, active: ActivePartition) -> dict[str, object]:
    return partition_view(partition_status(active, supervisor.proxies()), WallClock(supervisor.now))


def cuts(supervisor: Supervisor) -> dict[str, list[str]]:
    """The partitions that go through each proxy, where there are any."""
    return {one.spec.name: one.partitions for one in supervisor.proxies() if one.partitions}


def listen(supervisor: Supervisor) -> list[Event]:
    """Every event from now on."""
    told: list[Event] = []
    supervisor.bus.subscribe(told.append)
    return told


# ── which proxies, and when ───────────────────────────────────────────────────────────────


def test_every_proxy_of_a_cut_changes_in_one_turn_and_no_other() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, between("app", "db"), between("db", "app"), between("app", "db", "second"))
        await add(supervisor, between("app", "cache"), proxy("plain", upstream="127.0.0.1:9"))
        assert severed(supervisor) == {}
        active = supervisor.partitions.add(partition(one_way=True, **APP_DB), "test")
        assert severed(supervisor) == {"app-db": "upstream", "db-app": "downstream", "second": "upstream"}
        assert list(active.parts) == ["app-db", "db-app", "second"]
        assert supervisor.partitions.cut_now() == {("app", "db")}
        assert supervisor.partitions.remove("cut", "test") is active
        assert severed(supervisor) == {}
        assert supervisor.partitions.cut_now() == frozenset()

    play(scenario)


def test_bytes_are_held_by_a_cut_and_go_on_when_it_heals() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        async with echo_server() as port:
            await add(supervisor, between("app", "db", upstream=f"127.0.0.1:{port}"))
            [address] = supervisor.proxy("app-db").listening_on
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"before")
            assert await reader.readexactly(6) == b"before"
            supervisor.partitions.add(partition(**APP_DB), "test")
            writer.write(b"during")
            while not supervisor.proxy("app-db").registry.held("upstream"):
                await asyncio.sleep(0)
            assert supervisor.proxy("app-db").registry.held("upstream") == 6
            supervisor.heal("test")
            assert await reader.readexactly(6) == b"during"
            writer.close()
            await writer.wait_closed()

    play(scenario)


def test_partitions_overlap_and_healing_one_leaves_the_other() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, between("app", "db"), between("app", "cache"))
        supervisor.partitions.add(partition("there", one_way=True, **APP_DB), "test")
        supervisor.partitions.add(partition("back", **{"from": "db", "to": "app", "one_way": True}), "test")
        supervisor.partitions.add(partition("alone", topology={"isolate": "app"}), "test")
        assert cuts(supervisor) == {"app-db": ["there", "back", "alone"], "app-cache": ["alone"]}
        supervisor.partitions.remove("alone", "test")
        assert severed(supervisor) == {"app-db": "both"}
        supervisor.partitions.remove("there", "test")
        assert severed(supervisor) == {"app-db": "downstream"}
        assert supervisor.partitions.cut_now() == {("db", "app")}
        supervisor.partitions.remove("back", "test")
        assert severed(supervisor) == {}

    play(scenario)


def test_a_cut_and_faults_leave_each_other_alone() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, between("app", "db", faults={"slow": {"type": "latency", "delay": "1ms"}}))
        supervisor.partitions.add(partition(**APP_DB), "test")
        running = supervisor.proxy("app-db")
        assert [one.name for one in running.spec.faults] == ["slow"], "a cut is no fault of the proxy's own"
        supervisor.heal("test", proxy="app-db")
        assert (running.spec.faults, running.partitions) == ((), ["cut"])
        supervisor.put_fault("app-db", fault("slow", type="latency", delay="1ms"), "test")
        supervisor.partitions.remove("cut", "test")
        assert [one.name for one in running.spec.faults] == ["slow"]

    play(scenario)


def test_a_proxy_added_between_cut_nodes_is_cut_from_its_first_moment() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, between("app", "db"))
        active = supervisor.partitions.add(partition(one_way=True, **APP_DB), "test")
        at_birth: list[dict[str, str]] = []
        supervisor.bus.subscribe(lambda _: at_birth.append(severed(supervisor)))
        await add(supervisor, between("db", "app"), between("app", "cache"))
        assert at_birth[0] == {"app-db": "upstream", "db-app": "downstream"}
        assert severed(supervisor) == at_birth[0]
        assert list(active.parts) == ["app-db", "db-app"]
        supervisor.partitions.remove("cut", "test")
        assert severed(supervisor) == {}

    play(scenario)


def test_a_proxy_whose_nodes_change_is_cut_or_mended() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        spec = between("app", "db", "moving")
        await add(supervisor, between("app", "db"), between("db", "cache"), spec)
        active = supervisor.partitions.add(partition(one_way=True, **APP_DB), "test")
        for client, server, way in (
            ("app", "cache", None), ("db", "app", "downstream"), ("app", "db", "upstream"), (None, None, None),
        ):  # fmt: skip
            await change_proxy(supervisor, replace(spec, from_node=client, to_node=server), "test")
            wanted = {"app-db": "upstream"} | ({"moving": way} if way else {})
            assert severed(supervisor) == wanted, (client, server)
            assert active.parts.keys() == wanted.keys()

    play(scenario)


def test_a_proxy_that_goes_leaves_the_partition_and_one_that_comes_back_is_cut() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, between("app", "db"), between("db", "app"))
        active = supervisor.partitions.add(partition(**APP_DB), "test")
        for name in ("app-db", "db-app"):
            await supervisor.remove_proxy(name, "test")
        assert active.parts == {}
        assert supervisor.partitions.all() == [active], "it stays, for proxies to come"
        await add(supervisor, between("app", "db"))
        assert severed(supervisor) == {"app-db": "both"}
        supervisor.partitions.remove("cut", "test")
        assert severed(supervisor) == {}

    play(scenario)


def test_a_disabled_proxy_is_cut_when_it_is_enabled() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        spec = between("app", "db")
        await add(supervisor, quiet("app", "db"))
        supervisor.partitions.add(partition(one_way=True, **APP_DB), "test")
        assert severed(supervisor) == {"app-db": "both"}, "disabled, nothing gets through"
        await change_proxy(supervisor, spec, "test")
        assert severed(supervisor) == {"app-db": "upstream"}

    play(scenario)


# ── refused, and nothing has changed ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "error", "problem"),
    [
        (partition("taken", **APP_DB), Conflict, "name-taken"),
        (partition(**{"from": "app", "to": "dbb"}), InvalidInput, "to unknown-node"),
        (partition(topology="halves", nodes=["app"]), InvalidInput, "nodes no-effect"),
        (partition(**{"from": "db", "to": "cache"}), InvalidInput, "no-effect"),
        (partition(mode="packet", **APP_DB), Unsupported, "unsupported-mode"),
    ],
)
def test_what_cannot_be_cut_leaves_everything_as_it_was(
    spec: PartitionSpec, error: type[ChaosproxyError], problem: str
) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        async with echo_server() as port:
            await add(supervisor, between("app", "db", upstream=f"127.0.0.1:{port}"), between("app", "cache"))
            supervisor.partitions.add(partition("taken", **{"from": "app", "to": "cache"}), "test")
            told, before = listen(supervisor), cuts(supervisor)
            with pytest.raises(error) as caught:
                supervisor.partitions.add(spec, "test")
            wrong = caught.value
            assert (places(wrong.problems) if isinstance(wrong, InvalidInput) else [wrong.code]) == [problem]
            assert [one.spec.id for one in supervisor.partitions.all()] == ["taken"]
            assert (told, cuts(supervisor)) == ([], before)
            [address] = supervisor.proxy("app-db").listening_on
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"still serving")
            assert await reader.readexactly(13) == b"still serving"
            writer.close()
            await writer.wait_closed()

    play(scenario)


def test_where_one_proxy_cannot_be_cut_none_is(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        on_disk = quiet("app", "db", "on-disk", listen=f"unix:{tmp_path}/db.sock")
        await add(supervisor, quiet("app", "db"), on_disk, quiet("db", "app"))
        with pytest.raises(Unsupported, match="'on-disk'") as caught:
            supervisor.partitions.add(partition(mode="packet", **APP_DB), "test")
        assert places(caught.value.problems) == ["mode unsupported-mode"]
        assert cuts(supervisor) == {}
        active = supervisor.partitions.add(partition(**APP_DB), "test")
        assert {name: part.mode for name, part in active.parts.items()} == {
            "app-db": "packet", "on-disk": "stream", "db-app": "packet",
        }  # fmt: skip
        assert active.modes == ["packet", "stream"]
        assert active.why == "its listen address is a unix socket, which has no packets; use a TCP address"
        assert view_of(supervisor, active)["effective_mode"] == "mixed"

    still(scenario)


def test_a_fault_on_several_proxies_is_put_on_all_or_none(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, quiet("app", "db"), quiet("db", "app", listen=f"unix:{tmp_path}/db.sock"))
        lossy = fault("f", type="packet_loss", rate="1%", mode="packet", direction="upstream")
        with pytest.raises(Unsupported, match="'db-app'") as caught:
            await put_on(supervisor, supervisor.proxies(), lossy, "test", partial(asyncio.sleep, 0))
        assert places(caught.value.problems) == ["mode unsupported-mode"]
        assert [one.spec.faults for one in supervisor.proxies()] == [(), ()]

    still(scenario)


def test_a_cut_through_no_proxy_is_made_where_that_is_meant() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, between("app", "db"), between("cache", "db"))
        empty = partition(allow_empty=True, **{"from": "app", "to": "cache"})
        active = supervisor.partitions.add(empty, "test")
        assert (active.parts, active.modes, severed(supervisor)) == ({}, [], {})
        await add(supervisor, between("app", "cache"))
        assert severed(supervisor) == {"app-cache": "both"}

    play(scenario)


def test_a_partition_that_is_not_there_is_answered_with_the_nearest() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        with pytest.raises(NotFound):
            supervisor.partitions.remove("dark", "test")
        await add(supervisor, quiet("app", "db"))
        supervisor.partitions.add(partition("blackout", **APP_DB), "test")
        with pytest.raises(NotFound, match=r"did you mean 'blackout'\?"):
            supervisor.partitions.get("black-out")

    still(scenario)


def test_free_ids_are_numbered() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, quiet("app", "db"))
        for number in (1, 2):
            assert supervisor.partitions.free_id() == f"partition-{number}"
            supervisor.partitions.add(partition(supervisor.partitions.free_id(), **APP_DB), "test")
        supervisor.partitions.remove("partition-1", "test")
        assert supervisor.partitions.free_id() == "partition-1"

    still(scenario)


def test_a_seeded_cut_that_goes_through_no_proxy_is_refused_by_the_cut_it_really_makes() -> None:
    """Of the ways to halve four nodes some go through neither proxy."""

    async def outcome(seed: Seed) -> tuple[bool, bool]:
        supervisor = Supervisor(seed, kernel=ALL)
        await add(supervisor, quiet("a", "b"), quiet("c", "d"))
        spec = partition(topology="random-halves")
        cut = cut_by(spec, ("a", "b", "c", "d"), seed)
        try:
            supervisor.partitions.add(spec, "test")
        except InvalidInput:
            return bool(cut & {("a", "b"), ("c", "d")}), False
        finally:
            await supervisor.close()
        return bool(cut & {("a", "b"), ("c", "d")}), True

    async def main() -> list[tuple[bool, bool]]:
        return [await outcome(Seed(number)) for number in range(12)]

    assert set(asyncio.run(main())) == {(True, True), (False, False)}


# ── modes ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kernel", "fields", "mode", "why"),
    [
        (NO_FILTERS, {}, "stream", WHY),
        (NO_FILTERS, {"mode": "stream"}, "stream", ""),
        (NO_FILTERS, {"fail_fast": True}, "stream", "fail_fast drops no packets"),
        (ALL, {}, "packet", ""),
        (ALL, {"mode": "packet"}, "packet", ""),
        (ALL, {"mode": "stream"}, "stream", ""),
        (ALL, {"fail_fast": True}, "stream", "fail_fast drops no packets"),
    ],
)
def test_what_auto_has_become_is_in_event_view_and_metric(
    kernel: Capabilities, fields: dict[str, object], mode: str, why: str
) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, quiet("app", "db"), quiet("db", "app"))
        told = listen(supervisor)
        active = supervisor.partitions.add(partition(**APP_DB, **fields), "somebody")
        assert told == [
            PartitionAdded(
                at=0.0, partition="cut", cut="app<>db", proxies=2, effective_mode=mode, mode_reason=why, by="somebody"
            )
        ]
        view = view_of(supervisor, active)
        assert (view["effective_mode"], view["mode_reason"]) == (mode, why or None)
        assert view["proxies"] == [
            {"proxy": name, "effective_mode": mode, "mode_reason": why or None} for name in ("app-db", "db-app")
        ]
        shown = generate_latest(make_registry(supervisor, GcPauses(), "asyncio")).decode().splitlines()
        assert [line for line in shown if line.startswith("chaosproxy_fault_mode{")] == [
            f'chaosproxy_fault_mode{{fault="partition:cut",mode="{mode}",proxy="{name}"}} 1.0'
            for name in ("app-db", "db-app")
        ]

    still(scenario, kernel)


def test_metrics_show_what_is_cut_now() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork) -> None:
        registry = make_registry(supervisor, GcPauses(), "asyncio")

        def shown() -> list[str]:
            names = ("chaosproxy_partitions_active ", "chaosproxy_pair_cut{", "chaosproxy_faults_active{")
            lines = generate_latest(registry).decode().splitlines()
            return [line.removeprefix("chaosproxy_") for line in lines if line.startswith(names)]

        assert shown() == ["partitions_active 0.0"]
        await add(supervisor, quiet("app", "db"))
        supervisor.partitions.add(partition("there", one_way=True, **APP_DB), "test")
        supervisor.partitions.add(partition("both", ttl="5s", **APP_DB), "test")
        pairs = ['pair_cut{from="app",to="db"} 1.0', 'pair_cut{from="db",to="app"} 1.0']
        active = 'faults_active{{fault="partition:{}",proxy="app-db"}} {}.0'.format
        assert sorted(shown()) == sorted(
            ["partitions_active 2.0", *pairs, active("there", 1), active("both", 1)]
        )
        time.run_to(5.0)
        assert sorted(shown()) == sorted(
            ["partitions_active 1.0", pairs[0], active("there", 1), active("both", 0)]
        )

    timed(scenario)


def test_a_partition_tells_the_mode_a_proxy_has_after_its_address_changed(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, quiet("app", "db"))
        active = supervisor.partitions.add(partition(**APP_DB), "test")
        assert active.modes == ["packet"]
        await change_proxy(supervisor, quiet("app", "db", listen=f"unix:{tmp_path}/db.sock"), "test")
        assert supervisor.proxy("app-db").fault_modes() == {"partition:cut": "stream"}
        assert active.modes == ["stream"]

    still(scenario)


@pytest.mark.parametrize("change", ["nodes", "fault"])
def test_a_proxy_may_leave_packets_and_what_needs_them_in_one_change(tmp_path: Path, change: str) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        on_disk = {"listen": f"unix:{tmp_path}/db.sock"}
        loss = {"lossy": {"type": "packet_loss", "rate": "1%", "mode": "packet", "direction": "upstream"}}
        if change == "nodes":
            await add(supervisor, quiet("app", "db"), quiet("app", "db", "moving"))
            supervisor.partitions.add(partition(mode="packet", **APP_DB), "test")
            await change_proxy(supervisor, quiet("app", "cache", "moving", **on_disk), "test")
            assert cuts(supervisor) == {"app-db": ["cut"]}
        else:
            await add(supervisor, quiet("app", "db", "moving", faults=loss))
            await change_proxy(supervisor, quiet("app", "db", "moving", **on_disk), "test")
        moved = supervisor.proxy("moving").spec
        assert (moved.faults, moved.listen.is_unix) == ((), True)

    still(scenario)


def test_a_proxy_that_cannot_be_cut_is_not_added_nor_changed(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        on_disk = {"listen": f"unix:{tmp_path}/db.sock"}
        await add(supervisor, quiet("app", "db"), quiet("app", "cache", "apart", **on_disk))
        supervisor.partitions.add(partition(mode="packet", **APP_DB), "test")
        for wish in (
            supervisor.add_proxy(quiet("db", "app", **on_disk), "test"),
            change_proxy(supervisor, quiet("app", "db", **on_disk), "test"),
            change_proxy(supervisor, quiet("app", "db", "apart", **on_disk), "test"),
        ):
            with pytest.raises(Unsupported):
                await wish
        assert [one.spec for one in supervisor.proxies()] == [
            quiet("app", "db"), quiet("app", "cache", "apart", **on_disk),
        ]  # fmt: skip
        assert cuts(supervisor) == {"app-db": ["cut"]}

    still(scenario)


def test_a_partition_that_comes_while_a_proxy_is_being_added_leaves_none_half_added(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, quiet("app", "db"))
        before = asyncio.ensure_future(supervisor.add_proxy(between("x", "y", listen="localhost:0"), "test"))
        adding = asyncio.ensure_future(
            supervisor.add_proxy(between("db", "app", listen=f"unix:{tmp_path}/db.sock"), "test")
        )
        await asyncio.sleep(0)  # the second waits for the first, which looks its address up
        supervisor.partitions.add(partition(mode="packet", **APP_DB), "test")
        await before
        with pytest.raises(Unsupported):
            await adding
        assert [one.spec.name for one in supervisor.proxies()] == ["app-db", "x-y"]
        assert not (tmp_path / "db.sock").exists()

    play(scenario, ALL)


# ── time ──────────────────────────────────────────────────────────────────────────────────


def test_a_partition_heals_itself_when_its_ttl_is_over() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork) -> None:
        await add(supervisor, quiet("app", "db"))
        supervisor.partitions.add(partition("stays", **APP_DB), "test")
        active = supervisor.partitions.add(partition("brief", ttl="24h", **APP_DB), "test")
        assert view_of(supervisor, active)["heals_after_s"] == 86_400.0
        told = listen(supervisor)
        time.run_to(86_399.0)
        assert (cuts(supervisor), told) == ({"app-db": ["stays", "brief"]}, [])
        assert view_of(supervisor, active)["heals_after_s"] == 1.0
        time.run_to(86_400.0)
        assert [(type(event), event.at) for event in told] == [(PartitionExpired, 86_400.0)]
        assert cuts(supervisor) == {"app-db": ["stays"]}
        supervisor.partitions.add(partition("brief", **APP_DB), "test")  # the id is free again

    timed(scenario)


def test_one_that_was_healed_by_hand_does_not_end_its_successor() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork) -> None:
        await add(supervisor, quiet("app", "db"))
        supervisor.partitions.add(partition(ttl="10s", **APP_DB), "test")
        time.run_to(9.0)
        supervisor.partitions.remove("cut", "test")
        supervisor.partitions.add(partition(ttl="10s", **APP_DB), "test")
        told = listen(supervisor)
        time.run_to(100.0)
        assert [(type(event), event.at) for event in told] == [(PartitionExpired, 19.0)]

    timed(scenario)


def test_a_flaky_link_is_cut_and_whole_on_its_seeded_schedule_until_it_is_healed() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork) -> None:
        await add(supervisor, quiet("app", "db"), quiet("db", "app"))
        time.run_to(100.0)
        flaky = partition("flaky", preset="flaky-link", down="30ms", up="50ms", **APP_DB)
        active = supervisor.partitions.add(flaky, "test")
        states: list[dict[str, list[str]]] = []
        told = listen(supervisor)
        supervisor.bus.subscribe(lambda event: states.append(cuts(supervisor)))
        periods = flaky_link(SEED.at("partition", "flaky", "flaky-link"), 0.03, 0.05)
        due = list(accumulate((next(periods) for _ in range(21)), initial=100.0))[1:]
        time.run_to(due[19])
        cut = {"app-db": ["flaky"], "db-app": ["flaky"]}
        assert [event.at for event in told] == due[:20]
        assert [event.is_cut for event in told] == [False, True] * 10  # type: ignore[attr-defined]
        assert states == [{}, cut] * 10
        assert (active.is_cut, supervisor.partitions.cut_now()) == (True, {("app", "db"), ("db", "app")})

        time.run_to(due[20])
        assert (active.is_cut, cuts(supervisor), supervisor.partitions.cut_now()) == (False, {}, frozenset())
        assert view_of(supervisor, active)["is_cut"] is False
        assert list(active.parts) == ["app-db", "db-app"], "it goes through them all the same"
        told.clear()
        supervisor.partitions.remove("flaky", "test")
        time.run_to(time.now + 3600.0)
        assert [type(event) for event in told] == [PartitionRemoved]
        assert cuts(supervisor) == {}

    timed(scenario)


def test_a_late_flap_delays_no_other() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork) -> None:
        await add(supervisor, quiet("app", "db"))
        supervisor.partitions.add(partition("flaky", preset="flaky-link", down="1s", up="1s", **APP_DB), "test")
        told = listen(supervisor)
        periods = flaky_link(SEED.at("partition", "flaky", "flaky-link"), 1.0, 1.0)
        first, second = accumulate(next(periods) for _ in range(2))
        time.go_to((first + second) / 2)  # the process was held up
        time.run_to(second)
        assert [event.at for event in told] == [(first + second) / 2, second]

    timed(scenario)


def test_a_proxy_that_comes_while_a_flaky_link_is_whole_is_cut_with_it_later() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork) -> None:
        await add(supervisor, quiet("app", "db"))
        supervisor.partitions.add(partition(preset="flaky-link", **APP_DB), "test")
        time.go_to(time.timer.due)
        await add(supervisor, quiet("db", "app"))
        assert cuts(supervisor) == {}
        time.go_to(time.timer.due)
        assert cuts(supervisor) == {"app-db": ["cut"], "db-app": ["cut"]}
        await supervisor.remove_proxy("app-db", "test")
        time.go_to(time.timer.due)
        time.go_to(time.timer.due)
        assert cuts(supervisor) == {"db-app": ["cut"]}

    timed(scenario)


def test_a_flaky_link_ends_with_its_ttl() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork) -> None:
        await add(supervisor, quiet("app", "db"))
        supervisor.partitions.add(partition(preset="flaky-link", down="1s", up="1s", ttl="60s", **APP_DB), "test")
        told = listen(supervisor)
        time.run_to(60.0)
        assert (type(told[-1]), told[-1].at) == (PartitionExpired, 60.0)
        count = len(told)
        assert count > 30
        time.run_to(120.0)
        assert (len(told), cuts(supervisor)) == (count, {})

    timed(scenario)


@pytest.mark.parametrize(("ttl", "longest"), [(None, 60.0), ("2s", 2.0)])
def test_a_bad_switch_ends_by_itself_after_a_seeded_time(ttl: str | None, longest: float) -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork) -> None:
        await add(supervisor, quiet("app", "db"))
        active = supervisor.partitions.add(partition("switch", preset="bad-switch", ttl=ttl, **APP_DB), "test")
        lasts = bad_switch(SEED.at("partition", "switch", "bad-switch"), longest)
        assert 0 < lasts <= longest
        assert view_of(supervisor, active)["heals_after_s"] == round(lasts, 3)
        told = listen(supervisor)
        time.run_to(longest)
        assert [(type(event), event.at) for event in told] == [(PartitionExpired, lasts)]
        assert cuts(supervisor) == {}

    timed(scenario)


def test_after_the_end_no_timer_is_left() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork) -> None:
        brief = {"slow": {"type": "latency", "delay": "1ms", "ttl": "7s"}}
        await add(supervisor, quiet("app", "db", faults=brief))
        supervisor.partitions.add(partition("one", ttl="5s", **APP_DB), "test")
        supervisor.partitions.add(partition("two", preset="flaky-link", ttl="9s", **APP_DB), "test")
        supervisor.partitions.add(partition("three", preset="bad-switch", **APP_DB), "test")
        timers = [timer for one in supervisor.partitions.all() for timer in one.timers.values()]
        assert (len(timers), [timer.scheduled_at != NEVER for timer in timers]) == (4, [True] * 4)
        await supervisor.close()
        told = listen(supervisor)
        assert all(timer.scheduled_at == NEVER for timer in timers)
        time.run_to(3600.0)
        assert (told, supervisor.partitions.all()) == ([], [])

    timed(scenario)


# ── many at once ──────────────────────────────────────────────────────────────────────────


def test_heal_heals_every_partition_and_fault() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, quiet("app", "db", faults={"slow": {"type": "latency", "delay": "1ms"}}))
        supervisor.partitions.add(partition("one", **APP_DB), "test")
        supervisor.partitions.add(partition("two", preset="flaky-link", **APP_DB), "test")
        told = listen(supervisor)
        assert [gone.name for _, gone in supervisor.heal("cli")] == ["slow"]
        assert [(type(event), event.by) for event in told] == [  # type: ignore[attr-defined]
            (PartitionRemoved, "cli"), (PartitionRemoved, "cli"), (FaultRemoved, "cli"),
        ]  # fmt: skip
        assert (cuts(supervisor), supervisor.partitions.all()) == ({}, [])

    still(scenario)


def test_one_proxys_or_one_faults_healing_leaves_partitions() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await add(supervisor, quiet("app", "db", faults={"slow": {"type": "latency", "delay": "1ms"}}))
        supervisor.partitions.add(partition(**APP_DB), "test")
        assert [gone.name for _, gone in supervisor.heal("test", fault="slow")] == ["slow"]
        assert supervisor.heal("test", proxy="app-db") == []
        assert cuts(supervisor) == {"app-db": ["cut"]}
        assert [one.spec.id for one in supervisor.partitions.heal("test")] == ["cut"]
        assert cuts(supervisor) == {}

    still(scenario)


def test_a_seeded_cut_is_the_same_whatever_else_is_cut() -> None:
    nodes = [f"n{number}" for number in range(5)]

    async def cut(*before: PartitionSpec) -> str:
        supervisor = Supervisor(SEED, kernel=ALL)
        await add(supervisor, *(quiet(one, other) for one in nodes for other in nodes if one < other))
        for spec in before:
            supervisor.partitions.add(spec, "test")
        active = supervisor.partitions.add(partition("ring", topology="majorities-ring"), "test")
        await supervisor.close()
        return written(active.cut)

    others = [partition("a", topology="random-halves"), partition("b", topology="majorities-ring", preset="bad-switch")]
    assert asyncio.run(cut()) == asyncio.run(cut(*others)) != ""


# ── the configuration ─────────────────────────────────────────────────────────────────────

APP_CACHE = {"from": "app", "to": "cache"}
PROXIES = (quiet("app", "db"), quiet("app", "cache"))


def test_partitions_of_the_file_are_added_changed_and_removed_and_those_of_rest_stay() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        first = (partition("same", **APP_DB), partition("changes", **APP_DB), partition("goes", **APP_CACHE))
        await supervisor.apply(Config(proxies=PROXIES, partitions=first), "file")
        assert cuts(supervisor) == {"app-db": ["same", "changes"], "app-cache": ["goes"]}
        supervisor.partitions.add(partition("by-hand", **APP_DB), "rest")
        same = supervisor.partitions.get("same")

        told = listen(supervisor)
        second = (partition("same", **APP_DB), partition("changes", **APP_CACHE), partition("comes", **APP_DB))
        await supervisor.apply(Config(proxies=PROXIES, partitions=second), "file")
        assert cuts(supervisor) == {"app-db": ["same", "by-hand", "comes"], "app-cache": ["changes"]}
        assert supervisor.partitions.get("same") is same, "what does not differ is not touched"
        assert [(event.kind, event.partition) for event in told] == [  # type: ignore[attr-defined]
            ("partition_removed", "changes"), ("partition_removed", "goes"),
            ("partition_added", "changes"), ("partition_added", "comes"),
        ]  # fmt: skip

        await supervisor.apply(Config(proxies=PROXIES), "file")
        assert cuts(supervisor) == {"app-db": ["by-hand"]}

    still(scenario)


def test_proxies_and_partitions_of_one_file_come_and_go_together() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.apply(Config(proxies=PROXIES, partitions=(partition("old", **APP_CACHE),)), "file")
        moved = (quiet("app", "db"), quiet("db", "queue"))
        new = partition("new", **{"from": "queue", "to": "db"})
        await supervisor.apply(Config(proxies=moved, partitions=(new,)), "file")
        assert cuts(supervisor) == {"db-queue": ["new"]}

    still(scenario)


def test_a_file_that_cannot_be_had_changes_nothing() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.apply(Config(proxies=PROXIES, partitions=(partition("old", **APP_DB),)), "file")
        told = listen(supervisor)
        wanted = Config(
            proxies=(*PROXIES, quiet("db", "cache")),
            partitions=(partition("fine", **APP_DB), partition("packets", mode="packet", **APP_CACHE)),
        )
        with pytest.raises(Unsupported, match="'app-cache'") as caught:
            await supervisor.apply(wanted, "file")
        assert places(caught.value.problems) == ["partitions.packets.mode unsupported-mode"]
        assert (told, cuts(supervisor)) == ([], {"app-db": ["old"]})
        assert [one.spec for one in supervisor.proxies()] == list(PROXIES)

    still(scenario, NO_FILTERS)


def test_a_changed_partition_that_cannot_be_had_changes_nothing(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        proxies = (quiet("app", "db"), quiet("app", "cache", listen=f"unix:{tmp_path}/cache.sock"))
        await supervisor.apply(Config(proxies=proxies, partitions=(partition(mode="packet", **APP_DB),)), "file")
        told = listen(supervisor)
        changed = Config(proxies=(*proxies, quiet("db", "cache")), partitions=(partition(mode="packet", **APP_CACHE),))
        with pytest.raises(Unsupported):
            await supervisor.apply(changed, "file")
        assert (told, cuts(supervisor)) == ([], {"app-db": ["cut"]})
        assert [one.spec for one in supervisor.proxies()] == list(proxies)

    still(scenario)


def test_a_partition_that_goes_does_not_stand_in_the_way_of_what_comes(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        packets = Config(proxies=(quiet("app", "db"),), partitions=(partition(mode="packet", **APP_DB),))
        await supervisor.apply(packets, "file")
        on_disk = quiet("app", "db", listen=f"unix:{tmp_path}/db.sock")
        await supervisor.apply(Config(proxies=(on_disk,)), "file")
        assert supervisor.proxy("app-db").spec == on_disk
        assert cuts(supervisor) == {}

    still(scenario)
