"""False deaths, and the table of time-outs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.quantiles import bucket_of, seconds_of
from chaosproxy.reaction.advice import advice_for, false_deaths, rfc6298_s
from chaosproxy.reaction.facts import ProxyFacts
from chaosproxy.reaction.span import Span
from tests.reaction.counted import Story

BASELINE = Span(0, 10)


def steady(felt: float, rate: float = 50, end: float = 10) -> Story:
    story = Story()
    story.proxy("db")
    story.steady("db", 0, end, rate=rate, felt=felt)
    return story


def test_false_deaths() -> None:
    story = steady(0.01)
    for number, late_s in enumerate((0.5, 0.1, 2.0)):
        story.give_up("db", 2.0 + number, 1.0)
        story.late("db", 3.0 + number, late_s)
    story.give_up("db", 6.0, 1.0)
    story.late("db", 12.0, 9.0)
    told = false_deaths(story.facts(20).proxies["db"], BASELINE)
    assert (told.count, told.gave_up) == (3, 4)
    assert (told.late_s_min, told.late_s_p50, told.late_s_max) == (0.1, 0.5, 2.0)
    none = false_deaths(steady(0.01).facts(10).proxies["db"], BASELINE)
    assert (none.count, none.late_s_max) == (0, None)


def test_the_table_shows_both_prices() -> None:
    story = Story()
    story.proxy("db")
    story.open("db", 1.0, dial_s=0.004)
    for number in range(500):
        story.good("db", number / 50 + 0.01, felt=0.1 if number % 50 == 0 else 0.01, service_s=0.008)
    told = advice_for(story.facts(10).proxies["db"], BASELINE, 0.05)
    assert told is not None and told.turns == 500
    assert told.quantile_today == pytest.approx(0.98)
    rows = {one.name: one for one in told.rows}
    assert (rows["today"].seconds, rows["today"].cut_share) == (0.05, pytest.approx(0.02))
    assert rows["today"].unnoticed_s == pytest.approx(0.05 + 1 / 50)
    assert rows["2d+r"].seconds == pytest.approx(0.004 + 0.008, rel=0.03)
    assert rows["rfc6298"].seconds == pytest.approx(0.0118 + 4 * 2 * 0.02 * 0.98 * 0.09, rel=0.05)


def test_little_data_gives_no_advice() -> None:
    assert advice_for(steady(0.01, rate=1).facts(10).proxies["db"], BASELINE, 1.0) is None
    told = advice_for(steady(0.01).facts(10).proxies["db"], BASELINE, None)
    assert told is not None and told.quantile_today is None
    assert [one.name for one in told.rows] == ["rfc6298"], "no time-out in use, and no dial seen"
    assert rfc6298_s(ProxyFacts("db"), BASELINE) is None


@given(st.lists(st.integers(bucket_of(0.001), bucket_of(2)), min_size=1, max_size=40))
def test_the_estimate_is_that_of_rfc_6298_for_one_answer_per_interval(buckets: list[int]) -> None:
    durations = [seconds_of(one) for one in buckets]
    story = Story()
    story.proxy("db")
    for number, felt in enumerate(durations):
        story.good("db", number + 10.5, felt)
    srtt, rttvar = durations[0], durations[0] / 2
    for sample in durations[1:]:  # section 2.3: RTTVAR first
        rttvar = 0.75 * rttvar + 0.25 * abs(srtt - sample)
        srtt = 0.875 * srtt + 0.125 * sample
    end = len(durations) + 11
    told = rfc6298_s(story.facts(end).proxies["db"], Span(0, end))
    assert told == pytest.approx(srtt + 4 * rttvar, rel=1e-6)


@given(st.floats(0.001, 2), st.integers(20, 100))
def test_constant_durations_give_themselves(felt: float, rate: int) -> None:
    told = rfc6298_s(steady(felt, rate, end=10).facts(10).proxies["db"], Span(-9, 10))
    assert told == pytest.approx(felt, rel=0.03)
