"""Partitions as desired: what is read, what is refused and where, and which proxies a cut goes through."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.declare import Problems
from chaosproxy.errors import InvalidInput, Problem
from chaosproxy.model import ProxySpec, read_partition, write_partition
from chaosproxy.model.partition import (
    Layout,
    PartitionSpec,
    check_effect,
    check_nodes,
    cut_by,
    faults_of,
    nodes_of,
    written,
)
from chaosproxy.model.topology import TOPOLOGIES, Cut
from chaosproxy.seed import Seed
from tests.net.building import proxy
from tests.refused import places

Data = dict[str, object]
SEED = Seed(1)
SEVEN = tuple(f"n{number}" for number in range(1, 8))


def read(data: object, id: str = "cut") -> PartitionSpec:
    problems = Problems()
    spec = read_partition(data, id, problems)
    problems.raise_if_any()
    assert spec is not None
    return spec


def wrong(data: object, id: str = "cut") -> dict[str, str]:
    """Return the code of each problem, by its field."""
    problems = Problems()
    assert read_partition(data, id, problems, ("partitions", id)) is None
    return {problem.field.removeprefix("partitions."): problem.code for problem in problems}


def between_nodes(sender: str | None, receiver: str | None, name: str | None = None) -> ProxySpec:
    nodes = {"from": sender, "to": receiver}
    return proxy(name or f"{sender}-{receiver}", upstream="127.0.0.1:9", **nodes)


def mesh(nodes: Sequence[str]) -> list[ProxySpec]:
    """A proxy from each node to each other."""
    return [between_nodes(one, other) for one, other in permutations(nodes, 2)]


# ── reading ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ({"from": "a", "to": "b"}, {"from_nodes": ("a",), "to_nodes": ("b",), "one_way": False, "mode": "auto"}),
        ({"from": ["a", "b"], "to": ["c"]}, {"from_nodes": ("a", "b"), "to_nodes": ("c",)}),
        ({"from": "a", "to": "b", "one_way": True, "acks": "drop"}, {"one_way": True, "acks": "drop"}),
        ({"groups": [["a", "b"], "c"]}, {"groups": (("a", "b"), ("c",))}),
        ({"topology": "halves"}, {"topology": Layout("halves"), "nodes": ()}),
        ({"topology": "bridge"}, {"topology": Layout("bridge")}),
        ({"topology": {"isolate": "n1"}}, {"topology": Layout("isolate", "n1")}),
        ({"topology": "isolate:n1"}, {"topology": Layout("isolate", "n1")}),
        ({"topology": " isolate : n1 "}, {"topology": Layout("isolate", "n1")}),
        ({"topology": "isolate:a:b"}, {"topology": Layout("isolate", "a:b")}),
        ({"topology": {"bridge": "n2"}, "nodes": ["n1", "n2", "n3"]}, {"nodes": ("n1", "n2", "n3")}),
        ({"topology": "halves", "nodes": "n1"}, {"nodes": ("n1",)}),
        ({"from": "a", "to": "b", "ttl": "1m30s", "mode": "packet"}, {"ttl": 90.0, "mode": "packet"}),
        ({"from": "a", "to": "b", "ttl": None, "groups": None, "topology": None}, {"ttl": None, "groups": ()}),
        ({"from": "a", "to": "b", "preset": "flaky-link"}, {"preset": "flaky-link", "down": 5.0, "up": 10.0}),
        ({"from": "a", "to": "b", "preset": "flaky-link", "down": "1s", "up": "20ms"}, {"down": 1.0, "up": 0.02}),
        ({"from": "a", "to": "b", "preset": "bad-switch", "ttl": "9s"}, {"preset": "bad-switch", "ttl": 9.0}),
        ({"from": "a", "to": "b", "fail_fast": True, "allow_empty": True}, {"fail_fast": True, "allow_empty": True}),
    ],
)
def test_what_is_given_is_read(data: Data, fields: Data) -> None:
    spec = read(data, "the id")
    assert spec.id == "the id"
    assert {name: getattr(spec, name) for name in fields} == fields
    assert read(write_partition(spec), "the id") == spec


@pytest.mark.parametrize(
    ("data", "field", "code"),
    [
        ([], "", "wrong-type"),
        ({}, "", "missing"),
        ({"ttl": "1s"}, "", "missing"),
        ({"from": "a"}, "to", "missing"),
        ({"to": "a"}, "from", "missing"),
        ({"to": "a", "topology": "halves"}, "from", "missing"),
        ({"from": "a", "to": "b", "groups": [["a"], ["b"]]}, "groups", "invalid-together"),
        ({"from": "a", "to": "b", "topology": "halves"}, "topology", "invalid-together"),
        ({"groups": [["a"], ["b"]], "topology": "halves"}, "topology", "invalid-together"),
        ({"from": [], "to": "b"}, "from", "empty"),
        ({"from": 5, "to": "b"}, "from", "wrong-type"),
        ({"from": ["a", 5], "to": "b"}, "from", "wrong-type"),
        ({"from": {"a": "b"}, "to": "b"}, "from", "wrong-type"),
        ({"groups": "a"}, "groups", "wrong-type"),
        ({"groups": [["a"], []]}, "groups.1", "empty"),
        ({"groups": [["a", "b"]]}, "groups", "no-effect"),
        ({"groups": [["a"], ["b"]], "one_way": True}, "one_way", "not-applicable"),
        ({"topology": "halves", "one_way": True}, "one_way", "not-applicable"),
        ({"from": "a", "to": "b", "nodes": ["a"]}, "nodes", "not-applicable"),
        ({"topology": "halfs"}, "topology", "unknown-value"),
        ({"topology": "isolat:n1"}, "topology", "unknown-value"),
        ({"topology": {"isolat": "n1"}}, "topology", "unknown-value"),
        ({"topology": ["isolate"]}, "topology", "unknown-value"),
        ({"topology": {"isolate": "a", "bridge": "b"}}, "topology", "unknown-value"),
        ({"topology": "isolate"}, "topology", "missing"),
        ({"topology": {"isolate": None}}, "topology", "missing"),
        ({"topology": {"isolate": 1}}, "topology", "wrong-type"),
        ({"topology": {"isolate": ["a"]}}, "topology", "wrong-type"),
        ({"topology": "halves:n1"}, "topology", "not-applicable"),
        ({"topology": {"one-way-ring": "n1"}}, "topology", "not-applicable"),
        ({"from": "a", "to": "b", "down": "1s"}, "down", "not-applicable"),
        ({"from": "a", "to": "b", "preset": "bad-switch", "up": "1s"}, "up", "not-applicable"),
        ({"from": "a", "to": "b", "preset": "flaky"}, "preset", "unknown-value"),
        ({"from": "a", "to": "b", "mode": "paket"}, "mode", "unknown-value"),
        ({"from": "a", "to": "b", "acks": "lose"}, "acks", "unknown-value"),
        ({"from": "a", "to": "b", "ttl": "0s"}, "ttl", "out-of-range"),
        ({"from": "a", "to": "b", "ttl": 30}, "ttl", "unit-missing"),
        ({"from": "a", "to": "b", "one_way": "yes"}, "one_way", "wrong-type"),
        ({"from": "a", "to": "b", "oneway": True}, "oneway", "unknown-key"),
    ],
)
def test_a_mistake_is_named_where_it_is(data: object, field: str, code: str) -> None:
    assert wrong(data) == {f"cut.{field}" if field else "cut": code}


def test_all_mistakes_of_one_partition_are_named() -> None:
    assert wrong({"topology": "halves", "one_way": True, "down": "1s", "up": "1s"}).keys() == {
        "cut.one_way", "cut.down", "cut.up",
    }  # fmt: skip
    assert wrong({"from": 5, "mode": 5, "ttl": 5}).keys() == {"cut.from", "cut.mode", "cut.ttl"}


def test_a_node_is_in_one_group() -> None:
    spec = read({"groups": [["app", "db-primary"], ["app"]]})
    assert places(check_nodes(spec, KNOWN)) == ["groups duplicate"]


def test_an_id_is_one_line_and_not_one_of_ours() -> None:
    for id in ("", "two\nlines", " spaced ", "partition:mine"):
        [code] = wrong({"from": "a", "to": "b"}, id).values()
        assert code in ("empty", "invalid-name")


# ── nodes ─────────────────────────────────────────────────────────────────────────────────


def test_nodes_are_those_that_proxies_name_in_that_order() -> None:
    proxies = [between_nodes("b", "a"), between_nodes("b", None), between_nodes(None, "c"), between_nodes("a", "d")]
    assert nodes_of(proxies) == ("b", "a", "c", "d")


KNOWN = ("app", "db-primary", "db-replica")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"from": "app", "to": "db-primary"}, {}),
        ({"from": ["app", "ap"], "to": "db-primry"}, {"from.1": "app", "to": "db-primary"}),
        ({"groups": [["app", "db-primary"], ["db-replca"]]}, {"groups.1.0": "db-replica"}),
        ({"groups": [["ap", "db-primary"], "db-replica"]}, {"groups.0.0": "app"}),
        ({"topology": {"isolate": "db-replicas"}}, {"topology": "db-replica"}),
        ({"topology": "halves", "nodes": ["app", "db-primari"]}, {"nodes.1": "db-primary"}),
        ({"topology": "bridge:app", "nodes": ["app", "app2", "db-primary"]}, {"nodes.1": "app"}),
        ({"topology": "majorities-ring"}, {}),
        ({"topology": "halves", "nodes": ["app", "db-replica"]}, {}),
    ],
)
def test_a_node_that_nobody_names_is_told_with_the_nearest(data: Data, found: dict[str, str]) -> None:
    problems = check_nodes(read(data), KNOWN)
    assert [problem.field for problem in problems] == list(found)
    for problem, near in zip(problems, found.values(), strict=True):
        assert problem.code == "unknown-node"
        assert f"(did you mean {near!r}?)" in problem.message


def test_without_any_node_none_is_known() -> None:
    assert places(check_nodes(read({"from": "a", "to": "b"}), ())) == ["from unknown-node", "to unknown-node"]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_topology_with_too_few_nodes_is_refused(topology: str) -> None:
    fewest = 2 if topology in ("halves", "random-halves", "isolate") else 3
    spec = read({"topology": {"isolate": "n1"} if topology == "isolate" else topology})
    assert check_nodes(spec, SEVEN[:fewest]) == []
    assert places(check_nodes(spec, SEVEN[: fewest - 1])) == ["topology no-effect"]
    among = read({**write_partition(spec), "nodes": SEVEN[: fewest - 1]})
    assert places(check_nodes(among, SEVEN)) == ["nodes no-effect"]


def test_the_node_of_a_topology_is_among_its_nodes() -> None:
    spec = read({"topology": {"isolate": "n5"}, "nodes": ["n1", "n2"]})
    assert places(check_nodes(spec, SEVEN)) == ["topology unknown-node"]


def test_nodes_given_twice_do_not_shift_the_place_of_others() -> None:
    [problem] = check_nodes(read({"from": ["app", "app", "nobody"], "to": "db-primary"}), KNOWN)
    assert problem.path == ("from", 2)


def test_a_cut_is_not_made_between_nodes_that_are_not_there() -> None:
    with pytest.raises(InvalidInput) as caught:
        cut_by(read({"from": "ap", "to": "bd"}), KNOWN, SEED)
    assert [problem.path for problem in caught.value.problems] == [("from",), ("to",)]


# ── the cut ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "pairs"),
    [
        ({"from": "n1", "to": "n2"}, "n1<>n2"),
        ({"from": "n1", "to": "n2", "one_way": True}, "n1>n2"),
        ({"from": ["n1", "n2"], "to": ["n3", "n1"], "one_way": True}, "n1>n3 n2>n1 n2>n3"),
        ({"groups": [["n1", "n2"], "n3", ["n4"]]}, "n1<>n3 n1<>n4 n2<>n3 n2<>n4 n3<>n4"),
        ({"topology": "halves", "nodes": ["n3", "n1", "n2"]}, "n1<>n3 n2<>n3"),
        ({"topology": "halves", "nodes": ["n1", "n2", "n3"]}, "n1<>n2 n1<>n3"),
        ({"topology": "halves", "nodes": ["n3", "n1", "n3", "n2"]}, "n1<>n3 n2<>n3"),
        ({"from": ["n1", "n1"], "to": ["n2", "n2"]}, "n1<>n2"),
        ({"topology": {"isolate": "n2"}, "nodes": ["n1", "n2", "n3"]}, "n1<>n2 n2<>n3"),
        ({"topology": "one-way-ring", "nodes": ["n1", "n2", "n3"]}, "n1>n3 n2>n1 n3>n2"),
        ({"topology": {"bridge": "n1"}, "nodes": ["n1", "n2", "n3"]}, "n2<>n3"),
        ({"topology": {"bridge": "n1"}, "nodes": ["n1", "n2", "n3", "n4", "n5"]}, "n2<>n4 n2<>n5 n3<>n4 n3<>n5"),
    ],
)
def test_what_is_cut(data: Data, pairs: str) -> None:
    assert written(cut_by(read(data), SEVEN, SEED)) == pairs


def test_a_topology_is_over_every_node_there_is_in_the_order_of_proxies() -> None:
    spec = read({"topology": "halves"})
    assert written(cut_by(spec, ("b", "a", "c"), SEED)) == "a<>b b<>c"
    assert written(cut_by(spec, ("c", "a", "b"), SEED)) == "a<>c b<>c"


@pytest.mark.parametrize("topology", ["random-halves", "majorities-ring"])
def test_the_same_seed_and_id_cut_the_same(topology: str) -> None:
    cuts = {seed: cut_by(read({"topology": topology}), SEVEN, Seed(seed)) for seed in range(20)}
    assert cuts == {seed: cut_by(read({"topology": topology}), SEVEN, Seed(seed)) for seed in reversed(range(20))}
    assert len(set(cuts.values())) > 10, "another seed cuts otherwise"
    other = {seed: cut_by(read({"topology": topology}, "other"), SEVEN, Seed(seed)) for seed in range(20)}
    assert sum(cuts[seed] != other[seed] for seed in cuts) > 10, "each id has dice of its own"


def test_what_else_is_set_does_not_shift_a_cut() -> None:
    plain = cut_by(read({"topology": "random-halves"}), SEVEN, SEED)
    busy = read({"topology": "random-halves", "preset": "flaky-link", "ttl": "9s", "mode": "stream", "acks": "drop"})
    assert cut_by(busy, SEVEN, SEED) == plain


# ── its effect ────────────────────────────────────────────────────────────────────────────


def effect(spec: PartitionSpec, proxies: Sequence[ProxySpec]) -> dict[str, tuple[str, str]]:
    """For each proxy it goes through: which way it is cut, and what becomes of acknowledgements."""
    faults = faults_of(spec, cut_by(spec, nodes_of(proxies), SEED), proxies)
    return {name: (fault.placement.direction, fault.settings.acks) for name, fault in faults.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "ab", "ba"),
    [
        ({"from": "a", "to": "b", "one_way": True}, ("upstream", "pass"), ("downstream", "pass")),
        ({"from": "b", "to": "a", "one_way": True}, ("downstream", "pass"), ("upstream", "pass")),
        ({"from": "a", "to": "b", "one_way": True, "acks": "drop"}, ("upstream", "drop"), ("downstream", "drop")),
        ({"from": "a", "to": "b"}, ("both", "drop"), ("both", "drop")),
        ({"from": "b", "to": "a", "acks": "pass"}, ("both", "drop"), ("both", "drop")),
        ({"groups": ["a", "b"]}, ("both", "drop"), ("both", "drop")),
    ],
)
def test_the_way_that_is_cut_follows_from_where_a_proxy_stands(
    data: Data, ab: tuple[str, str], ba: tuple[str, str]
) -> None:
    others = [between_nodes("a", "c"), between_nodes("c", "b"), between_nodes("a", "a")]
    half_named = [between_nodes(None, None), between_nodes("a", None), between_nodes(None, "b")]
    proxies = [between_nodes("a", "b"), *others, between_nodes("b", "a"), *half_named]
    assert effect(read(data), proxies) == {"a-b": ab, "b-a": ba}


def test_a_fault_is_the_partitions_part_in_a_proxy() -> None:
    spec = read({"from": "a", "to": "b", "mode": "stream", "fail_fast": True, "ttl": "5s"}, "dark")
    fault = faults_of(spec, cut_by(spec, ("a", "b"), SEED), [between_nodes("a", "b")])["a-b"]
    assert (fault.name, fault.type) == ("partition:dark", "partition")
    assert (fault.settings.mode, fault.settings.fail_fast) == ("stream", True)  # type: ignore[attr-defined]
    assert fault.placement.ttl is None, "it ends with the partition, on all proxies at once"
    assert fault.placement.touches_all


def wrong_with(spec: PartitionSpec, proxies: list[ProxySpec], seed: Seed = SEED) -> list[Problem]:
    return check_effect(spec, cut_by(spec, nodes_of(proxies), seed), proxies)


def test_a_cut_through_no_proxy_is_refused_unless_that_is_meant() -> None:
    proxies = [between_nodes("a", "b"), between_nodes("c", "b")]
    assert places(wrong_with(read({"from": "a", "to": "c"}), proxies)) == ["no-effect"]
    assert wrong_with(read({"from": "a", "to": "c", "allow_empty": True}), proxies) == []
    assert wrong_with(read({"from": ["a", "c"], "to": "b"}), proxies) == []


def test_a_node_cut_off_from_itself_goes_through_no_proxy() -> None:
    proxies = [between_nodes("a", "a"), between_nodes("a", "b")]
    assert places(wrong_with(read({"from": "a", "to": "a"}), proxies)) == ["no-effect"]


nodes = st.integers(2, 7).map(lambda count: SEVEN[:count])


@st.composite
def anywhere(draw: st.DrawFn, known: Sequence[str]) -> list[ProxySpec]:
    """Proxies anywhere between these nodes, some without one; each node is named."""
    one = st.sampled_from([*known, None])
    pairs = draw(st.lists(st.tuples(one, one), max_size=12))
    named = [between_nodes(node, None, f"names-{node}") for node in known]
    return named + [between_nodes(*pair, name=f"p{number}") for number, pair in enumerate(pairs)]


def ways(cut: Cut, one: ProxySpec) -> str | None:
    """Which way a cut separates a proxy's nodes, as the document of the model says it."""
    there = any(pair == (one.from_node, one.to_node) for pair in cut)
    back = any(pair == (one.to_node, one.from_node) for pair in cut)
    return {(True, True): "both", (True, False): "upstream", (False, True): "downstream"}.get((there, back))


