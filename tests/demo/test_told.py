"""The story of the demo, compared with its client: what is wrong is found out, and silence is no mistake."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from chaosproxy.demo.policy import Policy
from chaosproxy.demo.told import compare
from chaosproxy.reaction.reactions import Reactions, reactions_of
from tests.reaction.journals import Policy as Simulated
from tests.reaction.journals import World

OWN = Policy(timeout=0.5, first_backoff=0.05, factor=2.0)
FAULT = "db/stall-1"


@pytest.fixture(scope="module")
def reactions() -> Reactions:
    """The reactions of clients with exactly the policy OWN."""
    world = World(random.Random(1))
    for number in range(3):
        policy = Simulated(timeout_s=0.5, law="exponential", first_s=0.05, factor=2.0, attempts=6, noise_s=0.001)
        world.client(policy, f"10.0.0.{number}", think=world.thinking(0.05, 0.3))
    return reactions_of(world.facts())


def test_a_story_that_is_true_is_told_with_both_sides(reactions: Reactions) -> None:
    timeout, backoff, failover = compare(reactions, FAULT, OWN, None)
    assert timeout.holds and timeout.lines == ("time-out: 0.50 s (sure); it is set to 0.5 s",)
    assert backoff.holds and backoff.lines[0].startswith("back-off: exponential × 2.0 from 0.05 s")
    assert failover.holds and failover.lines == ("failover: none; it never moved",)


@pytest.mark.parametrize(
    ("own", "moved_s", "wrong"),
    [
        (replace(OWN, timeout=0.6), None, 0),
        (replace(OWN, factor=3.0), None, 1),
        (OWN, 4.6, 2),
    ],
)
def test_a_story_that_is_not_true_is_found_out(
    reactions: Reactions, own: Policy, moved_s: float | None, wrong: int
) -> None:
    assert [shown.holds for shown in compare(reactions, FAULT, own, moved_s)] == [index != wrong for index in range(3)]


def test_silence_is_no_mistake_and_a_fault_that_is_not_there_has_no_story(reactions: Reactions) -> None:
    quiet = reactions_of(World(random.Random(1)).facts())
    assert [shown.holds for shown in compare(quiet, FAULT, OWN, None)] == [True] * 3
    assert compare(reactions, "db/other", OWN, None) == []
