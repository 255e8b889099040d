"""Counts of durations in logarithmic buckets: quantiles within 2 %, in bounded memory. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping

__all__ = ["bucket_of", "count", "quantile", "seconds_of", "share_above"]

_SMALLEST = 1e-6
"""One microsecond; shorter durations are in bucket 0."""
_RATIO = 1.04
"""The upper bound of a bucket, divided by its lower bound. The middle is within 2 % of each value in it."""
_SCALE = 1 / math.log(_RATIO)


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket of a duration."""
    return int(math.log(seconds / _SMALLEST) * _SCALE) + 1 if seconds > _SMALLEST else 0


def seconds_of(bucket: int) -> float:
    """Return the middle of a bucket."""
    return _SMALLEST * _RATIO ** (bucket - 0.5) if bucket else _SMALLEST


def count(durations: Iterable[float]) -> dict[int, int]:
    """Return the number of durations per bucket."""
    ordered = sorted(durations)  # sorting is cheaper than a logarithm for each
    counts: dict[int, int] = {}
    begin = 0
    while begin < len(ordered):
        bucket = bucket_of(ordered[begin])
        end = max(begin + 1, bisect_left(ordered, _SMALLEST * _RATIO**bucket, begin))
        counts[bucket] = counts.get(bucket, 0) + end - begin
        begin = end
    return counts


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the duration below which that share of all lies; None if there is none."""
    left = math.ceil(sum(counts.values()) * share)
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0 and counts[bucket]:
            return seconds_of(bucket)
    return None


def share_above(counts: Mapping[int, int], seconds: float) -> float:
    """Return the share of durations above `seconds`; 0 if there is none."""
    total = sum(counts.values())
    limit = bucket_of(seconds)
    return sum(number for bucket, number in counts.items() if bucket > limit) / total if total else 0.0
