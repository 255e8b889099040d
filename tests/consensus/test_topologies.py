"""Five nodes of a toy Raft reach each other through proxies alone, and are cut apart in every topology.

What has to hold then follows from the cut, a set of pairs (sender, receiver), by three laws:

- a node is a hub if it exchanges messages, both ways, with enough others to make a majority: only
  a hub can lead, and where there is one, what is proposed to hubs goes on being committed;
- a proposal can be committed only if a way leads from its node to a hub, over however many others;
- a node learns of commits only from a hub that reaches it directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, permutations

import pytest

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.declare import Problems
from chaosproxy.model.partition import read_partition
from chaosproxy.model.topology import Cut, Pair
from chaosproxy.net.proxy import Proxy
from chaosproxy.seed import Seed
from tests.consensus.raft import Entry, Node, NotLeader, Role
from tests.net.building import proxy
from tests.net.harness import Stage, address_of, run, turns

NAMES = ("n1", "n2", "n3", "n4", "n5")
MAJORITY = 3
CUT_SECONDS = 1.0
"""How long clients propose under a cut, at least; longer than an election, a step-down and a second election take."""
PATIENCE = 30.0
"""Seconds after which what should have happened counts as not happening; on a machine with time it takes under one."""

Plain = dict[str, object]


@dataclass(frozen=True)
class Case:
    """A partition, and what is known of it beforehand, whoever leads."""

    partition: Callable[[str, list[str]], Plain]
    """Given the leader and the others."""
    pairs: int
    """How many pairs (sender, receiver) it cuts."""
    silenced: int
    """From how many nodes no way leads to a hub."""


CASES = {
    "halves": Case(lambda leader, others: {"topology": "halves", "nodes": [leader, *others]}, 12, 2),
    "random-halves": Case(lambda leader, others: {"topology": "random-halves"}, 12, 2),
    "isolate": Case(lambda leader, others: {"topology": {"isolate": leader}}, 8, 1),
    "bridge": Case(lambda leader, others: {"topology": "bridge", "nodes": [leader, *others]}, 8, 0),
    "majorities-ring": Case(lambda leader, others: {"topology": "majorities-ring"}, 10, 0),
    "one-way-ring": Case(lambda leader, others: {"topology": "one-way-ring"}, 15, 5),
    "two groups": Case(lambda leader, others: {"groups": [[leader, *others[:2]], others[2:]]}, 12, 2),
    "three groups": Case(lambda leader, others: {"groups": [[leader, others[0]], others[1:3], others[3:]]}, 16, 5),
    "mute leader": Case(lambda leader, others: {"from": [leader], "to": others, "one_way": True}, 4, 1),
    "deaf leader": Case(lambda leader, others: {"from": others, "to": [leader], "one_way": True}, 4, 0),
}
ON_ASYNCIO_TOO = ("halves", "deaf leader")
# Each takes a little more than CUT_SECONDS, which is real time. `make quick` plays only one.
PLAYED = [
    pytest.param(loop, name, marks=[] if (loop, name) == ("uvloop", "deaf leader") else [pytest.mark.slow])
    for loop, names in (("uvloop", CASES), ("asyncio", ON_ASYNCIO_TOO))
    for name in names
]


# ── the partition at work ─────────────────────────────────────────────────────────────────


def cut(supervisor: Supervisor, partition: Plain) -> Cut:
    """Cut, and tell which pairs."""
    problems = Problems()
    spec = read_partition(partition | {"mode": "stream"}, "cut", problems)
    problems.raise_if_any()
    assert spec is not None
    return supervisor.partitions.add(spec, "test").cut


def heal(supervisor: Supervisor) -> None:
    supervisor.partitions.remove("cut", "test")


# ── the laws ──────────────────────────────────────────────────────────────────────────────


def hubs(cut: Cut) -> set[str]:
    def exchanges(one: str, other: str) -> bool:
        return (one, other) not in cut and (other, one) not in cut

    return {one for one in NAMES if sum(exchanges(one, other) for other in NAMES) >= MAJORITY}


def silenced(cut: Cut) -> set[str]:
    """Nodes from which no way leads to a hub."""
    heard = hubs(cut)
    while more := {name for name in NAMES for other in heard if (name, other) not in cut} - heard:
        heard |= more
    return set(NAMES) - heard


def uninformed(cut: Cut) -> set[str]:
    """Nodes that no hub reaches directly."""
    return {name for name in NAMES if all((hub, name) in cut for hub in hubs(cut))}


# ── the cluster ───────────────────────────────────────────────────────────────────────────


@dataclass
class Ledger:
    """Sees what all nodes do, and at once where two of them contradict each other."""

    entries: dict[int, Entry] = field(default_factory=dict)
    """What is committed, by index."""
    leaders: dict[int, str] = field(default_factory=dict)
    """Who won, by term."""
    last_heard: dict[Pair, float] = field(default_factory=dict)
    """When the latest message that has arrived was sent."""
    contradictions: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, sender: str, receiver: str, sent_at: float) -> None:
        self.last_heard[sender, receiver] = max(sent_at, self.last_heard.get((sender, receiver), 0.0))
        self.news.set()

    def leads(self, node: str, term: int) -> None:
        if self.leaders.setdefault(term, node) != node:
            self._object(f"{node} and {self.leaders[term]} both lead in term {term}")

    def committed(self, node: str, index: int, entry: Entry) -> None:
        if self.entries.setdefault(index, entry) != entry:
            self._object(f"{node} commits {entry} at {index}, where {self.entries[index]} is committed")

    def changed(self) -> None:
        self.news.set()

    def values(self) -> set[str]:
        """Every proposal that some node takes for committed."""
        return {entry.value for entry in self.entries.values() if entry.value is not None}

    def heard_since(self, moment: float) -> set[Pair]:
        """Between whom a message has got through that was sent after that moment."""
        return {pair for pair, sent_at in self.last_heard.items() if sent_at > moment}

    def _object(self, contradiction: str) -> None:
        self.contradictions.append(contradiction)
        self.news.set()


class Cluster:
    """Five nodes and the twenty proxies between them."""

    def __init__(self, node: type[Node] = Node) -> None:
        self.ledger = Ledger()
        self.nodes = {
            name: node(name, [other for other in NAMES if other != name], Seed(7).at("raft", name), self.ledger)
            for name in NAMES
        }

    async def start(self, supervisor: Supervisor) -> None:
        ports = {name: await node.listen() for name, node in self.nodes.items()}
        ways: dict[str, dict[str, tuple[str, int]]] = {name: {} for name in NAMES}
        for name, node in self.nodes.items():
            for peer in node.peers:
                between = {"from": name, "to": peer}
                spec = proxy(f"{name}-to-{peer}", upstream=f"127.0.0.1:{ports[peer]}", **between)
                ways[name][peer] = address_of(await supervisor.add_proxy(spec, "test"))
        for name, node in self.nodes.items():
            node.join(ways[name])

    async def close(self) -> None:
        await asyncio.gather(*(node.close() for node in self.nodes.values()))

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until that is so, and fail as soon as two nodes contradict each other."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    assert not self.ledger.contradictions, self.ledger.contradictions[0]
                    if holds():
                        return
                    self.ledger.news.clear()
                    await self.ledger.news.wait()
        except TimeoutError:
            pytest.fail(f"{what}: not so within {PATIENCE:g} s; {self}")

    @property
    def leader(self) -> Node | None:
        """Whom all follow."""
        names = {node.leader for node in self.nodes.values()}
        return self.nodes[names.pop() or ""] if len(names) == 1 and None not in names else None

    @property
    def is_settled(self) -> bool:
        """Whether all follow one leader, are connected, and have committed all they have."""
        length = len(self.nodes["n1"].log)
        return self.leader is not None and all(
            node.connected and node.commit == len(node.log) == length for node in self.nodes.values()
        )

    async def agree(self, label: str) -> None:
        """Commit something new on all nodes, on the second attempt where a leader falls."""
        for attempt in count(1):
            await self.until(lambda: self.leader is not None, "all follow one leader")
            leader = self.leader
            assert leader is not None
            term, value = leader.term, f"{label}, attempt {attempt}"
            leader.propose(value)
            await self.until(lambda: self.is_settled or leader.term != term, f"{value!r} is committed on all")  # noqa: B023
            if self.is_settled and value in self.ledger.values():
                return

    async def propose_everywhere(self, proposals: Mapping[str, set[str]]) -> None:
        """Be a client of each node, until cancelled; note what is accepted under the node's name."""
        for number in count(1):
            for name, node in self.nodes.items():
                try:
                    node.propose(f"{name}: {number}")
                except NotLeader:
                    continue
                proposals[name].add(f"{name}: {number}")
            await asyncio.sleep(0.02)

    def __str__(self) -> str:
        return "; ".join(
            f"{node.name} {node.role.value} of {node.leader} in term {node.term}, {node.commit}/{len(node.log)}"
            for node in self.nodes.values()
        )


