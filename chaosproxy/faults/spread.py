"""Distributions of delays about their mean; used by latency and http_delay."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from chaosproxy.declare import Choice, Is, Not, Rule, Set
from chaosproxy.faults.correlated import probability_above, probability_below

__all__ = ["DISTRIBUTION", "LOGNORMAL_NEEDS_DELAY", "Quantile", "spread"]

Quantile: TypeAlias = Callable[[float], float]
"""Map a standard normal number to the delay of the same probability."""

DISTRIBUTION = Choice("uniform", "normal", "lognormal", "pareto", "exponential")


def spread(distribution: str, delay: float, jitter: float) -> Quantile:
    """Return the quantile function of delays about `delay`, spread by `jitter`; delays may be below 0."""
    return (_QUANTILES[distribution] if jitter else _no_jitter)(delay, jitter)


LOGNORMAL_NEEDS_DELAY = Rule(
    ("delay",), "invalid-together",
    "is 0, but the mean of a lognormal distribution is above 0; use a delay such as 20ms",
    Is("distribution", "lognormal"), Set("jitter"), Not(Set("delay")),
)  # fmt: skip
"""The rule of the parameters `distribution`, `delay` and `jitter`."""


def _no_jitter(delay: float, jitter: float) -> Quantile:
    return lambda z: delay


def _uniform(delay: float, jitter: float) -> Quantile:
    return lambda z: delay + jitter * (2 * probability_below(z) - 1)


def _normal(delay: float, jitter: float) -> Quantile:
    return lambda z: delay + jitter * z


def _lognormal(delay: float, jitter: float) -> Quantile:
    variance = math.log1p((jitter / delay) ** 2)
    mu, sigma = math.log(delay) - variance / 2, math.sqrt(variance)
    return lambda z: math.exp(mu + sigma * z)


def _exponential(delay: float, jitter: float) -> Quantile:
    return lambda z: delay - jitter - jitter * math.log(probability_above(z))


_PARETO_SHAPE = 3.0
_PARETO_MEAN = _PARETO_SHAPE / (_PARETO_SHAPE - 1)
_PARETO_DEVIATION = math.sqrt(_PARETO_SHAPE / (_PARETO_SHAPE - 2)) / (_PARETO_SHAPE - 1)


def _pareto(delay: float, jitter: float) -> Quantile:
    scale = jitter / _PARETO_DEVIATION
    least = delay - scale * _PARETO_MEAN
    return lambda z: least + scale * probability_above(z) ** (-1 / _PARETO_SHAPE)


_QUANTILES: dict[str, Callable[[float, float], Quantile]] = {
    "uniform": _uniform,
    "normal": _normal,
    "lognormal": _lognormal,
    "pareto": _pareto,
    "exponential": _exponential,
}
