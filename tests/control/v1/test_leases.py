"""/v1/leases, and what happens to faults and partitions made under one when it ends, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from chaosproxy.control import leases
from chaosproxy.control.selection import put_on
from chaosproxy.errors import NotFound
from chaosproxy.events import Event, FaultRemoved, LeaseExpired, PartitionRemoved
from chaosproxy.model.verbs import verb_fault
from tests.control.serving import Answer, Api, serving
from tests.net.clockwork import Clockwork

Json: TypeAlias = dict[str, Any]

HERE = "/v1/leases"
STALL = {"type": "stall"}
TTL = 5.0


class Bench:
    """A control API with two proxies between nodes, whose time the test moves, and its events."""

    def __init__(self, api: Api, time: Clockwork) -> None:
        self.api, self.time = api, time
        self.events: list[Event] = []
        api.supervisor.bus.subscribe(self.events.append)

    async def lease(self, ttl: str = "5s") -> str:
        answer = await self.api.ask("POST", HERE, {"ttl": ttl})
        assert answer.status == 201 and answer.headers["Location"] == f"{HERE}/{answer.body['id']}"
        id: str = answer.body["id"]
        return id

    async def make(self, lease: str | None, method: str, path: str, wish: object = None) -> Answer:
        return await self.api.ask(method, path, wish, headers={} if lease is None else {"X-Chaosproxy-Lease": lease})

    async def pass_(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        self.time.run_to(self.time.clock() + seconds)
        for _ in range(20):
            await asyncio.sleep(0)

    async def on(self) -> list[str]:
        """The faults and partitions that are on."""
        proxies = (await self.api.ask("GET", "/v1/proxies")).body["proxies"]
        partitions = (await self.api.ask("GET", "/v1/partitions")).body["partitions"]
        faults = [f"{proxy['name']}/{fault['name']}" for proxy in proxies for fault in proxy["faults"]]
        return faults + [one["id"] for one in partitions]


def play(scenario: Callable[[Bench], Awaitable[None]]) -> None:
    asyncio.run(_play(scenario))


async def _play(scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async with _bench() as bench:
        await scenario(bench)


@asynccontextmanager
async def _bench() -> AsyncIterator[Bench]:
    time = Clockwork()
    async with asyncio.timeout(60), serving(time=time) as api:
        for name in ("db", "cache"):
            wish = {"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "from": "app", "to": name}
            assert (await api.ask("POST", "/v1/proxies", wish)).status == 201
        yield Bench(api, time)


MAKERS: dict[str, tuple[str, str, object, list[str]]] = {
    "fault": ("POST", "/v1/proxies/db/faults", STALL, ["db/stall-1"]),
    "named fault": ("PUT", "/v1/proxies/db/faults/quiet", STALL, ["db/quiet"]),
    "several": ("POST", "/v1/faults", {**STALL, "proxies": "*"}, ["db/stall-1", "cache/stall-1"]),
    "partition": ("POST", "/v1/partitions", {"from": "app", "to": "db", "mode": "stream"}, ["partition-1"]),
    "crash": ("POST", "/v1/nodes/db/crash", None, ["db/crash:db"]),
    "pause": ("POST", "/v1/proxies/cache/pause", None, ["cache/pause"]),
}
each_maker = pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)


@each_maker
def test_a_lease_that_nobody_renews_heals_what_was_made_under_it(maker: tuple[str, str, object, list[str]]) -> None:
    method, path, wish, made = maker

    async def scenario(bench: Bench) -> None:
        lease = await bench.lease()
        assert (await bench.make(lease, method, path, wish)).status in (200, 201)
        assert await bench.on() == made
        view = (await bench.api.ask("GET", f"{HERE}/{lease}")).body
        assert [f"{one['proxy']}/{one['fault']}" for one in view["faults"]] + view["partitions"] == made
        await bench.pass_(TTL - 0.01)
        assert await bench.on() == made
        await bench.pass_(0.02)
        assert await bench.on() == []
        [expired] = [one for one in bench.events if isinstance(one, LeaseExpired)]
        assert (expired.lease, expired.by, expired.ttl_s) == (lease, "rest", TTL)
        assert expired.faults + expired.partitions == len(made)
        gone = [one for one in bench.events if isinstance(one, FaultRemoved | PartitionRemoved)]
        assert [one.by for one in gone] == ["lease"] * len(made)
        assert (await bench.api.ask("GET", f"{HERE}/{lease}")).status == 404

    play(scenario)


@each_maker
def test_under_a_lease_that_is_gone_nothing_is_made(maker: tuple[str, str, object, list[str]]) -> None:
    method, path, wish, _ = maker

    async def scenario(bench: Bench) -> None:
        lease = await bench.lease()
        await bench.pass_(TTL + 1)
        answer = await bench.make(lease, method, path, wish)
        assert answer.status == 404 and "it may have expired" in answer.body["detail"]
        assert await bench.on() == []

    play(scenario)


def test_a_renewed_lease_goes_on_for_its_ttl_or_a_new_one() -> None:
    async def scenario(bench: Bench) -> None:
        lease = await bench.lease()
        await bench.make(lease, *MAKERS["fault"][:3])
        for _ in range(3):
            await bench.pass_(TTL - 1)
            answer = await bench.api.ask("PUT", f"{HERE}/{lease}")
            assert (answer.status, answer.body["expires_in_s"]) == (200, TTL)
        answer = await bench.api.ask("PUT", f"{HERE}/{lease}", {**answer.body, "ttl": "60s"})
        assert (answer.body["ttl"], answer.body["expires_in_s"]) == ("1m", 60.0)
        await bench.pass_(59)
        assert await bench.on() == ["db/stall-1"]
        await bench.pass_(2)
        assert await bench.on() == []

    play(scenario)


def test_a_released_lease_heals_at_once_and_says_what() -> None:
    async def scenario(bench: Bench) -> None:
        lease = await bench.lease()
        for maker in ("named fault", "partition"):
            await bench.make(lease, *MAKERS[maker][:3])
        await bench.make(None, *MAKERS["fault"][:3])
        answer = await bench.api.ask("DELETE", f"{HERE}/{lease}")
        assert answer.body == {
            "removed": [{"proxy": "db", "fault": "quiet", "type": "stall"}], "partitions": ["partition-1"],
        }  # fmt: skip
        assert await bench.on() == ["db/stall-1"]
        await bench.pass_(TTL + 1)
        assert not [one for one in bench.events if isinstance(one, LeaseExpired)]
        assert (await bench.api.ask("DELETE", f"{HERE}/{lease}")).status == 404

    play(scenario)


def test_a_lease_holds_only_what_was_made_under_it() -> None:
    async def scenario(bench: Bench) -> None:
        lease = await bench.lease()
        quiet, cut = "/v1/proxies/db/faults/quiet", {"from": "app", "to": "db", "mode": "stream"}
        await bench.make(None, "PUT", quiet, STALL)
        assert (await bench.make(lease, "PUT", quiet, {"type": "latency", "delay": "1s"})).status == 200
        for name in ("removed", "made anew"):
            await bench.make(lease, "PUT", f"/v1/proxies/db/faults/{name.replace(' ', '-')}", STALL)
            await bench.make(None, "DELETE", f"/v1/proxies/db/faults/{name.replace(' ', '-')}")
            await bench.pass_(0.1)
        await bench.make(None, "PUT", "/v1/proxies/db/faults/made-anew", STALL)
        await bench.make(lease, "POST", "/v1/partitions", {**cut, "id": "dark"})
        await bench.make(None, "DELETE", "/v1/partitions/dark")
        await bench.make(None, "POST", "/v1/partitions", {**cut, "id": "dark"})
        await bench.make(lease, "PUT", "/v1/proxies/cache/faults/gone", STALL)
        await bench.make(None, "DELETE", "/v1/proxies/cache")
        view = (await bench.api.ask("GET", f"{HERE}/{lease}")).body
        assert (view["faults"], view["partitions"]) == ([], [])
        await bench.pass_(TTL + 1)
        assert await bench.on() == ["db/quiet", "db/made-anew", "dark"]
        [expired] = [one for one in bench.events if isinstance(one, LeaseExpired)]
        assert (expired.faults, expired.partitions) == (0, 0)

    play(scenario)


def test_a_change_under_another_lease_hands_a_fault_over() -> None:
    async def scenario(bench: Bench) -> None:
        first = await bench.lease()
        await bench.make(first, "PUT", "/v1/proxies/db/faults/quiet", STALL)
        await bench.make(first, "POST", "/v1/nodes/cache/crash")
        await bench.make(None, "PUT", "/v1/proxies/db/faults/quiet", {**STALL, "direction": "both"})
        second = await bench.lease("60s")
        await bench.make(second, "POST", "/v1/nodes/cache/crash")
        await bench.pass_(TTL + 1)
        assert await bench.on() == ["cache/crash:cache"], "a change without a lease has left the other with its lease"
        await bench.api.ask("DELETE", f"{HERE}/{second}")
        assert await bench.on() == []

    play(scenario)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_lease_that_ends_during_a_change_leaves_nothing_behind(is_new: bool) -> None:
    """The change rests between two proxies; meanwhile the lease expires."""

    async def scenario(bench: Bench) -> None:
        supervisor, lease = bench.api.supervisor, bench.api.leases.get(await bench.lease())
        fault, before = verb_fault("crash", 60.0, "app"), verb_fault("crash", 90.0, "app")
        if not is_new:
            supervisor.put_fault("db", before, "rest")
        rests = iter(range(10))

        async def rest() -> None:
            if next(rests) == 2:  # the first proxy has the fault
                assert supervisor.proxy("db").spec.fault("crash:app") == fault
                await bench.pass_(TTL + 1)

        with pytest.raises(NotFound):
            await put_on(supervisor, supervisor.proxies(), fault, "rest", rest, lease)
        left = [proxy.spec.fault("crash:app") for proxy in supervisor.proxies()]
        assert left == [None if is_new else before, None]

    play(scenario)


def test_a_file_that_adopts_a_fault_takes_it_from_its_lease() -> None:
    async def scenario(bench: Bench) -> None:
        lease = await bench.lease()
        await bench.make(lease, "PUT", "/v1/proxies/db/faults/quiet", STALL)
        bench.api.supervisor.faults.adopt(bench.api.supervisor.proxy("db"), "quiet", "file")
        await bench.pass_(TTL + 1)
        assert await bench.on() == ["db/quiet"]

    play(scenario)


def test_a_part_that_cannot_be_removed_leaves_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        lease = await bench.lease()
        for maker in ("several", "partition"):
            await bench.make(lease, *MAKERS[maker][:3])
        monkeypatch.setattr(bench.api.supervisor.proxy("db"), "changing", lambda: 1 / 0)
        await bench.pass_(TTL + 1)
        assert await bench.on() == ["db/stall-1"]
        [expired] = [one for one in bench.events if isinstance(one, LeaseExpired)]
        assert (expired.faults, expired.partitions) == (1, 1)
        monkeypatch.undo()

    play(scenario)


def test_a_lease_lasts_longer_by_the_time_in_which_the_process_did_not_run() -> None:
    async def scenario(bench: Bench) -> None:
        lease = await bench.lease()
        await bench.make(lease, *MAKERS["fault"][:3])
        bench.time.go_to(bench.time.clock() + TTL + 3)  # the alarm comes 3 s late
        assert (await bench.api.ask("GET", f"{HERE}/{lease}")).body["expires_in_s"] == 3.0
        await bench.pass_(2.9)
        assert await bench.on() == ["db/stall-1"]
        await bench.pass_(0.2)
        assert await bench.on() == []

    play(scenario)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/proxies"), ("PATCH", "/v1/proxies/db")])
def test_a_proxy_with_faults_is_not_made_under_a_lease(method: str, path: str) -> None:
    async def scenario(bench: Bench) -> None:
        answer = await bench.make(await bench.lease(), method, path, {"faults": {"quiet": STALL}})
        assert (answer.status, answer.wrong) == (400, {"X-Chaosproxy-Lease": "not-applicable"})
        assert await bench.on() == []

    play(scenario)


def test_a_lease_shows_its_first_faults_and_how_many_more() -> None:
    async def scenario(bench: Bench) -> None:
        lease = await bench.lease()
        for number in range(120):
            await bench.make(lease, "PUT", f"/v1/proxies/db/faults/f{number}", {"type": "latency", "delay": "1s"})
        view = (await bench.api.ask("PUT", f"{HERE}/{lease}")).body
        assert (len(view["faults"]), view["faults_more"]) == (100, 20)
        assert len((await bench.api.ask("DELETE", f"{HERE}/{lease}")).body["removed"]) == 120

    play(scenario)


def test_leases_end_with_the_process() -> None:
    async def scenario(bench: Bench) -> None:
        lease = bench.api.leases.get(await bench.lease())
        await bench.api.leases.close()
        assert lease.has_ended and bench.api.leases.all() == []
        assert (await bench.api.ask("POST", HERE, {"ttl": "5s"})).status == 409

    play(scenario)


def test_leases_are_listed_in_pages() -> None:
    async def scenario(bench: Bench) -> None:
        made = [await bench.lease() for _ in range(3)]
        first = (await bench.api.ask("GET", f"{HERE}?limit=2")).body
        rest = (await bench.api.ask("GET", first["next"])).body
        assert [one["id"] for one in (*first["leases"], *rest["leases"])] == made
        assert (await bench.api.ask("GET", f"{HERE}?after=lease-0")).status == 404

    play(scenario)


@pytest.mark.parametrize(
    ("wish", "wrong"),
    [
        ({}, {"ttl": "missing"}), ({"ttl": 5}, {"ttl": "unit-missing"}), ({"ttl": "0s"}, {"ttl": "out-of-range"}),
        ({"ttl": "5s", "tll": 1}, {"tll": "unknown-key"}),
    ],
)  # fmt: skip
def test_a_bad_wish_for_a_lease_is_refused(wish: Json, wrong: dict[str, str]) -> None:
    async def scenario(bench: Bench) -> None:
        answer = await bench.api.ask("POST", HERE, wish)
        assert (answer.status, answer.wrong) == (400, wrong)
        assert (await bench.api.ask("GET", HERE)).body == {"leases": []}

    play(scenario)


def test_leases_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MOST_LEASES", 2)

    async def scenario(bench: Bench) -> None:
        first, _ = await bench.lease(), await bench.lease()
        answer = await bench.api.ask("POST", HERE, {"ttl": "5s"})
        assert (answer.status, answer.body["code"]) == (409, "too-large")
        await bench.api.ask("DELETE", f"{HERE}/{first}")
        await bench.lease()

    play(scenario)
