"""Recovery: how long after the end of a window the load was as before.

Definition. From the heal, in seconds: the first new connection; the first good turn; the begin of the first three
buckets of 1 s in a row with a success rate at most 1 percentage point below the baseline's; the same for a 99th
percentile of at most 1.5 times the baseline's. `recovered_after_s` is the latest of the last three that apply, at
most 60 s. The idea of a steady state to return to is from Basiri et al., Chaos Engineering, IEEE Software 2016.

Assumptions. Turns that opened before the heal do not count. A bucket with less than 10 % of the baseline's turns is
not as before, unless the baseline itself has idle seconds; then empty buckets are skipped. One slow turn in a bucket
of 20 to 99 turns is too few for a 99th percentile. The percentile applies if the baseline has 100 turns. The first
connection is not part of `recovered_after_s`: a client whose pool survived opens its next one when it needs one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from chaosproxy.quantiles import quantile, share_above
from chaosproxy.reaction.attempts import FailedAttempt, failed_attempts
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.load import after, baseline_of, felt_in, intervals_in
from chaosproxy.reaction.returning import Counted, counted_since, first_good_turn
from chaosproxy.reaction.span import Span
from chaosproxy.reaction.window import Window

__all__ = ["Recovery", "Verdict", "recovery_of"]

_IN_A_ROW = 3
_POINT = 0.01
_SLOWER = 1.5
_FEWEST_SHARE = 0.1
_FEWEST_FELT = 100
_FEWEST_SLOW = 20
_BUSY = 0.9
_WHOLE_S = 60
_LAST = 5

Verdict = Literal["recovered", "not recovered", "too few to say"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """The time from the end of a window until one proxy's load was as before; None where it was not seen."""

    healed: float
    seen_s: float
    """Seconds that were observed: until the journal ends, or the next window begins, at most 60."""
    first_connection_s: float | None
    first_good_turn_s: float | None
    first_good_turn_spread_s: float
    """The uncertainty of it: 0 unless its interval also has answers to turns that a fault had held."""
    success_rate_s: float | None
    p99_s: float | None
    """None also if it does not apply."""
    recovered_after_s: float | None
    verdict: Verdict


@dataclass(slots=True)
class _Bucket:
    """The turns of one second after the heal, and the second's begin."""

    begin: float
    good: int = 0
    failed: int = 0
    slow: float = 0.0
    felt: int = 0


def recovery_of(facts: Facts, proxy: ProxyFacts, window: Window, windows: Sequence[Window] = ()) -> Recovery | None:
    """Return the recovery of a proxy; None if the window has not ended, or has no baseline."""
    baseline = baseline_of(facts, window, [proxy.name], windows)
    seen = after(facts, window, [proxy.name], windows)
    if baseline is None or seen is None:
        return None
    usual, failed = intervals_in(proxy, baseline), failed_attempts(proxy)
    good = sum(one.answered for one in usual)
    bad = sum(one.number for one in failed if baseline.has(one.ended))
    if not good:
        return None
    busy = sum(one.seconds for one in usual if one.answered + one.failed + one.gave_up)
    is_steady = busy >= _BUSY * baseline.seconds
    felt = felt_in(proxy, baseline)
    p99 = quantile(felt, 0.99) if sum(felt.values()) >= _FEWEST_FELT else None
    since = counted_since(proxy, seen)
    young = [one for one in failed if one.opened >= seen.begin and seen.has(one.ended)]
    buckets = _buckets(since, young, seen, _SLOWER * p99 if p99 else 0.0)
    least = _FEWEST_SHARE * (good + bad) / baseline.seconds if is_steady else 0.0

    def succeeds(one: _Bucket) -> bool:
        return one.good / (one.good + one.failed) >= good / (good + bad) - _POINT - 1e-9

    def is_fast(one: _Bucket) -> bool:
        return one.slow <= int(0.01 * one.felt) + (1 if _FEWEST_SLOW <= one.felt < 100 else 0)

    first = first_good_turn(proxy, seen)
    first_s = None if first is None else first.at - seen.begin
    success_s = _since(buckets, succeeds, least, is_steady)
    p99_s = None if p99 is None else _since(buckets, is_fast, least, is_steady)
    parts = [first_s, success_s] + ([] if p99 is None else [p99_s])
    times = [one for one in parts if one is not None]
    recovered = max(times) if len(times) == len(parts) else None
    return Recovery(
        seen.begin, seen.seconds, _first_connection(proxy, seen), first_s, first.spread_s if first else 0.0,
        success_s, p99_s, recovered, _verdict(recovered, buckets, since),
    )  # fmt: skip


def _buckets(since: list[Counted], failed: list[FailedAttempt], seen: Span, limit: float) -> list[_Bucket]:
    """Put each interval into the second of its middle, and each failure into its own; only whole seconds count."""
    found = [_Bucket(float(number)) for number in range(int(seen.seconds + 1e-6))]
    for one in since:
        index = max(0, int(one.interval.at - one.interval.seconds / 2 - seen.begin))
        if index < len(found):
            bucket, felt = found[index], sum(one.felt.values())
            bucket.good += one.good
            bucket.felt += felt
            bucket.slow += round(share_above(one.felt, limit) * felt)
    for attempt in failed:
        if (index := int(attempt.ended - seen.begin)) < len(found):
            found[index].failed += attempt.number
    return found


def _since(
    buckets: list[_Bucket], is_good: Callable[[_Bucket], bool], least: float, is_steady: bool
) -> float | None:
    """Return the begin of the first three buckets in a row that are as before; None if there are none."""
    row: list[float] = []
    for one in buckets:
        turns = one.good + one.failed
        if not turns and not is_steady:
            continue
        row = [*row, one.begin] if turns and turns >= least and is_good(one) else []
        if len(row) == _IN_A_ROW:
            return row[0]
    return None


def _first_connection(proxy: ProxyFacts, seen: Span) -> float | None:
    """Return the seconds until a client was accepted; those accepted before the heal do not count."""
    accepted = [one.at for one in proxy.opened if one.at - one.dial_s >= seen.begin and seen.has(one.at)]
    return min(accepted) - seen.begin if accepted else None


def _verdict(recovered: float | None, buckets: list[_Bucket], since: list[Counted]) -> Verdict:
    if recovered is not None:
        return "recovered"
    if len(buckets) < _WHOLE_S:
        return "too few to say"
    is_waiting = any(one.interval.open for one in since[-_LAST:])
    has_load = is_waiting or any(one.good or one.failed for one in buckets[-_LAST:])
    return "not recovered" if has_load else "too few to say"
