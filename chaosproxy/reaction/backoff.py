"""The law that the gaps between attempts follow. Pure arithmetic on sequences of seconds.

`none`: all below 10 ms. `constant`: within 15 %. `linear`: equal differences. `exponential`: equal ratios between 1.3
and 4. The last gaps may be equal, at a cap. A first gap below 10 ms may come before the law.

Without jitter, the gaps at one position are equal in all sequences, within 15 % or 10 ms. The medians of the positions
on which they agree must follow one law within their noise, and deviate from the other by twice as much.

With jitter, the logarithm of a gap is its position's mean plus noise. The line through these means, by least squares,
gives the factor, if its standard error is below 3.3 %, if the means do not deviate from the line, and if a linear law
fits much worse. With full jitter (Brooker, "Exponential Backoff and Jitter", 2015) the noise is 1, so about
100 sequences are needed; below that nothing is claimed.

Two sequences of three gaps make a claim sure, and one of five makes it likely. `linear` needs four gaps, and jitter
eight sequences. Two sequences of three growing gaps are likely an exponential law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean, median, pvariance
from typing import Literal

from chaosproxy.reaction.pieces import AT_ONCE_S, SPREAD, are_equal
from chaosproxy.reaction.timeouts import Confidence

__all__ = ["Backoff", "Law", "backoff_of"]

Law = Literal["none", "constant", "linear", "exponential"]

_NOISE_S = 0.003
"""Seconds by which a gap may deviate from its law without jitter."""
_NOISE_ALONE = 0.03
"""Share by which the gaps of a single sequence may deviate from their law."""
_NOISIEST = 0.07
"""Share above which a factor may be wrong by 10 %, and laws are not told apart."""
_AGREEING = 0.8
"""Share of the sequences that must agree on a gap."""
_FEWEST = 3
"""Gaps in a sequence."""
_FEWEST_ALONE = 5
"""Gaps in a sequence that is the only one: jitter can make fewer look like any law."""
_FEWEST_CAPPED, _FEWEST_CAPPED_ALONE = 2, 3
"""Equal gaps at the end that show a cap; jitter can make two of a single sequence equal."""
_FEWEST_JITTERED = 8
"""Sequences."""
_ERROR = 0.033
"""The standard error of a factor, as a share of it, that makes it right within 10 %: three of them."""
_MISFIT = 4.0
"""Squared deviations in standard errors (chi-square), per degree of freedom plus one, above which a law is refused."""
_UNEQUAL = 7.0
"""The ratio of two variances of eight numbers each that chance exceeds in one of a hundred cases (F distribution)."""
_WORSE = 16.0
"""The same by which another law must fit worse."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How the gaps between attempts grow."""

    law: Law
    factor: float | None
    """Exponential: the ratio of a gap to the one before."""
    step_s: float | None
    """Linear: the difference to the one before."""
    first_gap_s: float
    cap_s: float | None
    """The gap at which the growth ends; None if that was not observed."""
    jittered: bool
    sequences: int
    confidence: Confidence


def backoff_of(sequences: Sequence[Sequence[float]], are_whole: bool = False) -> Backoff | None:
    """Return the law of these sequences of gaps; None if there are too few, or none fits.

    `are_whole`: each sequence is known to be of one piece of work, so that differences between them are jitter.
    """
    long = [one for one in sequences if len(one) >= _FEWEST]
    if not long:
        return None
    agreed = _agreed(long)
    if len(agreed.gaps) >= _FEWEST:
        return _steady(agreed)
    return _jittered(long) if are_whole and len(long) >= _FEWEST_JITTERED else None


@dataclass(frozen=True, slots=True)
class _Agreed:
    """The positions on which sequences agree."""

    gaps: Sequence[float]
    """The medians."""
    sequences: int
    """The sequences that have `_FEWEST` of these gaps."""
    noise: float
    """The error of a median, as a share of it."""


def _agreed(sequences: Sequence[Sequence[float]]) -> _Agreed:
    agreed: list[float] = []
    deviations = [] if len(sequences) > 1 else [_NOISE_ALONE]
    left, reached = list(sequences), len(sequences)
    while there := [one for one in left if len(one) > len(agreed)]:
        now = [one[len(agreed)] for one in there]
        middle = median(now)
        left = [one for one, gap in zip(there, now, strict=True) if abs(gap - middle) <= _half(middle)]
        if len(left) < _AGREEING * len(there) or (len(left) < 2 and len(sequences) > 1):
            break
        if middle > AT_ONCE_S:
            deviations += [abs(one[len(agreed)] / middle - 1) for one in left]
        agreed.append(middle)
        if len(agreed) == _FEWEST:
            reached = len(left)
    return _Agreed(agreed, reached, max(deviations, default=0.0) / sqrt(reached))


def _half(middle: float) -> float:
    return max(AT_ONCE_S, SPREAD / 2 * middle)


