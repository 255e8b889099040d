"""GET /v1/reactions, of events as a proxy publishes them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from chaosproxy.events import Event, FaultAdded, FaultRemoved
from tests.control.serving import Api, serving
from tests.reaction.journals import Policy, World

AGO = 100.0
"""The age of a world's begin, in seconds; its fault was on from 20 s to 50 s."""


def tell(api: Api, events: list[Event]) -> None:
    """Publish the events of a world as if it had begun some time ago."""
    began = api.supervisor.now() - AGO
    for event in events:
        api.supervisor.bus.publish(replace(event, at=began + event.at))


def impatient() -> list[Event]:
    world = World(random.Random(1))
    policy = Policy(timeout_s=1.0, law="exponential", first_s=0.1, factor=2.0, attempts=4)
    for index in range(3):
        world.client(policy, f"h{index}", think=world.thinking(0.3, 0.6), start=0.1 * index)
    return world.events()


def test_it_tells_of_every_window_and_every_proxy() -> None:
    async def scenario() -> None:
        async with serving() as api:
            tell(api, impatient())
            told = (await api.ask("GET", "/v1/reactions")).body
            one = told["proxies"]["db"]
            assert one["gave_up"]["inferred_timeout_s"] == pytest.approx(1.0, abs=0.02)
            assert one["retries"]["backoff"] == "exponential"
            [window] = told["windows"]
            assert window["faults"] == ["db/stall-1"] and window["started"] < window["ended"]
            assert window["story"][0].startswith("db, while `db/stall-1` was on (30.0 s")

    asyncio.run(scenario())


def test_without_events_there_is_nothing_to_tell() -> None:
    async def scenario() -> None:
        async with serving() as api:
            nothing = {"proxies": {}, "services": {}, "windows": [], "windows_left_out": 0}
            assert (await api.ask("GET", "/v1/reactions")).body == nothing

    asyncio.run(scenario())


def test_of_many_windows_the_latest_are_told() -> None:
    async def scenario() -> None:
        async with serving() as api:
            about = {"proxy": "db", "type": "stall", "by": "rest"}
            for number in range(205):
                at = api.supervisor.now() - 300 + number
                on = FaultAdded(at=at, fault=f"stall-{number}", effective_mode="", mode_reason="", **about)
                off = FaultRemoved(at=at + 0.5, fault=f"stall-{number}", **about)
                api.supervisor.bus.publish(on)
                api.supervisor.bus.publish(off)
            told = (await api.ask("GET", "/v1/reactions")).body
            assert told["windows_left_out"] == 5
            faults = [one["faults"] for one in told["windows"]]
            assert faults == [[f"db/stall-{number}"] for number in range(5, 205)]
            assert (await api.ask("GET", "/v1/reactions?since=200s")).body["windows_left_out"] == 0

    asyncio.run(scenario())


def test_since_and_proxy_select() -> None:
    async def scenario() -> None:
        async with serving() as api:
            tell(api, impatient())
            assert len((await api.ask("GET", "/v1/reactions?since=60s")).body["windows"]) == 1
            assert (await api.ask("GET", "/v1/reactions?since=40s")).body["windows"] == []
            told = (await api.ask("GET", "/v1/reactions?proxy=db&proxy=db")).body
            assert list(told["proxies"]) == ["db"] and len(told["windows"]) == 1
            missing = await api.ask("GET", "/v1/reactions?proxy=db&proxy=other")
            assert missing.status == 404 and "other" in missing.body["detail"]

    asyncio.run(scenario())


@pytest.mark.parametrize("since", ["soon", "-1s", "10", "2026-13-01T00:00:00Z"])
def test_a_time_that_cannot_be_read_is_refused(since: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            refused = await api.ask("GET", f"/v1/reactions?since={since}")
            assert (refused.status, list(refused.wrong)) == (400, ["since"])

    asyncio.run(scenario())


def test_an_unknown_parameter_is_refused() -> None:
    async def scenario() -> None:
        async with serving() as api:
            assert (await api.ask("GET", "/v1/reactions?prxy=db")).status == 400

    asyncio.run(scenario())
