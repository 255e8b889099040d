"""Topologies: which node no longer hears which, as a set of directed pairs.

A cut holds the pairs (sender, receiver) whose messages are lost; a pair that is not in
it is whole. Everything here is pure: it reads no clock and touches no socket, and the
only chance is that of the dice it is given. Nodes are taken in the order they are given,
never in that of a set or a hash, so that a seed repeats its cut in every process.

The topologies are those of Jepsen, after the definitions in jepsen.nemesis
(https://github.com/jepsen-io/jepsen, jepsen/src/jepsen/nemesis.clj at 3369ff27); only
`one-way-ring` and the timing presets are ours. Jepsen writes a grudge, from each node to
those whose messages it drops: its {a: {b}} is the pair (b, a) here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import cycle, permutations, product
from typing import TypeAlias

from chaosproxy.declare import Choice
from chaosproxy.errors import shown
from chaosproxy.seed import Dice

__all__ = [
    "DRAWN",
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
]

Pair: TypeAlias = tuple[str, str]
"""(sender, receiver): what the sender sends to the receiver is lost."""

Cut: TypeAlias = frozenset[Pair]

_FEWEST = {"halves": 2, "random-halves": 2, "isolate": 2, "bridge": 3, "majorities-ring": 3, "one-way-ring": 3}
"""With fewer nodes there is nothing that the topology could cut."""

TOPOLOGIES: tuple[str, ...] = tuple(_FEWEST)

NAMES_A_NODE = ("isolate", "bridge")
"""The topologies that can be given a node; `isolate` must be."""

DRAWN = ("random-halves", "majorities-ring")
"""The topologies for which the dice decide who is cut from whom."""

_LARGEST_PERFECT_RING = 5


def fewest_nodes(topology: str) -> int:
    """How many nodes the topology takes at least.

    :raises ValueError: when there is no such topology, in words for the user.
    """
    Choice(*TOPOLOGIES).read(topology)
    return _FEWEST[topology]


def cut_of(topology: str, nodes: Sequence[str], dice: Dice, node: str | None = None) -> Cut:
    """The cut that puts the nodes into the topology. The same arguments and dice give the same cut.

    - `halves`: the nodes in the order given, cut in two; the first half is the smaller one.
    - `random-halves`: the same, after shuffling the nodes.
    - `isolate`: `node` on one side, all others on the other.
    - `bridge`: two halves that only one node joins. Without `node` the nodes are halved and the
      first of the second half is the bridge; with it, the others are halved.
    - `majorities-ring`: every node hears a majority of all (itself included). Up to 5 nodes stand
      in a shuffled ring and no two hear the same majority; 4 or 5 hear their two neighbours, and
      each of 3 hears only the one before it. More are linked at random, both ways, and then two
      nodes may hear the same.
    - `one-way-ring`: each node reaches only its successor, and the last one the first. It takes 3
      nodes, since a ring of 2 cuts nothing.

    :raises ValueError: when the arguments do not fit each other, in words for the user.
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
    """Every pair of nodes of two different groups, both ways; nodes of no group are left alone.

    :raises ValueError: when a node stands in two groups, in words for the user.
    """
    for node, count in Counter(node for group in groups for node in set(group)).items():
        if count > 1:
            raise ValueError(f"the node {shown(node)} stands in {count} groups; put it in one")
    return frozenset(pair for one, other in permutations(groups, 2) for pair in product(one, other))


def from_to(senders: Iterable[str], receivers: Iterable[str], one_way: bool) -> Cut:
    """Every pair of a sender and a receiver, and back unless one way; never a node with itself."""
    there = frozenset((sender, receiver) for sender, receiver in product(senders, receivers) if sender != receiver)
    return there if one_way else there | {(receiver, sender) for sender, receiver in there}


# How long a cut lasts: presets of ours, after what real networks do.


def bad_switch(dice: Dice, longest: float = 60.0) -> float:
    """Seconds that a cut lasts while a switch reconfigures: uniform above 0, up to `longest` and never 0."""
    return longest * (1.0 - dice.random())


def flaky_link(dice: Dice, down: float, up: float) -> Iterator[float]:
    """Seconds without end: how long a link is cut, how long it is then whole, cut again, and so on.

    `down` and `up` are the means; each time is uniform from half to one and a half times its mean.
    """
    for mean in cycle((down, up)):
        yield dice.uniform(0.5 * mean, 1.5 * mean)


def _check(topology: str, nodes: Sequence[str], node: str | None) -> None:
    fewest = fewest_nodes(topology)
    for name, count in Counter(nodes).items():
        if count > 1:
            raise ValueError(f"the node {shown(name)} is given {count} times; give it once")
    if len(nodes) < fewest:
        raise ValueError(f"{topology} cuts nothing with so few nodes ({len(nodes)}); give at least {fewest}")
    if node is None:
        if topology == "isolate":
            raise ValueError(f"isolate needs the node to isolate; give one of: {', '.join(nodes)}")
    elif topology not in NAMES_A_NODE:
        raise ValueError(f"{topology} takes no node; leave it out, or use {' or '.join(NAMES_A_NODE)}")
    else:
        Choice(*nodes).read(node)


def _halves(nodes: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The smaller half first."""
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
    """The cut that leaves each node only those it hears, itself among them."""
    return frozenset((sender, receiver) for receiver in heard for sender in heard if sender not in heard[receiver])


def _ring_of_majorities(ring: Sequence[str]) -> dict[str, set[str]]:
    """Each stretch of the ring that is a majority is what the node in its middle hears."""
    size = _majority(ring)
    stretches = ([ring[(start + step) % len(ring)] for step in range(size)] for start in range(len(ring)))
    return {stretch[size // 2]: set(stretch) for stretch in stretches}


def _linked_majorities(nodes: Sequence[str], dice: Dice) -> dict[str, set[str]]:
    """Two nodes with the fewest links are linked, again and again, until all hear a majority."""
    heard = {node: {node} for node in nodes}
    while True:
        fewest_first = sorted(_shuffled(nodes, dice), key=lambda node: len(heard[node]))  # stable: dice break ties
        one = fewest_first[0]
        if len(heard[one]) >= _majority(nodes):
            return heard
        other = next(node for node in fewest_first if node not in heard[one])
        heard[one].add(other)
        heard[other].add(one)