@given(st.data())
def test_a_proxy_is_given_a_fault_if_and_only_if_its_nodes_are_separated(data: st.DataObject) -> None:
    known = data.draw(nodes)
    proxies = data.draw(anywhere(known))
    pairs = list(permutations(known, 2))
    cut = frozenset(data.draw(st.lists(st.sampled_from(pairs))))
    found = faults_of(read({"topology": "halves"}), cut, proxies)
    wanted = {one.name: way for one in proxies if (way := ways(cut, one)) is not None}
    assert {name: fault.placement.direction for name, fault in found.items()} == wanted


@given(st.data())
def test_groups_separate_proxies_from_one_to_another(data: st.DataObject) -> None:
    known = data.draw(nodes)
    proxies = data.draw(anywhere(known))
    group_of = {node: data.draw(st.sampled_from([None, 0, 1, 2]), node) for node in known}
    group_of[known[0]], group_of[known[1]] = 0, 1
    groups = [[node for node in known if group_of[node] == number] for number in range(3)]
    spec = read({"groups": [group for group in groups if group]})
    crossing = {
        one.name
        for one in proxies
        if (here := group_of.get(str(one.from_node))) is not None
        and (there := group_of.get(str(one.to_node))) is not None
        and here != there
    }
    assert effect(spec, proxies) == {name: ("both", "drop") for name in crossing}
    assert (wrong_with(spec, proxies) == []) == bool(crossing)


