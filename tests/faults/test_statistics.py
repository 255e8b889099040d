"""What is random follows the stated laws: 20 000 draws each, with a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from statistics import NormalDist, correlation, fmean, pstdev

import pytest
from scipy import stats  # type: ignore[import-untyped]  # it has no types

from chaosproxy.faults.base import Fault, Send
from chaosproxy.faults.correlated import CorrelatedNormal, probability_above, probability_below
from chaosproxy.faults.corrupt import Corrupt
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.packet_loss import PACKET, Burst, PacketLoss
from tests.faults.playing import content, dice, opened, play

pytestmark = pytest.mark.slow  # a few take more than a second; together they take ten

DRAWS = 20_000
MEAN, SPREAD = 0.1, 0.02
_VARIANCE = math.log1p((SPREAD / MEAN) ** 2)
_PARETO_SCALE = SPREAD / math.sqrt(0.75)

LAWS: dict[str, tuple[Callable[[Sequence[float]], Sequence[float]], float]] = {
    "uniform": (stats.uniform(MEAN - SPREAD, 2 * SPREAD).cdf, SPREAD / math.sqrt(3)),
    "normal": (stats.norm(MEAN, SPREAD).cdf, SPREAD),
    "lognormal": (stats.lognorm(math.sqrt(_VARIANCE), scale=math.exp(math.log(MEAN) - _VARIANCE / 2)).cdf, SPREAD),
    "pareto": (stats.pareto(3, loc=MEAN - 1.5 * _PARETO_SCALE, scale=_PARETO_SCALE).cdf, SPREAD),
    "exponential": (stats.expon(MEAN - SPREAD, SPREAD).cdf, SPREAD),
}
"""Each distribution's law as scipy has it, and its standard deviation."""


def delays(fault: Fault, seed: int = 1, draws: int = DRAWS) -> list[float]:
    return [step.due for step in play(opened(fault, seed=seed), *(Send(0.0, b"a") for _ in range(draws)))]


@pytest.mark.parametrize("shape", LAWS)
def test_each_distribution_has_its_mean_deviation_and_law(shape: str) -> None:
    law, deviation = LAWS[shape]
    drawn = delays(Latency(delay=MEAN, jitter=SPREAD, distribution=shape))
    assert fmean(drawn) == pytest.approx(MEAN, abs=4 * deviation / math.sqrt(DRAWS))
    # The tail of a Pareto distribution of shape 3 makes its sample deviation settle slowly.
    assert pstdev(drawn) == pytest.approx(deviation, rel=0.1 if shape == "pareto" else 0.03)
    assert stats.kstest(drawn, law).pvalue > 0.01


@pytest.mark.parametrize("shape", LAWS)
def test_a_correlated_delay_keeps_its_law(shape: str) -> None:
    law, _ = LAWS[shape]
    drawn = delays(Latency(delay=MEAN, jitter=SPREAD, distribution=shape, correlation=0.5))
    # Each eighth: 0.5 ** 8 of correlation is left, little enough for a test that assumes none.
    assert stats.kstest(drawn[::8], law).pvalue > 0.01


@pytest.mark.parametrize("asked", [0.25, 0.5, 0.9])
def test_the_correlation_is_as_asked(asked: float) -> None:
    drawn = delays(Latency(delay=1.0, jitter=0.02, distribution="normal", correlation=asked))
    assert correlation(drawn[:-1], drawn[1:]) == pytest.approx(asked, abs=0.03)
    assert correlation(drawn[:-2], drawn[2:]) == pytest.approx(asked**2, abs=0.04)


@pytest.mark.parametrize("shape", LAWS)
def test_the_correlation_is_that_of_the_underlying_normal(shape: str) -> None:
    law, _ = LAWS[shape]
    drawn = delays(Latency(delay=MEAN, jitter=SPREAD, distribution=shape, correlation=0.6))
    underlying = [NormalDist().inv_cdf(share) for share in law(drawn)]
    assert correlation(underlying[:-1], underlying[1:]) == pytest.approx(0.6, abs=0.03)


def test_without_correlation_there_is_none() -> None:
    drawn = delays(Latency(delay=1.0, jitter=0.02))
    assert abs(correlation(drawn[:-1], drawn[1:])) < 0.03


def test_full_correlation_draws_once_and_differs_between_connections() -> None:
    fault = Latency(delay=1.0, jitter=0.5, correlation=1.0)
    firsts = {delays(fault, seed, draws=50)[0] for seed in range(20)}
    assert all(len(set(delays(fault, seed, draws=50))) == 1 for seed in range(20))
    assert len(firsts) == 20


def test_correlated_numbers_begin_as_they_go_on() -> None:
    firsts = [CorrelatedNormal(dice(seed), 0.9).draw() for seed in range(2000)]
    assert stats.kstest(firsts, "norm").pvalue > 0.01


@pytest.mark.parametrize("z", [-30.0, -3.0, 0.0, 1.0, 3.0, 30.0])
def test_probabilities_of_a_normal_number(z: float) -> None:
    assert probability_below(z) == pytest.approx(stats.norm.cdf(z), rel=1e-9)
    assert probability_above(z) == pytest.approx(stats.norm.sf(z), rel=1e-9)