def _steady(agreed: _Agreed) -> Backoff | None:
    gaps, sequences = agreed.gaps, agreed.sequences
    confidence: Confidence = "sure" if sequences > 1 else "likely"
    if sequences == 1 and len(gaps) < _FEWEST_ALONE:
        return None

    def made(law: Law, factor: float | None = None, step: float | None = None, cap: float | None = None) -> Backoff:
        return Backoff(law, factor, step, gaps[0], cap, False, sequences, confidence)

    if max(gaps) < AT_ONCE_S:
        return made("none")
    law = gaps[1:] if gaps[0] < AT_ONCE_S else gaps
    if len(law) < _FEWEST:
        return None
    if are_equal(law) and max(law) - min(law) <= max(AT_ONCE_S, max(0.05, 4 * agreed.noise) * median(law)):
        return made("constant")
    tail = 1
    while tail < len(law) and abs(law[-tail - 1] - law[-1]) <= max(AT_ONCE_S / 2, 0.05 * law[-1]):
        tail += 1
    cap = law[-1] if tail >= (_FEWEST_CAPPED if sequences > 1 else _FEWEST_CAPPED_ALONE) else None
    growing = law[: len(law) - tail] if cap is not None else law  # the first gap at the cap may be cut
    if len(growing) < _FEWEST or min(growing) < AT_ONCE_S:
        return None
    ratio = (growing[-1] / growing[0]) ** (1 / (len(growing) - 1))
    step = (growing[-1] - growing[0]) / (len(growing) - 1)
    if step <= 0 or not 1.1 < ratio:
        return None
    noise = max(2 * agreed.noise, _NOISE_S / growing[0])
    linear = _deviation(growing, [growing[0] + step * index for index in range(len(growing))])
    exponential = _deviation(growing, [growing[0] * ratio**index for index in range(len(growing))])
    if noise > _NOISIEST or max(linear, exponential) < 2 * noise:
        return None
    if linear <= noise:  # an exponential law with a cap after two gaps looks the same with three
        return made("linear", step=step, cap=cap) if len(growing) > _FEWEST else None
    if exponential > noise or not 1.3 <= ratio <= 4:
        return None
    if sequences < 3 and len(growing) == _FEWEST:  # jitter can do the same twice
        confidence = "likely"
    return made("exponential", factor=ratio, cap=cap)


def _deviation(gaps: Sequence[float], law: Sequence[float]) -> float:
    """Return the highest deviation of gaps from a law through the first and the last, as a share."""
    return max(abs(gap / one - 1) for gap, one in zip(gaps, law, strict=True))


def _jittered(sequences: Sequence[Sequence[float]]) -> Backoff | None:
    positions = [[one[index] for one in sequences if len(one) > index] for index in range(max(map(len, sequences)))]
    positions = [one for one in positions if len(one) >= _FEWEST_JITTERED]
    if len(positions) < _FEWEST or min(map(min, positions)) <= 0:
        return None
    logs = [[log(gap) for gap in one] for one in positions]
    noise = fmean([pvariance(one) * len(one) / (len(one) - 1) for one in logs])
    points = [(float(index), fmean(one), len(one) / noise) for index, one in enumerate(logs)]
    slope, misfit = _line(points)
    spread = sum(weight * (index - _centre(points)) ** 2 for index, _, weight in points)
    error = 1 / sqrt(spread)
    if error > _ERROR or misfit > _MISFIT * (len(points) - 1):
        return None
    confidence: Confidence = "sure" if 2 * error <= _ERROR else "likely"
    first = median(positions[0])
    if abs(slope) <= 2 * error and abs(slope) + 2 * error < log(1.1):
        return Backoff("constant", None, None, first, None, True, len(sequences), confidence)
    linear = _line([(index, exp(mean), weight / exp(mean) ** 2) for index, mean, weight in points])[1]
    if pvariance(logs[0]) > _UNEQUAL * pvariance(logs[-1]):
        return None  # the jitter is added and does not grow, so the ratio of two gaps is not the factor
    if log(1.3) < slope - 2 * error and slope < log(4) and linear > misfit + _WORSE:
        return Backoff("exponential", exp(slope), None, first, None, True, len(sequences), confidence)
    return None


def _centre(points: Sequence[tuple[float, float, float]]) -> float:
    total = sum(weight for _, _, weight in points)
    return sum(weight * at for at, _, weight in points) / total


def _line(points: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Return the slope of the line of least squares, and the weighted squares that it leaves."""
    centre = _centre(points)
    total = sum(weight for _, _, weight in points)
    mean = sum(weight * value for _, value, weight in points) / total
    across = sum(weight * (at - centre) ** 2 for at, _, weight in points)
    slope = sum(weight * (at - centre) * (value - mean) for at, value, weight in points) / across
    return slope, sum(weight * (value - mean - slope * (at - centre)) ** 2 for at, value, weight in points)
