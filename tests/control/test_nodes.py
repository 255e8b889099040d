"""Who there is and who reaches whom, read from proxies that run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from chaosproxy.control.nodes import Node, matrix, nodes, proxies_of
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.declare import Problems
from chaosproxy.errors import NotFound
from chaosproxy.faults.pause import Pause
from chaosproxy.faults.refuse import Refuse
from chaosproxy.model import ProxySpec, read_partition
from chaosproxy.model.verbs import Verb, verb_fault
from chaosproxy.net.kernel.capabilities import Capabilities, Capability
from chaosproxy.seed import Seed
from tests.net.building import fault, proxy
from tests.supervising import statuses

Scenario: TypeAlias = Callable[[Supervisor], Awaitable[None]]
NO_FILTERS = Capabilities(
    Capability("filters", "", "no"), Capability("pacing", ""), Capability("tcp_info", ""), Capability("tap", "")
)


def play(scenario: Scenario) -> None:
    async def main() -> None:
        supervisor = Supervisor(Seed(1), kernel=NO_FILTERS)
        try:
            async with asyncio.timeout(60):
                await scenario(supervisor)
        finally:
            await supervisor.close()

    asyncio.run(main())


def between(client: str | None, server: str | None, name: str | None = None, **settings: object) -> ProxySpec:
    where = {"upstream": "127.0.0.1:9", "from": client, "to": server}
    return proxy(name or f"{client}-{server}", **where, **settings)


def partition(supervisor: Supervisor, **fields: object) -> None:
    problems = Problems()
    spec = read_partition(fields, supervisor.partitions.free_id(), problems)
    problems.raise_if_any()
    assert spec is not None
    supervisor.partitions.add(spec, "test")


def reach(supervisor: Supervisor) -> str:
    """`a>b` for what arrives, `a!b` for what does not."""
    rows = matrix(statuses(supervisor))
    signs = {True: ">", False: "!"}
    return " ".join(
        f"{sender}{signs[way]}{receiver}"
        for sender, row in rows.items()
        for receiver, way in row.items()
        if way is not None
    )


def states(supervisor: Supervisor) -> dict[str, str]:
    return {node.name: node.state for node in nodes(statuses(supervisor))}


def test_nodes_come_in_the_order_of_proxies_with_what_stands_beside_them() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        assert (nodes(statuses(supervisor)), matrix(statuses(supervisor))) == ([], {})
        for spec in (between("b", "a"), between("a", "b"), between("b", None, "half"), between(None, None, "plain")):
            await supervisor.add_proxy(spec, "test")
        assert nodes(statuses(supervisor)) == [
            Node("b", serves=("a-b",), uses=("b-a", "half"), state="up"),
            Node("a", serves=("b-a",), uses=("a-b",), state="up"),
        ]

    play(scenario)


def test_a_matrix_has_every_pair_and_none_where_no_proxy_joins_it() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        for spec in (between("a", "b"), between("c", "b"), between("c", "c")):
            await supervisor.add_proxy(spec, "test")
        assert matrix(statuses(supervisor)) == {
            "a": {"b": True, "c": None},
            "b": {"a": True, "c": True},
            "c": {"a": None, "b": True},
        }

    play(scenario)


def test_what_a_cut_one_way_stops_is_seen_from_both_sides() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.add_proxy(between("a", "b"), "test")
        for cut, seen in (
            ({"from": "a", "to": "b", "one_way": True}, "a!b b>a"),
            ({"from": "b", "to": "a", "one_way": True}, "a>b b!a"),
            ({"from": "a", "to": "b"}, "a!b b!a"),
            ({"from": "a", "to": "b", "fail_fast": True}, "a!b b!a"),
        ):
            partition(supervisor, **cut)
            assert reach(supervisor) == seen
            supervisor.heal("test")
            assert reach(supervisor) == "a>b b>a"

    play(scenario)


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"type": "latency", "delay": "1s", "direction": "both"}, "a>b b>a"),
        ({"type": "refuse", "existing": "reset", "direction": "both"}, "a!b b!a"),
        ({"type": "pause", "direction": "both"}, "a!b b!a"),
        ({"type": "pause", "direction": "upstream"}, "a!b b>a"),
        ({"type": "partition", "direction": "downstream"}, "a>b b!a"),
        ({"type": "refuse"}, "a!b b!a"),  # nobody can connect, so its direction has no meaning
        ({"type": "unreachable", "direction": "upstream"}, "a!b b!a"),
        ({"type": "refuse", "probability": 0.9}, "a>b b>a"),
        ({"type": "packet_loss", "rate": "100%", "direction": "upstream", "mode": "stream"}, "a!b b>a"),
    ],
)
def test_what_a_fault_severs_does_not_arrive(settings: dict[str, object], seen: str) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.add_proxy(between("a", "b"), "test")
        supervisor.put_fault("a-b", fault("f", **settings), "test")
        assert reach(supervisor) == seen

    play(scenario)


def test_one_proxy_that_is_whole_is_a_way() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        for spec in (between("a", "b"), between("b", "a"), between("a", "b", "off", enabled=False)):
            await supervisor.add_proxy(spec, "test")
        pause = fault("f", type="pause", direction="upstream")
        supervisor.put_fault("a-b", pause, "test")
        assert reach(supervisor) == "a>b b>a"
        supervisor.put_fault("b-a", pause, "test")
        assert reach(supervisor) == "a>b b>a", "a still answers b, and b answers a"
        supervisor.put_fault("b-a", fault("f", type="pause", direction="downstream"), "test")
        assert reach(supervisor) == "a!b b>a"
        await supervisor.remove_proxy("b-a", "test")
        await supervisor.remove_proxy("a-b", "test")
        assert reach(supervisor) == "a!b b!a", "one that is disabled carries nothing"

    play(scenario)


@pytest.mark.parametrize(("verb", "state"), [("crash", "crashed"), ("pause", "paused")])
def test_a_node_that_is_down_reaches_nobody_and_the_others_each_other(verb: Verb, state: str) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        for spec in (between("a", "b"), between("c", "a"), between("c", "b")):
            await supervisor.add_proxy(spec, "test")
        beside = proxies_of("a", supervisor.proxies())
        assert [one.spec.name for one in beside] == ["a-b", "c-a"]
        for one in beside:
            supervisor.put_fault(one.name, verb_fault(verb, None, "a"), "test")
        assert reach(supervisor) == "a!b a!c b!a b>c c!a c>b"
        assert states(supervisor) == {"a": state, "b": "up", "c": "up"}
        supervisor.heal("test")
        assert states(supervisor) == {"a": "up", "b": "up", "c": "up"}
        assert "!" not in reach(supervisor)

    play(scenario)


def test_a_proxy_that_is_down_is_not_its_node() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        for spec in (between("a", "b"), between("c", "b")):
            await supervisor.add_proxy(spec, "test")
        supervisor.put_fault("a-b", verb_fault("crash", None), "test")
        assert states(supervisor) == {"a": "up", "b": "up", "c": "up"}
        assert reach(supervisor) == "a!b b!a b>c c>b"

    play(scenario)


def test_crashed_is_said_of_a_node_that_is_paused_too() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.add_proxy(between("a", "b"), "test")
        for verb in ("pause", "crash"):
            supervisor.put_fault("a-b", verb_fault(verb, None, "a"), "test")
        assert states(supervisor) == {"a": "crashed", "b": "up"}
        supervisor.remove_fault("a-b", "crash:a", "test")
        assert states(supervisor) == {"a": "paused", "b": "up"}

    play(scenario)


def test_an_unknown_node_is_answered_with_the_nearest() -> None:
    async def scenario(supervisor: Supervisor) -> None:
        with pytest.raises(NotFound):
            proxies_of("db", supervisor.proxies())
        await supervisor.add_proxy(between("app", "db-primary"), "test")
        with pytest.raises(NotFound, match=r"did you mean 'db-primary'\?"):
            proxies_of("db-primry", supervisor.proxies())

    play(scenario)


def test_the_fault_of_a_verb_says_what_it_is_about_and_how_long() -> None:
    crashed, paused = verb_fault("crash", 5.0, "db"), verb_fault("pause", None)
    assert (crashed.name, crashed.settings) == ("crash:db", Refuse(existing="reset"))
    assert (paused.name, paused.settings) == ("pause", Pause())
    assert (crashed.placement.direction, crashed.placement.ttl) == ("both", 5.0)
    assert (paused.placement.direction, paused.placement.ttl) == ("both", None)