def binomial(observed: int, trials: int, rate: float) -> bool:
    """Whether so many are likely: within the middle 99.8 %."""
    least, most = stats.binom(trials, rate).interval(0.998)
    return bool(least <= observed <= most)


def first_losses(fault: PacketLoss, packets: int = DRAWS) -> list[bool]:
    """For each single packet, whether its first transmission was lost."""
    return [late > 0 for late in delays(fault, seed=3, draws=packets)]


@pytest.mark.parametrize("rate", [0.001, 0.02, 0.3])
def test_packets_are_lost_at_the_rate(rate: float) -> None:
    assert binomial(sum(first_losses(PacketLoss(rate=rate))), DRAWS, rate)


def test_packets_of_one_chunk_are_lost_at_the_rate() -> None:
    lost = play(opened(PacketLoss(rate=0.001)), *(Send(0.0, b"x" * PACKET * 40) for _ in range(500)))
    # At so low a rate each loss makes one more run, or delays a chunk from its start.
    runs = sum(1 for step in lost if step.due > 0)
    assert binomial(runs, DRAWS, 0.001)


def test_retransmissions_are_lost_at_the_rate() -> None:
    lates = delays(PacketLoss(rate=0.3))
    lost = [late for late in lates if late > 0]
    assert binomial(sum(late > 0.3 for late in lost), len(lost), 0.3)
    assert binomial(sum(late > 1.0 for late in lost), len(lost), 0.09)


def test_correlated_losses_keep_the_rate_and_come_together() -> None:
    rate, asked = 0.2, 0.6
    lost = first_losses(PacketLoss(rate=rate, correlation=asked), packets=2 * DRAWS)
    assert fmean(lost) == pytest.approx(rate, abs=0.01)
    together = sum(one and other for one, other in pairwise(lost)) / len(lost)
    assert together == pytest.approx(both_lost(rate, asked), abs=0.01)


def both_lost(rate: float, asked: float) -> float:
    """The chance that two packets in a row are lost, from the bivariate normal law."""
    threshold = NormalDist().inv_cdf(rate)
    return float(stats.multivariate_normal([0, 0], [[1, asked], [asked, 1]]).cdf([threshold, threshold]))


def test_retransmissions_are_lost_with_the_overall_share_whatever_the_bursts() -> None:
    lates = delays(PacketLoss(burst=Burst(p=0.1, r=0.2)))
    lost = [late for late in lates if late > 0]
    assert binomial(sum(late > 0.3 for late in lost), len(lost), 1 / 3)


def channel(fault: PacketLoss, draws: int) -> list[bool]:
    """The fate of each packet when it is first sent."""
    lost = fault._channel(dice(5))
    return [lost() for _ in range(draws)]


def test_gilbert_elliott_has_its_share_and_length_of_bursts() -> None:
    p, r, draws = 0.02, 0.25, 10 * DRAWS
    fates = channel(PacketLoss(burst=Burst(p=p, r=r)), draws)
    assert fmean(fates) == pytest.approx(p / (p + r), abs=0.004)
    bursts = [sum(1 for _ in run) for lost, run in groupby(fates) if lost]
    assert fmean(bursts) == pytest.approx(1 / r, abs=0.15)
    assert binomial(sum(length == 1 for length in bursts), len(bursts), r)  # lengths are geometric


def test_gilbert_elliott_loses_in_both_states() -> None:
    burst = Burst(p=0.1, r=0.3, loss_good=0.05, loss_bad=0.6)
    fates = channel(PacketLoss(burst=burst), 10 * DRAWS)
    assert burst.share == pytest.approx(0.75 * 0.05 + 0.25 * 0.6)
    assert fmean(fates) == pytest.approx(0.75 * 0.05 + 0.25 * 0.6, abs=0.005)


@pytest.mark.parametrize("unit", ["bit", "byte"])
@pytest.mark.parametrize("rate", [0.0005, 0.01, 0.4])
def test_bytes_are_changed_at_the_rate(unit: str, rate: float) -> None:
    before = bytes(200_000)
    after = content(play(opened(Corrupt(rate=rate, unit=unit), seed=2), Send(0.0, before)))
    assert binomial(sum(byte != 0 for byte in after), len(before), rate)


def test_the_distance_between_changed_bytes_is_geometric() -> None:
    rate = 0.05
    after = content(play(opened(Corrupt(rate=rate), seed=2), Send(0.0, bytes(DRAWS * 20))))
    places = [place for place, byte in enumerate(after) if byte]
    gaps = [later - earlier for earlier, later in pairwise(places)]
    observed = [sum(gap == length for gap in gaps) for length in range(1, 40)]
    observed.append(sum(gap >= 40 for gap in gaps))
    law = stats.geom(rate)
    expected = [law.pmf(length) * len(gaps) for length in range(1, 40)] + [law.sf(39) * len(gaps)]
    assert stats.chisquare(observed, expected).pvalue > 0.01
