"""Faults that end by themselves, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from chaosproxy.control.origin import Origin
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.events import Event, FaultExpired, FaultRemoved
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.seed import Seed
from tests.cpu import cpu_time
from tests.net.building import fault, proxy
from tests.net.clockwork import Clockwork
from tests.supervising import change_proxy, statuses

DAY = 86_400.0
Scenario = Callable[[Supervisor, Clockwork, list[Event]], Awaitable[None]]


def play(scenario: Scenario) -> None:
    """With a proxy `db` and no sockets; every event is noted."""

    async def main() -> None:
        time = Clockwork()
        supervisor = Supervisor(Seed(1), clock=time.clock, make_timer=time.make_timer)
        told: list[Event] = []
        try:
            await supervisor.add_proxy(proxy("db", upstream="127.0.0.1:9", enabled=False), "test")
            supervisor.bus.subscribe(told.append)
            await scenario(supervisor, time, told)
        finally:
            await supervisor.close()

    asyncio.run(main())


def names(supervisor: Supervisor) -> list[str]:
    return [one.name for one in supervisor.proxy("db").spec.faults]


def ends(told: list[Event]) -> list[tuple[float, str]]:
    return [(event.at, event.fault) for event in told if isinstance(event, FaultExpired)]


def test_a_fault_ends_when_its_ttl_is_over_and_not_before() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork, told: list[Event]) -> None:
        supervisor.put_fault("db", fault("brief", type="stall", ttl="24h"), "rest")
        supervisor.put_fault("db", fault("stays", type="stall"), "rest")
        time.run_to(DAY - 0.001)
        assert (names(supervisor), ends(told)) == (["brief", "stays"], [])
        time.run_to(DAY)
        assert (names(supervisor), ends(told)) == (["stays"], [(DAY, "brief")])

    play(scenario)


def test_a_fault_that_is_changed_begins_its_ttl_again() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork, told: list[Event]) -> None:
        supervisor.put_fault("db", fault("brief", type="stall", ttl="10s"), "rest")
        time.run_to(9.0)
        supervisor.put_fault("db", fault("brief", type="stall", ttl="10s", probability="50%"), "rest")
        time.run_to(18.0)
        assert names(supervisor) == ["brief"]
        supervisor.put_fault("db", fault("brief", type="stall"), "rest")
        time.run_to(DAY)
        assert (names(supervisor), ends(told)) == (["brief"], [])

    play(scenario)


def test_a_fault_that_was_removed_does_not_end_its_successor() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork, told: list[Event]) -> None:
        supervisor.put_fault("db", fault("brief", type="stall", ttl="10s"), "rest")
        supervisor.remove_fault("db", "brief", "rest")
        supervisor.put_fault("db", fault("brief", type="stall", ttl="20s"), "rest")
        time.run_to(DAY)
        assert ends(told) == [(20.0, "brief")]
        assert [event.at for event in told if isinstance(event, FaultRemoved)] == [0.0]

    play(scenario)


@pytest.mark.parametrize("how", ["removed", "started"])
def test_the_ttl_of_a_proxys_fault_goes_with_it(how: str) -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork, told: list[Event]) -> None:
        faults = {"brief": {"type": "stall", "ttl": "10s"}}
        await supervisor.add_proxy(proxy("new", upstream="127.0.0.1:9", enabled=False, faults=faults), "test")
        if how == "removed":
            await supervisor.remove_proxy("new", "test")
        time.run_to(DAY)
        assert ends(told) == ([] if how == "removed" else [(10.0, "brief")])

    play(scenario)


def test_a_defect_at_one_end_leaves_the_others_their_time(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork, told: list[Event]) -> None:
        supervisor.put_fault("db", fault("broken", type="stall", ttl="1s"), "rest")
        supervisor.put_fault("db", fault("fine", type="stall", ttl="2s"), "rest")
        supervisor.proxy("db").remove_fault("broken")  # behind the supervisor's back: its end finds no fault
        with caplog.at_level(logging.CRITICAL, "chaosproxy.net.timer.scheduler"):
            time.run_to(3.0)
        assert ends(told) == [(2.0, "fine")]

    play(scenario)


@pytest.mark.parametrize("how", ["removed", "expired", "healed"])
def test_a_fault_that_is_made_again_has_a_new_maker_and_a_new_time(how: str) -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork, told: list[Event]) -> None:
        supervisor.put_fault("db", fault("again", type="stall", ttl="10s"), "file")
        time.run_to(5.0)
        supervisor.put_fault("db", fault("again", type="stall", ttl="5s"), "rest")
        [status] = statuses(supervisor)[0].faults
        assert status.origin == Origin("file", 0.0), "it was changed, and not made"
        if how == "removed":
            supervisor.remove_fault("db", "again", "rest")
        elif how == "healed":
            supervisor.heal("rest")
        time.run_to(10.0)
        assert names(supervisor) == []
        supervisor.put_fault("db", fault("again", type="stall"), "rest")
        [status] = statuses(supervisor)[0].faults
        assert status.origin == Origin("rest", 10.0)

    play(scenario)


@pytest.mark.slow
def test_many_changes_of_one_proxys_faults_take_linear_time() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork, told: list[Event]) -> None:
        def spec(count: int, delay: str) -> ProxySpec:
            faults = tuple(fault(f"f{at}", type="latency", delay=delay) for at in range(count))
            return replace(supervisor.proxy("db").spec, faults=faults)

        async def used_for(count: int) -> float:
            specs = [spec(count, "1ms"), spec(count, "2ms"), spec(0, "")]
            with cpu_time() as used:
                for each in specs:
                    await change_proxy(supervisor, each, "test")
            return used.seconds

        await used_for(10)
        few, many = await used_for(200), await used_for(3_200)
        assert many < 50 * few, "sixteen times the faults may take about 16 times as long"

    play(scenario)


def test_a_proxys_spec_has_each_change_of_its_faults_while_more_follow() -> None:
    async def scenario(supervisor: Supervisor, time: Clockwork, told: list[Event]) -> None:
        supervisor.put_fault("db", fault("old", type="stall"), "test")
        seen: list[list[str]] = []
        supervisor.bus.subscribe(lambda event: seen.append(names(supervisor)))
        faults = {"a": {"type": "stall"}, "b": {"type": "stall"}}
        spec = proxy("db", upstream="127.0.0.1:8", enabled=False, faults=faults)
        await change_proxy(supervisor, spec, "test")
        assert seen == [[], ["a"], ["a", "b"], ["a", "b"]]
        assert supervisor.proxy("db").spec == spec

    play(scenario)
