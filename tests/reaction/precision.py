"""How often claims are right, and how often there is one, over many journals of simulated clients that are known.

`make precision` prints the table of docs/reactions.md, on seeds that no test uses. The tests count on a few others.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from chaosproxy.reaction.backoff import Backoff
from chaosproxy.reaction.breaker import breaker_of
from chaosproxy.reaction.failover import failovers_of
from chaosproxy.reaction.gave_up import gave_up_of
from chaosproxy.reaction.retries import retries_of
from chaosproxy.reaction.window import windows_of
from tests.reaction import counted
from tests.reaction.clients import INNOCENT, innocent
from tests.reaction.counted import APP, Story, simulate, window
from tests.reaction.journals import Policy, Turn, World

__all__ = ["measured", "measured_breakers", "measured_failovers", "measured_innocents", "measured_retries"]

Measured = tuple[Counter[str], list[str]]
"""Counts of claims by `CONFIDENCE right` or `wrong`, of those `found` and `missed`; and the wrong ones in words."""


def is_near(one: float, other: float) -> bool:
    """Return whether a time-out is right: within 5 %, or 20 ms below 400 ms."""
    return abs(one - other) <= max(0.02, 0.05 * other)


def noise(world: World) -> None:
    """Add some of the things that happen without any time-out."""
    dice = world.dice
    if dice.random() < 0.4:
        back_after = dice.choice((None, 0.02, 0.5, 2.0))
        world.killed("10.0.1.1", dice.randint(1, 40), dice.uniform(20.5, world.healed_at), back_after)
    if dice.random() < 0.3:  # a deploy, host by host
        at, pause = dice.uniform(20.5, 30), dice.uniform(0.2, 5)
        for host in range(dice.randint(2, 6)):
            world.killed(f"10.0.2.{host}", dice.randint(1, 10), at + host * pause, dice.uniform(0.3, 2))
    if dice.random() < 0.3:
        world.long_polls("10.0.3.1", dice.randint(1, 8), dice.choice((2.0, 5.0, 25.0, 30.0)))
    if dice.random() < 0.4:
        world.impatient("10.0.4.1", dice.randint(1, 12))


def moments(turns: list[Turn]) -> int:
    """Return the number of give-ups at least 50 ms apart."""
    number, last = 0, float("-inf")
    for turn in sorted(turns, key=lambda turn: turn.ended):
        if turn.ended > last + 0.06:
            number, last = number + 1, turn.ended
    return number


def timed_out(seed: int) -> tuple[World, float | None, bool]:
    """Return a world, the time-out of its clients, and whether there is evidence enough for it."""
    dice = random.Random(seed)
    time_out = round(0.05 * 200 ** dice.random(), 3)
    healed_at = 20 + dice.choice((1.5 * 20 ** dice.random(), time_out * dice.uniform(1.05, 3.5) + 0.1))
    world = World(dice, healed_at=healed_at, end=healed_at + 10)
    noise(world)
    if dice.random() < 0.35:
        return world, None, False
    policy = Policy(
        timeout_s=time_out, noise_s=dice.choice((0.001, 0.003, 0.008)),
        law=dice.choice(("no", "no", "none", "constant", "exponential")), attempts=dice.choice((None, 2, 3, 5)),
    )  # fmt: skip
    for worker in range(dice.choice((1, 1, 2, 3, 8))):
        world.client(policy, f"10.0.0.{worker % 2}", think=world.thinking(0.05, dice.uniform(0.1, 3.0)))
    ended = [turn for turn in world.turns if turn.cause == "policy" and turn.host.startswith("10.0.0.")]
    return world, time_out, moments(ended) >= (4 if time_out < 0.4 else 3)


def measured(seeds: range) -> Measured:
    """Count right and wrong claims of time-outs, and those found and missed; and describe the wrong ones."""
    counts: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        world, truth, is_enough = timed_out(seed)
        facts = world.facts()
        found = gave_up_of(facts.proxies["db"], windows_of(facts)[0], facts)
        for claim in found.timeouts:
            is_right = truth is not None and is_near(claim.s, truth)
            counts[f"{claim.confidence} {'right' if is_right else 'wrong'}"] += 1
            if not is_right:
                wrong.append(f"seed {seed}: {claim}, not {truth}")
        if is_enough and truth is not None:
            is_found = found.inferred_timeout_s is not None and is_near(found.inferred_timeout_s, truth)
            counts["found" if is_found else "missed"] += 1
            if not is_found:
                wrong.append(f"seed {seed}: missed {truth}, found {found.timeouts}")
    return counts, wrong


@dataclass(frozen=True)
class Retrying:
    """A world, and the policy of its clients."""

    world: World
    policy: Policy
    is_enough: bool
    """True if the law of the gaps can be known."""
    is_bounded: bool
    """True if the most attempts can be known."""


def retrying(seed: int) -> Retrying:
    """Return a world with clients that retry, or send the same bytes again, or only connect again."""
    dice = random.Random(seed)
    healed_at = 20 + 4 * 10 ** dice.random()
    world = World(dice, healed_at=healed_at, end=healed_at + 10)
    if dice.random() < 0.3:
        noise(world)
    policy = Policy(
        timeout_s=dice.uniform(0.1, 1.0), noise_s=dice.choice((0.001, 0.003)),
        law=dice.choice(("no", "none", "constant", "linear", "exponential", "exponential")),
        first_s=dice.uniform(0.05, 0.5), factor=dice.choice((1.5, 1.6, 2.0, 2.5, 3.0)), step_s=dice.uniform(0.05, 0.5),
        cap_s=dice.choice((None, None, dice.uniform(1.0, 4.0))), jitter=dice.choice((0.0, 0.0, 0.0, 0.1, 0.25, 0.5)),
        has_full_jitter=dice.random() < 0.15, attempts=dice.choice((None, 2, 3, 4, 5, 6)),
    )  # fmt: skip
    workers = dice.choice((1, 1, 2, 5))
    low = dice.choice((0.05, 0.5, 2.0))
    same = dice.choice(("", "", "select"))
    handshake = dice.choice(("", "", "hello"))
    for _ in range(workers):
        world.client(
            policy, "10.0.0.1", think=world.thinking(low, low + dice.choice((0.0, 0.2, 2.0))),
            start=dice.uniform(0.0, 0.5), same=same, handshake=handshake,
        )  # fmt: skip
    needed = 4 if policy.law == "linear" else 3
    long = [gaps for gaps in world.pieces if len(gaps) >= needed]
    is_plain = not policy.jitter and not policy.has_full_jitter and not handshake and not same
    grows = policy.cap_s is not None and policy.law in ("linear", "exponential")
    is_grown = not grows or policy.gap(needed, dice) < (policy.cap_s or 0.0)
    is_bounded = policy.attempts is not None and world.completed.count(policy.attempts) >= 2 and policy.attempts > 2
    return Retrying(world, policy, is_plain and is_grown and len(long) >= 2, is_plain and is_bounded)


def is_law(found: Backoff, policy: Policy) -> bool:
    """Return whether a law is that of a policy, and its factor right within 10 %."""
    if found.law != policy.law:
        return False
    if found.law == "exponential" and (found.factor is None or abs(found.factor / policy.factor - 1) > 0.1):
        return False
    if found.cap_s is not None and (policy.cap_s is None or abs(found.cap_s / policy.cap_s - 1) > 0.1):
        return False
    return not found.jittered or bool(policy.jitter or policy.has_full_jitter)


def measured_retries(seeds: range) -> Measured:
    """Count right and wrong claims of laws and attempts, and those found and missed; and describe the wrong ones."""
    counts: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        known = retrying(seed)
        facts = known.world.facts()
        found = retries_of(facts.proxies["db"], windows_of(facts)[0], facts)
        laws = [one for one in (found.backoff, found.reconnect_backoff) if one is not None]
        for law in laws:
            is_right = is_law(law, known.policy)
            counts[f"{law.confidence} {'right' if is_right else 'wrong'}"] += 1
            counts["jittered"] += law.jittered
            if not is_right:
                wrong.append(f"seed {seed}: {law}, not {known.policy}")
        if known.is_enough:
            counts["found" if found.backoff is not None else "missed"] += 1
            if found.backoff is None:
                wrong.append(f"seed {seed}: missed {known.policy}")
        if found.attempts_max is not None:
            is_right = found.attempts_max == known.policy.attempts
            counts[f"attempts {'right' if is_right else 'wrong'}"] += 1
            if not is_right:
                wrong.append(f"seed {seed}: {found.attempts_max} attempts, not {known.policy}")
        if known.is_bounded:
            counts["attempts found" if found.attempts_max else "attempts missed"] += 1
            if not found.attempts_max:
                wrong.append(f"seed {seed}: attempts missed {known.policy}")
    return counts, wrong


def measured_breakers(seeds: range) -> Measured:
    """Count right and wrong claims of circuit breakers, and those found and missed."""
    counts: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        rng = random.Random(seed)
        policy = counted.Policy(
            workers=rng.choice([1, 2, 5, 10]), pace=rng.choice([0.03, 0.05, 0.1]),
            timeout=rng.choice([None, None, 0.3]), breaker=rng.randint(3, 12), open_s=rng.uniform(1.5, 5),
        )  # fmt: skip
        started = 10 + rng.random()
        fault = window(started, started + 18 + rng.random(), "db")
        story = Story(cuts=(fault.started, fault.ended or 0), phase=rng.random())
        story.proxy("db")
        seen = simulate(story, rng, policy, fault, "db")
        facts = story.facts(60)
        found = breaker_of(facts, facts.proxies["db"], fault)
        counts["missed" if found is None else "found"] += 1
        if found is None:
            continue
        counts["exact"] += found.opened_after is not None
        least, most = found.opened_after_range or (0, math.inf)  # None: the number is not told
        is_right = (
            seen.opened_after is not None and seen.closed_at is not None and found.closed_at is not None
            and least <= seen.opened_after <= most and found.opened_after in (None, seen.opened_after)
            and abs(found.open_s - policy.open_s) <= 0.1 and found.trials == seen.trials
            and found.closed and abs(found.closed_at - seen.closed_at) <= 0.1
        )  # fmt: skip
        counts[f"{found.confidence} {'right' if is_right else 'wrong'}"] += 1
        if not is_right:
            wrong.append(f"seed {seed}: {found}, not {policy}, {seen}")
    return counts, wrong


def measured_failovers(seeds: range) -> Measured:
    """Count right and wrong claims of failovers, and those found and missed."""
    counts: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        rng = random.Random(seed)
        started = 10 + rng.random()
        fault = window(started, started + rng.choice([4, 12]) + rng.random(), "db")
        story = Story(cuts=(fault.started, fault.ended or 0), phase=rng.random())
        for name in ("db", "db2"):
            story.proxy(name, service="s")
        policy = counted.Policy(
            workers=rng.choice([1, 2, 5, 10]), pace=rng.choice([0.03, 0.05, 0.1]), failover_after=rng.randint(1, 4),
            timeout=rng.choice([None, None, 0.3, 1.0]),
        )  # fmt: skip
        seen = simulate(story, rng, policy, fault, "db", "db2")
        told = failovers_of(story.facts(50), fault)
        counts["found" if told else "missed"] += 1
        for one in told:
            # The share counts the load until the fault ends. Other workers still wait, for up to their time-out.
            left = max(1.0, (fault.ended or 0.0) - started - one.after_s)
            least = 0.85 - 0.5 * (policy.timeout or 0.0) / left
            is_right = (
                (one.old, one.new, one.moved, one.stayed, one.flaps) == ("db", "db2", (APP,), (), 0)
                and one.detect_s is not None and seen.first_failure is not None and seen.moved_at is not None
                and abs(one.detect_s - (seen.first_failure - started)) <= 0.1
                and abs(one.after_s - (seen.moved_at - started)) <= 0.1 and one.is_exact and one.share > least
            )  # fmt: skip
            counts[f"sure {'right' if is_right else 'wrong'}"] += 1
            if not is_right:
                wrong.append(f"seed {seed}: {one}, not {policy}, {seen}")
    return counts, wrong


def measured_innocents(seeds: range) -> Measured:
    """Count breakers and failovers that are claimed of clients that have neither."""
    counts: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        rng = random.Random(f"innocent {seed}")
        kind = rng.choice(sorted(INNOCENT))
        started = 10 + rng.random()
        fault = window(started, started + rng.choice([1, 5, 12, 20]) + rng.random(), "db")
        story = Story(cuts=(fault.started, fault.ended or 0), phase=rng.random())
        for name in ("db", "db2"):
            story.proxy(name, service="s")
        simulate(story, rng, innocent(kind, rng), fault, "db")
        if rng.random() < 0.5:  # reads on the replica
            reads = counted.Policy(workers=rng.choice([1, 3]), pace=rng.choice([0.03, 0.1]))
            simulate(story, rng, reads, fault, "db2", host=rng.choice([APP, "10.0.0.2"]))
        facts = story.facts(60)
        claims = [breaker_of(facts, facts.proxies["db"], fault), *failovers_of(facts, fault)]
        for claim in claims:
            if claim is not None:
                counts["sure wrong"] += 1
                wrong.append(f"seed {seed}, {kind}: {claim}")
    return counts, wrong


ROWS: dict[str, Callable[[range], Measured]] = {
    "time-out": measured, "back-off": measured_retries, "circuit breaker": measured_breakers,
    "failover": measured_failovers, "breaker or failover of a client without one": measured_innocents,
}  # fmt: skip
SLICE = 50


def table(first: int, journals: int) -> Iterator[str]:
    """Yield the lines of the table, over that many journals for each row."""
    yield f"| in {journals} journals each | `sure`: right, wrong | `likely`: right, wrong | found of those to see |"
    yield "|---|---|---|---|"
    slices = [range(begin, min(begin + SLICE, first + journals)) for begin in range(first, first + journals, SLICE)]
    with ProcessPoolExecutor() as processes:
        for name, measure in ROWS.items():
            counts: Counter[str] = Counter()
            for some, wrong in processes.map(measure, slices):
                counts += some
                sys.stderr.writelines(f"{name}: {words}\n" for words in wrong)
            claims = (f"{counts[f'{one} right']}, {counts[f'{one} wrong']}" for one in ("sure", "likely"))
            yield f"| {name} | {' | '.join(claims)} | {_share(counts['found'], counts['missed'])} |"
            if counts["attempts right"]:
                seen = _share(counts["attempts found"], counts["attempts missed"])
                yield f"| most attempts | {counts['attempts right']}, {counts['attempts wrong']} | | {seen} |"


def _share(found: int, missed: int) -> str:
    return f"{found} of {found + missed} ({found / (found + missed):.1%})" if found + missed else ""


if __name__ == "__main__":
    for line in table(int(sys.argv[1]), int(sys.argv[2])):
        sys.stdout.write(f"{line}\n")
