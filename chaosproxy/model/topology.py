"""Topologies: which node no longer receives from which, as a set of directed pairs.

A Cut holds the pairs (sender, receiver) whose messages are lost; every other pair works. All
functions here are pure: they read no clock and touch no socket, and the dice passed to them
are the only source of chance. They take nodes in the order given, never in the order of a set
or a hash, so that a seed gives the same cut in every process.

`cut_of` computes the cut of a topology; `between` and `from_to` compute the cuts of a
partition by groups or by names. `bad_switch` and `flaky_link` compute how long a cut lasts.

The topologies are those of Jepsen, by the definitions in jepsen.nemesis
(https://github.com/jepsen-io/jepsen, jepsen/src/jepsen/nemesis.clj at 3369ff27); `one-way-ring`
and the timing presets are additions. Jepsen writes a grudge, from each node to the nodes whose
messages it drops: its {a: {b}} is the pair (b, a) here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import cycle, permutations, product
from typing import TypeAlias

from chaosproxy.declare import Choice, nearest
from chaosproxy.errors import BadValue, listed, shown
from chaosproxy.seed import Dice

__all__ = [
    "DRAWN",
    "MOST_IN_RING",
    "MOST_PAIRS",
    "NAMES_A_NODE",
    "TOPOLOGIES",
    "Cut",
    "Pair",
    "bad_switch",
    "between",
    "cut_of",
    "fewest_nodes",
    "flaky_link",
    "from_to",
    "most_pairs",
]

Pair: TypeAlias = tuple[str, str]
"""(sender, receiver): messages from the sender to the receiver are lost."""

Cut: TypeAlias = frozenset[Pair]

_FEWEST = {"halves": 2, "random-halves": 2, "isolate": 2, "bridge": 3, "majorities-ring": 3, "one-way-ring": 3}
"""The fewest nodes with which the topology cuts anything."""

TOPOLOGIES: tuple[str, ...] = tuple(_FEWEST)

NAMES_A_NODE = ("isolate", "bridge")
"""The topologies that take a node; `isolate` requires one."""

DRAWN = ("random-halves", "majorities-ring")
"""The topologies for which the dice decide which pairs are cut."""

MOST_PAIRS = 20_000
"""The most pairs that the partitions may cut: all pairs of 142 nodes."""

MOST_IN_RING = 64
"""The most nodes of a `majorities-ring`, whose links take time that grows with the third power of their number."""

_LARGEST_PERFECT_RING = 5


def fewest_nodes(topology: str) -> int:
    """Return the fewest nodes that the topology takes.

    :raises BadValue: there is no such topology.
    """
    Choice(*TOPOLOGIES).read(topology)
    return _FEWEST[topology]


def most_pairs(topology: str, nodes: int) -> int:
    """Return the most pairs that the topology can cut; `nodes` is the number of nodes."""
    if topology == "isolate":
        return 2 * (nodes - 1)
    return nodes**2 // 2 if topology in ("halves", "random-halves", "bridge") else nodes * (nodes - 1)


def cut_of(topology: str, nodes: Sequence[str], dice: Dice, node: str | None = None) -> Cut:
    """Return the cut of a topology. The same arguments and dice give the same cut.

    - `halves`: the nodes in the order given, cut in two; the first half is the smaller one.
    - `random-halves`: the same, after shuffling the nodes.
    - `isolate`: `node` on one side, all others on the other.
    - `bridge`: two halves that only one node joins. Without `node` the nodes are halved and the
      first of the second half is the bridge; with `node`, the other nodes are halved.
    - `majorities-ring`: every node receives from a majority of all nodes (itself included). Up to
      5 nodes form a shuffled ring and no two have the same majority: each of 4 or 5 receives from
      its two neighbours, each of 3 only from the one before it. More nodes are linked at random,
      both ways, and then two nodes may have the same majority.
    - `one-way-ring`: each node reaches only its successor, and the last one the first. It takes 3
      nodes, since a ring of 2 cuts nothing.

    :raises BadValue: the arguments contradict each other.
    """
    _check(topology, nodes, node)
    match topology:
        case "halves":
            return between(_halves(nodes))
        case "random-halves":
            return between(_halves(_shuffled(nodes, dice)))
        case "isolate" if node is not None:
            return between([[node], _without(node, nodes)])
        case "bridge" if node is not None:
            return between(_halves(_without(node, nodes)))
        case "bridge":
            smaller, larger = _halves(nodes)
            return between([smaller, larger[1:]])
        case "majorities-ring" if len(nodes) <= _LARGEST_PERFECT_RING:
            return _all_but(_ring_of_majorities(_shuffled(nodes, dice)))
        case "majorities-ring":
            return _all_but(_linked_majorities(nodes, dice))
        case "one-way-ring":
            return _all_but({node: {nodes[place - 1], node} for place, node in enumerate(nodes)})
        case _:
            raise AssertionError(f"no cut is defined for {topology}")


def between(groups: Sequence[Sequence[str]]) -> Cut:
    """Return every pair of nodes of two different groups, both ways; a node in no group is not cut.

    :raises BadValue: a node is in two groups.
    """
    for node, count in Counter(node for group in groups for node in set(group)).items():
        if count > 1:
            raise BadValue("duplicate", f"the node {shown(node)} is in {count} groups; put it in one")
    return frozenset(pair for one, other in permutations(groups, 2) for pair in product(one, other))


def from_to(senders: Iterable[str], receivers: Iterable[str], one_way: bool) -> Cut:
    """Return every pair of a sender and a receiver, and the reverse unless `one_way`; never a node with itself."""
    there = frozenset((sender, receiver) for sender, receiver in product(senders, receivers) if sender != receiver)
    return there if one_way else there | {(receiver, sender) for sender, receiver in there}


# How long a cut lasts: presets modelled on real networks.


def bad_switch(dice: Dice, longest: float = 60.0) -> float:
    """Return the seconds that a cut lasts while a switch reconfigures: uniform, above 0, at most `longest`."""
    return longest * (1.0 - dice.random())


def flaky_link(dice: Dice, down: float, up: float) -> Iterator[float]:
    """Yield seconds forever: how long the link is cut, how long it then works, cut again, and so on.

    `down` and `up` are the means; each time is uniform from 0.5 to 1.5 times its mean.
    """
    for mean in cycle((down, up)):
        yield dice.uniform(0.5 * mean, 1.5 * mean)


def _check(topology: str, nodes: Sequence[str], node: str | None) -> None:
    fewest = fewest_nodes(topology)
    for name, count in Counter(nodes).items():
        if count > 1:
            raise BadValue("duplicate", f"the node {shown(name)} is given {count} times; use it once")
    if len(nodes) < fewest:
        raise BadValue("no-effect", f"{topology} cuts nothing with {len(nodes)} nodes; use at least {fewest}")
    if node is None:
        if topology == "isolate":
            raise BadValue("missing", f"isolate needs a node; use one of: {listed(nodes)}")
    elif topology not in NAMES_A_NODE:
        raise BadValue("not-applicable", f"{topology} takes no node; remove it, or use {' or '.join(NAMES_A_NODE)}")
    else:
        _check_known(node, nodes)


def _check_known(node: str, nodes: Sequence[str]) -> None:
    if node not in list(nodes):
        message = f"{shown(node)} is not known{nearest(node, nodes)}; use one of: {listed(nodes)}"
        raise BadValue("unknown-value", message)


def _halves(nodes: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the two halves, the smaller one first."""
    middle = len(nodes) // 2
    return nodes[:middle], nodes[middle:]


