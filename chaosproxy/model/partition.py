"""The desired state of a partition: which nodes are cut off from which, how, and for how long.

A PartitionSpec is a frozen value like a ProxySpec or a FaultSpec. Its effect is computed here
in two pure steps, without any socket:

    cut_by     spec, nodes, seed ─▶ Cut: the pairs (sender, receiver) that are cut
    faults_of  spec, cut, proxies ─▶ one `partition` fault for each proxy between such a pair

`check_nodes` and `check_effect` find the problems that depend on the proxies: unknown nodes, too
few nodes for a topology, a cut through no proxy. They are separate from `read_partition`,
because a partition is read before its proxies are known.

A proxy stands between two nodes: `from` names its clients, `to` its server. Data from a to b
flows `upstream` on the proxies from a to b, and `downstream` on the proxies from b to a.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from chaosproxy.declare import (
    Choice,
    Duration,
    Flag,
    Given,
    HasOne,
    Is,
    Kind,
    ListOf,
    Not,
    Problems,
    Rule,
    Set,
    Text,
    broken,
    nearest,
    param,
    read_struct,
    too_many,
    values_of,
    write_struct,
)
from chaosproxy.errors import BadValue, InvalidInput, Path, Problem, shown
from chaosproxy.faults.base import MODE
from chaosproxy.faults.partition import Partition
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.names import RESERVED, read_name
from chaosproxy.model.placement import Placement
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.topology import (
    DRAWN,
    MOST_IN_RING,
    MOST_PAIRS,
    NAMES_A_NODE,
    TOPOLOGIES,
    Cut,
    between,
    cut_of,
    fewest_nodes,
    from_to,
    most_pairs,
)
from chaosproxy.seed import Seed

__all__ = [
    "FLAPPING", "Layout", "Names", "PartitionSpec", "Topology", "check_effect", "check_nodes", "cut_by", "faults_of",
    "is_drawn", "nodes_of", "read_partition", "unknown_nodes", "write_partition", "written",
]  # fmt: skip


_WRITTEN = 20
"""The most pairs that a message or an event lists."""
MOST_NODES = 1_000
"""The most names in a list of nodes."""
FLAPPING = ("down", "up")
"""Parameters that have a meaning only with `preset: flaky-link`."""


@dataclass(frozen=True, slots=True)
class Names(Kind):
    """One name, or a list of them; read as a tuple."""

    most: int = MOST_NODES

    def read(self, value: object) -> tuple[str, ...]:
        names = value if isinstance(value, list | tuple) else [value]
        if len(names) > self.most:
            raise too_many(len(names), self.most, "names")
        if not names:
            raise BadValue("empty", "is an empty list; add at least one name")
        for name in names:
            Text().read(name)
        return tuple(names)

    def write(self, value: object) -> list[str]:
        return list(value)  # type: ignore[call-overload, no-any-return]  # read() made it a tuple

    def schema(self) -> dict[str, Any]:
        text = {"type": "string"}
        return {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "maxItems": self.most}]}

    def __str__(self) -> str:
        return f"name or list of at most {self.most} names"


@dataclass(frozen=True, slots=True)
class Layout:
    """The word of a topology, and the node that it names."""

    word: str
    node: str | None = None

    def __str__(self) -> str:
        return self.word if self.node is None else f"{self.word}:{self.node}"


@dataclass(frozen=True, slots=True)
class Topology(Kind):
    """The word of a topology, such as `halves`; with a node `{isolate: n1}`, or in one word `isolate:n1`."""

    def read(self, value: object) -> Layout:
        word, node = value, None
        if isinstance(value, Mapping) and len(value) == 1:
            [(word, given)] = value.items()
            node = None if given is None else Text().read(given)
        elif isinstance(value, str) and ":" in value:
            word, _, node = (part.strip() for part in value.partition(":"))
        word = Choice(*TOPOLOGIES).read(word)
        if word not in NAMES_A_NODE and word != value:
            raise BadValue("not-applicable", f"{word} takes no node; use {word} alone")
        if node is None and (word == "isolate" or word != value):
            raise BadValue("missing", f"{word} needs a node; add it, such as {{{word}: n1}}")
        return Layout(word, node)

    def write(self, value: object) -> object:
        assert isinstance(value, Layout)
        return value.word if value.node is None else {value.word: value.node}

    def schema(self) -> dict[str, Any]:
        alone = "|".join(word for word in TOPOLOGIES if word != "isolate")
        word = {"type": "string", "pattern": rf"^(({alone})$(?!\n)|\s*({'|'.join(NAMES_A_NODE)})\s*:)"}
        about = {name: {"type": "string"} for name in NAMES_A_NODE}
        mapping = {"type": "object", "properties": about, "additionalProperties": False}
        return {"anyOf": [word, {**mapping, "minProperties": 1, "maxProperties": 1}]}

    def __str__(self) -> str:
        return "topology"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSpec:
    """A partition between nodes, under an id."""

    id: str
    from_nodes: tuple[str, ...] = param(Names(), "nodes on one side", default=(), name="from", example="[app]")
    to_nodes: tuple[str, ...] = param(Names(), "nodes on the other side", default=(), name="to", example="[db-primary]")
    one_way: bool = param(Flag(), "drops only data from `from` to `to`", default=False, example="true")
    groups: tuple[tuple[str, ...], ...] = param(
        ListOf(Names()), "groups that are cut off from each other", default=(), example="[[n1, n2], [n3, n4, n5]]"
    )
    topology: Layout | None = param(
        Topology(), f"cuts all nodes by a pattern: {', '.join(TOPOLOGIES)}", default=None, example="{isolate: n1}"
    )
    nodes: tuple[str, ...] = param(
        Names(), "nodes that the topology applies to; default: all nodes", default=(), example="[n1, n2, n3]"
    )
    mode: str = param(MODE, "where the cut is made", default="auto", example="packet")
    acks: str = param(
        Choice("pass", "drop"),
        "in mode packet, when one way is cut: passes or drops bare acknowledgements",
        default="pass",
        example="drop",
    )
    fail_fast: bool = param(
        Flag(), "resets and refuses connections instead of silence", default=False, example="true"
    )
    preset: str | None = param(
        Choice("bad-switch", "flaky-link"),
        "bad-switch heals after a random time of at most 60s or ttl; flaky-link cuts and heals in turn",
        default=None,
        example="flaky-link",
    )
    down: float = param(Duration(above_zero=True), "flaky-link: mean time of a cut", default=5.0)
    up: float = param(Duration(above_zero=True), "flaky-link: mean time between cuts", default=10.0)
    ttl: float | None = param(Duration(above_zero=True), "heals after this time", default=None, example="30s")
    allow_empty: bool = param(Flag(), "no error if no proxy is cut", default=False, example="true")
    rules: ClassVar[tuple[Rule, ...]] = (
        *(
            Rule(
                (missing,), "missing", f"is missing, but {there} is given; add the nodes on the other side",
                Set(there), Not(Set(missing)),
            )
            for missing, there in (("to", "from"), ("from", "to"))
        ),
        Rule(
            (), "missing",
            "cuts nothing; add from and to, such as from: app, to: db-primary, or groups, or a topology",
            Not(Set("from")), Not(Set("to")), Not(Set("groups")), Not(Given("topology")),
        ),
        *(
            Rule(
                (other,), "invalid-together", f"cannot be combined with {one}; use one of the two",
                Set(one), Set(other),
            )
            for one, other in (("from", "groups"), ("from", "topology"), ("groups", "topology"))
        ),
        Rule(
            ("groups",), "no-effect",
            "has one group and cuts nothing; use at least two, such as [[n1, n2], [n3, n4, n5]]",
            HasOne("groups"),
        ),
        Rule(
            ("one_way",), "not-applicable", "needs from and to; add them, or remove it",
            Set("one_way"), Not(Set("from")),
        ),
        Rule(
            ("nodes",), "not-applicable", "needs a topology; add one, or remove it",
            Set("nodes"), Not(Given("topology")),
        ),
        *(
            Rule(
                (name,), "not-applicable", "needs preset: flaky-link; add that, or remove it",
                Given(name), Not(Is("preset", "flaky-link")),
            )
            for name in FLAPPING
        ),
    )  # fmt: skip


def read_partition(data: object, id: str, problems: Problems, path: Path = ()) -> PartitionSpec | None:
    """Read a partition from plain data; if it is wrong, note all problems and return None.

    `check_nodes` checks whether its nodes exist.
    """
    before = len(problems)
    read_name(id, problems, path or ("id",))
    spec = read_struct(PartitionSpec, data, problems, path, id=id)
    if spec is None:
        return None
    assert isinstance(data, Mapping)
    not_given = {name: None for name in FLAPPING if data.get(name) is None}  # their defaults mean nothing then
    for problem in broken(PartitionSpec.rules, values_of(spec) | not_given):
        problems.add((*path, *problem.path), problem.code, problem.message)
    return spec if len(problems) == before else None


def write_partition(spec: PartitionSpec) -> dict[str, Any]:
    """Return the plain data that `read_partition` reads back as `spec`, without default values. (Any: JSON.)"""
    return write_struct(spec)


# ── the cut and its faults ────────────────────────────────────────────────────────────────


def nodes_of(proxies: Iterable[ProxySpec]) -> tuple[str, ...]:
    """Return every node that a proxy names, in the order of first mention."""
    named = [node for proxy in proxies for node in (proxy.from_node, proxy.to_node) if node]
    return tuple(dict.fromkeys(named))


def check_nodes(spec: PartitionSpec, known: Sequence[str]) -> list[Problem]:
    """Return the problems with the nodes that the partition names, and with their number; `known` are all nodes."""
    lists = {"from": spec.from_nodes, "to": spec.to_nodes, "nodes": spec.nodes}
    # A single name may have been given as text, so its path has no index.
    places: list[tuple[Path, str]] = [
        ((field, at) if len(names) > 1 else (field,), name)
        for field, names in lists.items()
        for at, name in enumerate(names)
    ]
    places += [
        (("groups", at, in_it), name) for at, group in enumerate(spec.groups) for in_it, name in enumerate(group)
    ]
    if spec.topology is not None and spec.topology.node is not None:
        places.append((("topology",), spec.topology.node))
    has = f"known nodes: {', '.join(known[:20])}" if known else "add `from` and `to` to proxies to name nodes"
    known_names = frozenset(known)
    problems = Problems()
    for path, name in places:
        if name not in known_names:
            hint = "" if problems.full else nearest(name, known)
            problems.add(path, "unknown-node", f"no proxy names the node {shown(name)}{hint}; {has}")
    groups_of = Counter(name for group in spec.groups for name in dict.fromkeys(group))
    if twice := [name for name, count in groups_of.items() if count > 1]:
        problems.add(("groups",), "duplicate", f"has {shown(min(twice))} in two groups; put each node in one")
    if not problems and spec.topology is not None:
        problems.extend(_check_layout(spec, spec.topology, _laid_over(spec, known)))
    if not problems and (pairs := _pairs(spec, known)) > MOST_PAIRS:
        message = f"cuts {pairs} pairs of nodes; use fewer nodes, so that it cuts at most {MOST_PAIRS}"
        problems.add((), "too-large", message)
    return list(problems)


def unknown_nodes(data: object, known: Sequence[str]) -> list[Problem]:
    """Return the problems with unknown nodes in plain data that `read_partition` has refused for another reason."""
    fields = ("from", "to", "nodes", "groups", "topology")
    given = {key: value for key, value in data.items() if key in fields} if isinstance(data, Mapping) else {}
    problems: list[Problem] = []
    for key, value in given.items():
        spec = read_struct(PartitionSpec, {key: value}, Problems(), id="")
        if spec is not None:
            found = check_nodes(spec, known)
            problems += [problem for problem in found if problem.code in ("unknown-node", "more-problems")]
    return problems


def _laid_over(spec: PartitionSpec, known: Sequence[str]) -> tuple[str, ...]:
    """Return the nodes that the topology applies to, each once."""
    return tuple(dict.fromkeys(spec.nodes or known))


def _check_layout(spec: PartitionSpec, layout: Layout, nodes: Sequence[str]) -> Iterable[Problem]:
    if layout.node is not None and layout.node not in nodes:
        message = f"the node {shown(layout.node)} is not in nodes; add it there"
        yield Problem(("topology",), "unknown-node", message)
    elif layout.word == "majorities-ring" and len(nodes) > MOST_IN_RING:
        message = f"majorities-ring takes at most {MOST_IN_RING} nodes, but there are {len(nodes)}"
        yield Problem(("nodes",) if spec.nodes else ("topology",), "too-large", f"{message}; list fewer in nodes")
    elif len(nodes) < fewest_nodes(layout.word):
        message = f"{layout.word} needs at least {fewest_nodes(layout.word)} nodes, but there are {len(nodes)}"
        way = "add nodes, or remove this list" if spec.nodes else "add `from` and `to` to more proxies"
        yield Problem(("nodes",) if spec.nodes else ("topology",), "no-effect", f"{message}; {way}")


def _pairs(spec: PartitionSpec, known: Sequence[str]) -> int:
    """Return the most pairs that the partition can cut, without computing them."""
    if spec.groups:
        sizes = [len(group) for group in spec.groups]
        return sum(sizes) ** 2 - sum(size**2 for size in sizes)
    if spec.topology is not None:
        return most_pairs(spec.topology.word, len(_laid_over(spec, known)))
    return len(spec.from_nodes) * len(spec.to_nodes) * (1 if spec.one_way else 2)


def cut_by(spec: PartitionSpec, known: Sequence[str], seed: Seed) -> Cut:
    """Return the pairs (sender, receiver) that are cut among these nodes; the same seed gives the same pairs.

    :raises InvalidInput: the partition names unknown nodes, or there are too few nodes.
    """
    if problems := check_nodes(spec, known):
        raise InvalidInput(problems)
    if spec.groups:
        return between(spec.groups)
    if spec.topology is not None:
        dice = seed.at("partition", spec.id, "topology")
        return cut_of(spec.topology.word, _laid_over(spec, known), dice, spec.topology.node)
    return from_to(spec.from_nodes, spec.to_nodes, spec.one_way)


def is_drawn(spec: PartitionSpec) -> bool:
    """Return whether the seed decides which pairs are cut."""
    return spec.topology is not None and spec.topology.word in DRAWN


def check_effect(spec: PartitionSpec, cut: Cut, proxies: Sequence[ProxySpec]) -> list[Problem]:
    """Return a problem if the partition cuts none of these proxies, unless that is allowed."""
    if spec.allow_empty or faults_of(spec, cut, proxies):
        return []
    way = "add one, or allow it with allow_empty: true (--allow-empty)"
    message = f"cuts no proxy: there is none between {written(cut)}; {way}"
    return [Problem((), "no-effect", message)]


def written(cut: Cut) -> str:
    """Return a cut in one line, at most 20 pairs of it: `app>db` for one way, `app<>db` for both."""
    words: list[str] = []
    more = 0
    for one, other in sorted(cut):
        both = (other, one) in cut
        if both and one > other:
            continue
        if len(words) < _WRITTEN:
            words.append(f"{one}<>{other}" if both else f"{one}>{other}")
        else:
            more += 1
    return " ".join(words) + (f" and {more} more" if more else "") or "any two of these nodes"


def faults_of(spec: PartitionSpec, cut: Cut, proxies: Iterable[ProxySpec]) -> dict[str, FaultSpec]:
    """Return the fault for each proxy whose nodes the cut separates, by the proxy's name."""
    found = {}
    for proxy in proxies:
        there, back = (proxy.from_node, proxy.to_node) in cut, (proxy.to_node, proxy.from_node) in cut
        if not there and not back:
            continue
        # With both ways cut, no data is left that acknowledgements could confirm.
        settings = Partition(mode=spec.mode, acks="drop" if there and back else spec.acks, fail_fast=spec.fail_fast)
        direction = "both" if there and back else "upstream" if there else "downstream"
        name = f"{RESERVED}{spec.id}"
        found[proxy.name] = FaultSpec(name=name, settings=settings, placement=Placement(direction=direction))
    return found