@given(st.data(), st.booleans())
def test_from_and_to_separate_proxies_between_them(data: st.DataObject, one_way: bool) -> None:
    known = data.draw(nodes)
    proxies = data.draw(anywhere(known))
    some = st.lists(st.sampled_from(known), min_size=1)
    senders, receivers = data.draw(some), data.draw(some)
    found = effect(read({"from": senders, "to": receivers, "one_way": one_way}), proxies)
    for one in proxies:
        there = one.from_node in senders and one.to_node in receivers and one.from_node != one.to_node
        back = one.from_node in receivers and one.to_node in senders and one.from_node != one.to_node
        if not one_way:
            there = back = there or back
        directions = {"both": (True, True), "upstream": (True, False), "downstream": (False, True)}
        assert directions.get(found.get(one.name, ("",))[0], (False, False)) == (there, back), one.name


@given(nodes, st.sampled_from(TOPOLOGIES), st.integers(0, 2**32))
def test_a_topology_over_a_full_mesh_always_has_an_effect(known: tuple[str, ...], topology: str, seed: int) -> None:
    spec = read({"topology": f"isolate:{known[-1]}" if topology == "isolate" else topology})
    proxies = mesh(known)
    if check_nodes(spec, known):
        return
    found = faults_of(spec, cut_by(spec, known, Seed(seed)), proxies)
    assert found
    assert wrong_with(spec, proxies, Seed(seed)) == []
    if topology == "isolate":
        assert found.keys() == {one.name for one in proxies if known[-1] in (one.from_node, one.to_node)}
