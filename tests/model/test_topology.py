"""Topologies: the exact cuts of small clusters, the laws for larger ones, and the timing presets.

In `pairs("ab")` what a sends to b is lost. Expected cuts of five nodes are worked out by
hand from Jepsen's definitions, those of the ring also from the shuffle that is asserted
beside them.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.model.topology import (
    NAMES_A_NODE,
    TOPOLOGIES,
    Cut,
    bad_switch,
    between,
    cut_of,
    fewest_nodes,
    flaky_link,
    from_to,
)
from chaosproxy.seed import Dice
from tests.refused import code_of

FIVE = "abcde"
BY_DICE = ("random-halves", "majorities-ring")
SEEDS = st.integers(0, 2**32)


class Unshuffled(Dice):
    """Dice that leave every order as it is, so that a cut can be worked out by hand."""

    def shuffle(self, x: object) -> None:
        pass


class Rolled(Dice):
    """Dice that always show the same share."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def random(self) -> float:
        return self._share


def pairs(text: str) -> Cut:
    return frozenset((word[0], word[1]) for word in text.split())


def both_ways(text: str) -> Cut:
    return pairs(text) | turned(pairs(text))


def turned(cut: Cut) -> Cut:
    return frozenset((receiver, sender) for sender, receiver in cut)


def heard(node: str, nodes: Collection[str], cut: Cut) -> frozenset[str]:
    """Whom the node hears, itself included."""
    return frozenset(other for other in nodes if (other, node) not in cut)


def shuffled(nodes: str, seed: int) -> str:
    order = list(nodes)
    Dice(seed).shuffle(order)
    return "".join(order)


def clusters(fewest: int, most: int = 12) -> st.SearchStrategy[list[str]]:
    names = [f"node-{number}" for number in range(most)]
    return st.lists(st.sampled_from(names), min_size=fewest, max_size=most, unique=True)


def given_node(topology: str, nodes: list[str]) -> str | None:
    return nodes[-1] if topology in NAMES_A_NODE else None


# Five nodes and fewer, by hand.


@pytest.mark.parametrize(
    ("topology", "node", "cut"),
    [
        ("halves", None, both_ways("ac ad ae bc bd be")),
        ("isolate", "b", both_ways("ba bc bd be")),
        ("bridge", None, both_ways("ad ae bd be")),
        ("bridge", "c", both_ways("ad ae bd be")),
        ("bridge", "a", both_ways("bd be cd ce")),
        ("one-way-ring", None, pairs("ac ad ae ba bd be ca cb ce da db dc eb ec ed")),
    ],
)
def test_five_nodes_are_cut_without_chance(topology: str, node: str | None, cut: Cut) -> None:
    assert cut_of(topology, FIVE, Dice(0), node) == cut == cut_of(topology, FIVE, Dice(1), node)


def test_five_nodes_are_cut_into_random_halves() -> None:
    assert shuffled(FIVE, seed=2) == "cbdea"
    assert cut_of("random-halves", FIVE, Dice(2)) == both_ways("cd ce ca bd be ba")


def test_five_nodes_hear_their_neighbours_in_a_shuffled_ring() -> None:
    assert shuffled(FIVE, seed=2) == "cbdea"
    assert cut_of("majorities-ring", FIVE, Dice(2)) == both_ways("cd ce be ba da")


def test_four_nodes_hear_their_neighbours_in_a_shuffled_ring() -> None:
    assert shuffled("abcd", seed=0) == "cabd"
    assert cut_of("majorities-ring", "abcd", Dice(0)) == both_ways("cb ad")


def test_a_majority_of_three_is_a_node_and_the_one_before_it() -> None:
    assert shuffled("abc", seed=0) == "acb"
    assert cut_of("majorities-ring", "abc", Dice(0)) == pairs("bc ab ca")


def test_six_nodes_are_linked_fewest_links_first() -> None:
    """Without chance the links are made in this order: ab cd ef ac bd ae bf ce df."""
    assert cut_of("majorities-ring", "abcdef", Unshuffled()) == both_ways("ad af bc be cf de")


def test_the_bridge_without_a_node_is_the_first_of_the_second_half() -> None:
    assert cut_of("bridge", "abcd", Dice(0)) == both_ways("ad bd")
    assert cut_of("bridge", "abcd", Dice(0), "c") == both_ways("ab ad")


def test_the_order_given_is_the_order() -> None:
    assert cut_of("halves", "cab", Dice(0)) == both_ways("ca cb")
    assert cut_of("bridge", "cab", Dice(0)) == both_ways("cb")
    assert cut_of("one-way-ring", "cab", Dice(0)) == pairs("cb ac ba")


# Laws, for two to twelve nodes.


