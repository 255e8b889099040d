"""Clients of many kinds, without a breaker and without a failover, as policies for `simulate`."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.reaction.counted import Policy

__all__ = ["INNOCENT", "innocent"]


def _exponential(base: float, factor: float, cap: float, jitter: str) -> Callable[[random.Random, int], float]:
    def wait(rng: random.Random, number: int) -> float:
        most = min(cap, base * factor ** (number - 1))
        if jitter == "full":
            return rng.uniform(0, most)
        return most * (rng.uniform(0.5, 1.5) if jitter == "some" else 1)

    return wait


def _tries_then_sleeps(tries: int, seconds: float, jitter: float) -> Callable[[random.Random, int], float]:
    return lambda rng, number: seconds * rng.uniform(1 - jitter, 1 + jitter) if number % tries == 0 else 0.01


def _tries_then_once(tries: int, seconds: float, jitter: float) -> Callable[[random.Random, int], float]:
    return lambda rng, number: 0.01 if number < tries else seconds * rng.uniform(1 - jitter, 1 + jitter)


def _backs_off(rng: random.Random) -> Policy:
    wait = _exponential(
        rng.choice([0.01, 0.05, 0.1, 0.5]), rng.choice([1.5, 2, 3, 4]), rng.choice([1, 5, 30]),
        rng.choice(["", "some", "full"]),
    )  # fmt: skip
    return Policy(backoff=wait)


def _sleeps(rng: random.Random) -> Policy:
    return Policy(backoff=_tries_then_sleeps(rng.randint(1, 5), rng.uniform(1.5, 6), rng.choice([0, 0.1, 0.3])))


def _reconnects(rng: random.Random) -> Policy:
    return Policy(backoff=_tries_then_once(rng.randint(1, 12), rng.uniform(1.5, 6), rng.choice([0, 0.1, 0.3])))


INNOCENT: dict[str, Callable[[random.Random], Policy]] = {
    "goes on": lambda rng: Policy(),
    "backs off": _backs_off,
    "tries and sleeps": _sleeps,
    "reconnects": _reconnects,
    "exits": lambda rng: Policy(exits_after=rng.randint(1, 12)),
    "is deployed": lambda rng: Policy(exits_after=rng.randint(1, 12), restarts_after=rng.uniform(0.5, 8)),
    "rotates connections": lambda rng: Policy(lifetime=rng.randint(1, 20)),
    "rotates and backs off": lambda rng: Policy(lifetime=rng.randint(1, 20), backoff=_backs_off(rng).backoff),
    "is answered slowly": lambda rng: Policy(slow=rng.uniform(0.05, 3)),
    "ends in the window": lambda rng: Policy(ends=rng.uniform(10, 20)),
    "ends after the window": lambda rng: Policy(ends=rng.uniform(20, 30)),
    "backs off and ends": lambda rng: Policy(ends=rng.uniform(10, 30), backoff=_backs_off(rng).backoff),
}


def innocent(kind: str, rng: random.Random) -> Policy:
    """Return a policy of that kind, with any number of workers, pace and time-out."""
    policy = INNOCENT[kind](rng)
    policy.workers = rng.choice([1, 2, 5, 10])
    policy.pace = rng.choice([0.02, 0.05, 0.1, 0.3])
    policy.timeout = rng.choice([None, None, 0.3, 1.0, 5.0])
    return policy