def _without(node: str, nodes: Iterable[str]) -> list[str]:
    return [other for other in nodes if other != node]


def _shuffled(nodes: Iterable[str], dice: Dice) -> list[str]:
    shuffled = list(nodes)
    dice.shuffle(shuffled)
    return shuffled


def _majority(nodes: Sequence[str]) -> int:
    return len(nodes) // 2 + 1


def _all_but(heard: Mapping[str, AbstractSet[str]]) -> Cut:
    """Return the cut that lets each node receive only from the nodes in `heard`, itself among them."""
    return frozenset((sender, receiver) for receiver in heard for sender in heard if sender not in heard[receiver])


def _ring_of_majorities(ring: Sequence[str]) -> dict[str, set[str]]:
    """Let each node receive from the stretch of the ring, a majority, that has the node in its middle."""
    size = _majority(ring)
    stretches = ([ring[(start + step) % len(ring)] for step in range(size)] for start in range(len(ring)))
    return {stretch[size // 2]: set(stretch) for stretch in stretches}


def _linked_majorities(nodes: Sequence[str], dice: Dice) -> dict[str, set[str]]:
    """Link the two nodes with the fewest links, repeatedly, until each node receives from a majority."""
    heard = {node: {node} for node in nodes}
    while True:
        fewest_first = sorted(_shuffled(nodes, dice), key=lambda node: len(heard[node]))  # stable: dice break ties
        one = fewest_first[0]
        if len(heard[one]) >= _majority(nodes):
            return heard
        other = next(node for node in fewest_first if node not in heard[one])
        heard[one].add(other)
        heard[other].add(one)