@settings(deadline=None)
@given(st.data(), st.sampled_from(TOPOLOGIES), SEEDS)
def test_a_cut_is_repeated_by_its_seed_whatever_the_nodes_are_called(
    data: st.DataObject, topology: str, seed: int
) -> None:
    nodes = data.draw(clusters(fewest_nodes(topology)))
    called = dict(zip(nodes, data.draw(st.permutations(nodes)), strict=True))
    node = given_node(topology, nodes)
    cut = cut_of(topology, nodes, Dice(seed), node)
    assert cut == cut_of(topology, tuple(nodes), Dice(seed), node)
    renamed = cut_of(topology, [*called.values()], Dice(seed), None if node is None else called[node])
    assert renamed == {(called[sender], called[receiver]) for sender, receiver in cut}


@settings(deadline=None)
@given(st.data(), st.sampled_from(TOPOLOGIES), SEEDS)
def test_a_cut_holds_something_but_not_a_node_with_itself_nor_strangers(
    data: st.DataObject, topology: str, seed: int
) -> None:
    nodes = data.draw(clusters(fewest_nodes(topology)))
    cut = cut_of(topology, nodes, Dice(seed), given_node(topology, nodes))
    assert cut
    assert all(sender != receiver and {sender, receiver} <= {*nodes} for sender, receiver in cut)


@pytest.mark.parametrize("topology", BY_DICE)
@pytest.mark.parametrize("count", [3, 5, 7])
def test_other_seeds_have_other_cuts(topology: str, count: int) -> None:
    assert len({cut_of(topology, "abcdefg"[:count], Dice(seed)) for seed in range(50)}) > 1


@pytest.mark.parametrize("topology", [topology for topology in TOPOLOGIES if topology not in BY_DICE])
def test_topologies_without_chance_leave_the_dice_alone(topology: str) -> None:
    dice = Dice(0)
    cut_of(topology, [*FIVE], dice, given_node(topology, [*FIVE]))
    assert dice.random() == Dice(0).random()


def test_what_a_seed_cuts_never_changes() -> None:
    """A seed written in a file or a report repeats its run in every later version."""
    assert cut_of("majorities-ring", "abcdefg", Dice(7)) == both_ways("ab ae ag be bf cd cf cg dg ef")