@asynccontextmanager
async def cluster(stage: Stage, node: type[Node] = Node) -> AsyncIterator[Cluster]:
    """A cluster that has agreed on its first values."""
    made = Cluster(node)
    try:
        await made.start(stage.supervisor)
        for number in (1, 2, 3):
            await made.agree(f"before {number}")
        yield made
    finally:
        await made.close()


@dataclass
class Aftermath:
    """What a cut has led to, before it is healed."""

    cut: Cut
    began: float
    knew: dict[str, int]
    """How many entries each node took for committed when the cut began."""
    proposals: dict[str, set[str]]
    """What each node has accepted since."""

    def goes_on(self, cluster: Cluster) -> bool:
        """Whether what was proposed to hubs has been committed, more than once."""
        proposed = set[str]().union(*(self.proposals[hub] for hub in hubs(self.cut)))
        return len(cluster.ledger.values() & proposed) >= 3


async def endure(cluster: Cluster, supervisor: Supervisor, partition: Plain, reset: bool = False) -> Aftermath:
    """Cut, and let clients propose to every node for a while, and on until something is committed where it can be."""
    found = Aftermath(
        cut(supervisor, partition),
        time.monotonic(),
        {name: node.commit for name, node in cluster.nodes.items()},
        {name: set() for name in NAMES},
    )
    if reset:
        for each in supervisor.proxies():
            each.end_connections("reset")
    clients = asyncio.create_task(cluster.propose_everywhere(found.proposals))
    try:
        await asyncio.sleep(CUT_SECONDS)
        if hubs(found.cut):
            await cluster.until(lambda: found.goes_on(cluster), "what is proposed to hubs is committed")
    finally:
        clients.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await clients
    return found


