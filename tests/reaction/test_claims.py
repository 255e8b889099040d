"""Clients of many kinds that have neither a breaker nor a failover, and whose fault spreads to no other proxy.

Nothing may be claimed about any of them: the precision over these seeds is 1.
"""

from __future__ import annotations

import random

import pytest

from chaosproxy.reaction.breaker import breaker_of
from chaosproxy.reaction.bulkhead import bulkhead_of
from chaosproxy.reaction.failover import failovers_of
from tests.reaction.clients import INNOCENT, innocent
from tests.reaction.counted import Policy, Story, simulate, window

SEEDS = range(12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", INNOCENT)
def test_nothing_is_claimed_about_clients_without_a_reaction_of_that_kind(kind: str) -> None:
    compared = 0
    for seed in SEEDS:
        rng = random.Random(f"{kind} {seed}")
        started = 10 + rng.random()
        fault = window(started, started + rng.choice([1, 5, 12, 20]) + rng.random(), "db")
        story = Story(cuts=(fault.started, fault.ended or 0), phase=rng.random())
        for name in ("db", "db2"):
            story.proxy(name, service="s")
        story.proxy("api")
        simulate(story, rng, innocent(kind, rng), fault, "db")
        reads = Policy(workers=rng.choice([1, 3]), pace=rng.choice([0.03, 0.1]), lifetime=rng.choice([None, 5]))
        match rng.choice(["reads", "other host", "job", "nothing"]):
            case "reads":  # on the replica, by the same host
                simulate(story, rng, reads, fault, "db2")
            case "other host":
                simulate(story, rng, reads, fault, "db2", host="10.0.0.2")
            case "job":  # now and then on the replica, by the same host
                for number in range(12):
                    story.good("db2", number * 5 + rng.random() + 0.1)
            case _:
                pass
        calls = Policy(workers=3, pace=rng.choice([0.03, 0.1]), ends=rng.choice([60, 60, rng.uniform(5, 40)]))
        simulate(story, rng, calls, fault, "api", host=rng.choice(["10.0.0.1", "10.0.0.2"]))
        facts = story.facts(60)
        assert breaker_of(facts, facts.proxies["db"], fault) is None, seed
        assert failovers_of(facts, fault) == [], seed
        bulkhead = bulkhead_of(facts, facts.proxies["db"], fault)
        compared += bulkhead is not None
        assert bulkhead is None or bulkhead.spread == (), seed
    assert compared >= 6, "the other proxies are compared in most journals"


@pytest.mark.slow
def test_a_health_check_of_a_host_whose_client_ends_is_no_breaker() -> None:
    """Its single attempts at equal distances look like trials, and the client that is started again like a return."""
    for seed in range(25):
        rng = random.Random(f"health {seed}")
        started = 10 + rng.random()
        fault = window(started, started + rng.choice([5, 12, 20]) + rng.random(), "db")
        story = Story(cuts=(fault.started, fault.ended or 0), phase=rng.random())
        for name in ("db", "db2"):
            story.proxy(name, service="s")
        simulate(story, rng, innocent(rng.choice(["exits", "is deployed", "is deployed"]), rng), fault, "db")
        simulate(story, rng, Policy(workers=1, pace=rng.choice([1.5, 2, 3, 5])), fault, "db")
        facts = story.facts(60)
        assert breaker_of(facts, facts.proxies["db"], fault) is None, seed
        assert failovers_of(facts, fault) == [], seed