@settings(deadline=None)
@given(clusters(2), SEEDS)
def test_halves_differ_by_one_node_at_most_and_are_whole_inside(nodes: list[str], seed: int) -> None:
    for topology in ("halves", "random-halves"):
        cut = cut_of(topology, nodes, Dice(seed))
        sides = sorted({heard(node, nodes, cut) for node in nodes}, key=len)
        assert [len(side) for side in sides] == [len(nodes) // 2, len(nodes) - len(nodes) // 2]
        assert not sides[0] & sides[1]
        assert cut == turned(cut)
        if topology == "halves":
            assert heard(nodes[0], nodes, cut) == {*nodes[: len(nodes) // 2]}


@settings(deadline=None)
@given(clusters(2), st.data())
def test_an_isolated_node_is_in_every_pair_and_in_all_its_pairs(nodes: list[str], data: st.DataObject) -> None:
    node = data.draw(st.sampled_from(nodes))
    every = {(sender, receiver) for sender in nodes for receiver in nodes if sender != receiver}
    assert cut_of("isolate", nodes, Dice(0), node) == {pair for pair in every if node in pair}


@settings(deadline=None)
@given(clusters(3), st.data())
def test_a_bridge_joins_two_halves_that_are_whole_inside(nodes: list[str], data: st.DataObject) -> None:
    node = data.draw(st.none() | st.sampled_from(nodes))
    cut = cut_of("bridge", nodes, Dice(0), node)
    bridge = nodes[len(nodes) // 2] if node is None else node
    assert not any(bridge in pair for pair in cut)
    banks = {heard(other, nodes, cut) - {bridge} for other in nodes if other != bridge}
    one, other = sorted(banks, key=len)
    assert one | other == {*nodes} - {bridge}
    assert not one & other
    assert len(other) - len(one) <= 1
    assert cut == turned(cut)


@settings(deadline=None)
@given(clusters(3), SEEDS)
def test_in_a_ring_of_majorities_every_node_hears_one(nodes: list[str], seed: int) -> None:
    cut = cut_of("majorities-ring", nodes, Dice(seed))
    ears = [heard(node, nodes, cut) for node in nodes]
    majority = len(nodes) // 2 + 1
    if len(nodes) <= 5:
        assert all(len(ear) == majority for ear in ears)
        assert len({*ears}) == len(nodes), "no two hear the same"
    assert all(majority <= len(ear) for ear in ears)
    assert (cut == turned(cut)) == (len(nodes) > 3), "three nodes hear in one direction"


@settings(deadline=None)
@given(clusters(3))
def test_a_message_goes_once_around_a_one_way_ring(nodes: list[str]) -> None:
    cut = cut_of("one-way-ring", nodes, Dice(0))
    assert all(len(heard(node, nodes, cut)) == 2 for node in nodes)
    assert all((sender, receiver) not in cut for sender, receiver in zip(nodes, [*nodes[1:], nodes[0]], strict=True))


# What does not fit.


@pytest.mark.parametrize(
    ("topology", "nodes", "node", "code"),
    [
        ("halfs", FIVE, None, "unknown-value"),
        ("halves", "aba", None, "duplicate"),
        ("halves", "a", None, "no-effect"),
        ("random-halves", "", None, "no-effect"),
        ("isolate", "a", "a", "no-effect"),
        ("bridge", "ab", "a", "no-effect"),
        ("majorities-ring", "ab", None, "no-effect"),
        ("one-way-ring", "ab", None, "no-effect"),
        ("isolate", "ab", None, "missing"),
        ("isolate", "ab", "ab", "unknown-value"),
        ("bridge", "abc", "x", "unknown-value"),
        ("halves", "ab", "a", "not-applicable"),
    ],
)
def test_what_does_not_fit_is_refused(topology: str, nodes: str, node: str | None, code: str) -> None:
    assert code_of(cut_of, topology, nodes, Dice(0), node) == code


def test_an_unknown_topology_has_no_fewest_nodes() -> None:
    assert code_of(fewest_nodes, "star") == "unknown-value"


# Groups, senders and receivers.


def test_groups_are_cut_from_each_other_and_nodes_of_no_group_from_none() -> None:
    assert between(["ab", "c", "d"]) == both_ways("ac ad bc bd cd")
    assert between(["ab", "", "c"]) == both_ways("ac bc")
    assert between(["abc"]) == between([]) == frozenset()


def test_a_node_stands_in_one_group() -> None:
    assert code_of(between, ["ab", "bc"]) == "duplicate"
    assert between(["aa", "b"]) == both_ways("ab")


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.integers(0, 8), st.integers(0, 8))
def test_a_cut_between_groups_is_one_from_each_to_each(nodes: list[str], one: int, two: int) -> None:
    first, second, third = nodes[: min(one, two)], nodes[min(one, two) : max(one, two)], nodes[max(one, two) :]
    assert between([first, second]) == from_to(first, second, one_way=False)
    each = between([first, second]) | between([first, third]) | between([second, third])
    assert between([first, second, third]) == each == between([third, first, second])


def test_senders_are_cut_from_receivers() -> None:
    assert from_to("ab", "bc", one_way=True) == pairs("ab ac bc")
    assert from_to("ab", "bc", one_way=False) == both_ways("ab ac bc")
    assert from_to(iter("ab"), iter("bc"), one_way=False) == both_ways("ab ac bc")


@given(st.sets(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")))
def test_both_ways_is_one_way_there_and_one_way_back(senders: set[str], receivers: set[str]) -> None:
    there, back = from_to(senders, receivers, one_way=True), from_to(receivers, senders, one_way=True)
    assert len(there) == len(senders) * len(receivers) - len(senders & receivers)
    assert all(sender in senders and receiver in receivers and sender != receiver for sender, receiver in there)
    assert back == turned(there)
    assert from_to(senders, receivers, one_way=False) == there | back


# Presets.


def mean(times: list[float]) -> float:
    return sum(times) / len(times)


def test_a_bad_switch_may_take_the_longest_time_but_never_none() -> None:
    assert bad_switch(Rolled(0.0)) == 60.0
    assert bad_switch(Rolled(0.25), longest=8.0) == 6.0
    assert 0 < bad_switch(Rolled(1 - 2**-53)) < 1e-10


def test_a_bad_switch_takes_any_time_equally_often() -> None:
    dice = Dice(0)
    times = [bad_switch(dice, longest=10.0) for _ in range(20_000)]
    assert 0 < min(times) < 0.01
    assert 9.99 < max(times) <= 10.0
    assert abs(mean(times) - 5.0) < 5 * 10.0 / (12 * 20_000) ** 0.5  # five deviations


def test_a_flaky_link_is_first_down_then_up() -> None:
    assert [*islice(flaky_link(Rolled(0.0), down=2.0, up=10.0), 4)] == [1.0, 5.0, 1.0, 5.0]
    assert [*islice(flaky_link(Rolled(0.5), down=2.0, up=10.0), 3)] == [2.0, 10.0, 2.0]
    assert next(flaky_link(Rolled(0.75), down=2.0, up=10.0)) == 2.5


def test_a_flaky_link_keeps_to_its_means() -> None:
    times = [*islice(flaky_link(Dice(0), down=1.0, up=100.0), 40_000)]
    for middle, spans in ((1.0, times[::2]), (100.0, times[1::2])):
        assert 0.5 * middle <= min(spans) < 0.501 * middle
        assert 1.499 * middle < max(spans) <= 1.5 * middle
        assert abs(mean(spans) - middle) < 5 * middle / (12 * 20_000) ** 0.5  # five deviations


@given(SEEDS)
def test_the_presets_are_repeated_by_their_seed(seed: int) -> None:
    assert bad_switch(Dice(seed)) == bad_switch(Dice(seed))
    assert [*islice(flaky_link(Dice(seed), 1.0, 2.0), 9)] == [*islice(flaky_link(Dice(seed), 1.0, 2.0), 9)]