def check_laws(cluster: Cluster, found: Aftermath) -> None:
    ledger = cluster.ledger
    assert not ledger.contradictions, ledger.contradictions[0]
    got_through = ledger.heard_since(found.began)
    assert not got_through & found.cut
    for name in silenced(found.cut):
        assert not found.proposals[name] & ledger.values(), f"{name} could tell no majority"
    for name in uninformed(found.cut):
        assert cluster.nodes[name].commit == found.knew[name], f"{name} could hear of nothing"


async def check_agreement(cluster: Cluster) -> None:
    await cluster.agree("after")
    everything = [entry for _, entry in sorted(cluster.ledger.entries.items())]
    for node in cluster.nodes.values():
        assert node.log == everything


async def dialled(proxies: Iterable[Proxy], many: int) -> set[Pair]:
    """Between which nodes a new connection comes about, once so many have.

    Those that get no answer are dialled first: what could have come about is there when the others are.
    """
    found: set[Pair] = set()
    enough = asyncio.Event()

    async def dial(proxy: Proxy) -> None:
        _, writer = await asyncio.open_connection(*address_of(proxy))
        writer.transport.abort()
        found.add((str(proxy.spec.from_node), str(proxy.spec.to_node)))
        if len(found) >= many:
            enough.set()

    dials = [asyncio.create_task(dial(one)) for one in sorted(proxies, key=lambda one: not one.partitions)]
    if many:
        await enough.wait()
    await turns()
    for task in dials:
        task.cancel()
    await asyncio.gather(*dials, return_exceptions=True)
    return found


# ── the tests ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("loop_name", "name"), PLAYED)
def test_a_minority_stops_a_majority_goes_on_and_all_agree_after_healing(loop_name: str, name: str) -> None:
    case = CASES[name]

    async def scenario(stage: Stage) -> None:
        async with cluster(stage) as five:
            leader = five.leader
            assert leader is not None
            found = await endure(five, stage.supervisor, case.partition(leader.name, list(leader.peers)))

            assert (len(found.cut), len(silenced(found.cut))) == (case.pairs, case.silenced)
            assert found.proposals[leader.name]
            check_laws(five, found)
            # The other way of a pair is carried on, on the connections that are open ...
            left = {(other, one) for one, other in found.cut} - found.cut
            await five.until(
                lambda: not left or bool(left & five.ledger.heard_since(found.began)), "the other way goes on"
            )
            # ... while a new one needs both.
            whole = {pair for pair in permutations(NAMES, 2) if not {pair, pair[::-1]} & found.cut}
            assert await dialled(stage.supervisor.proxies(), len(whole)) == whole

            heal(stage.supervisor)
            await check_agreement(five)

    run(loop_name, scenario)


@pytest.mark.slow  # CUT_SECONDS
def test_a_way_that_is_left_is_lost_with_its_connections_and_comes_back_after_healing() -> None:
    async def scenario(stage: Stage) -> None:
        async with cluster(stage) as five:
            deaf = five.leader
            assert deaf is not None
            partition: Plain = {"from": list(deaf.peers), "to": [deaf.name], "one_way": True}
            found = await endure(five, stage.supervisor, partition, reset=True)

            check_laws(five, found)
            assert all(deaf.name not in pair for pair in five.ledger.heard_since(found.began))
            assert not found.proposals[deaf.name] & five.ledger.values()
            await five.until(lambda: deaf.role is not Role.LEADER, "a leader that nobody answers steps down")

            heal(stage.supervisor)
            await check_agreement(five)

    run("uvloop", scenario)


class Careless(Node):
    """Takes two of five for a majority."""

    @property
    def majority(self) -> int:
        return (len(self.peers) + 1) // 2


@pytest.mark.slow  # CUT_SECONDS
def test_a_wrong_majority_is_found_out() -> None:
    async def scenario(stage: Stage) -> None:
        with pytest.raises(AssertionError, match="is committed|both lead"):
            async with cluster(stage, Careless) as five:
                leader = five.leader
                assert leader is not None
                partition = CASES["halves"].partition(leader.name, list(leader.peers))
                check_laws(five, await endure(five, stage.supervisor, partition))

    run("uvloop", scenario)
