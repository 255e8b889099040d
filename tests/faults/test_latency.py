"""Latency: constant, spread, swinging; what is refused; what a change does."""

from __future__ import annotations

import pytest

from chaosproxy.faults.base import HalfClose, Reset, Send
from chaosproxy.faults.latency import Latency, Wave
from tests.faults.playing import Wire, opened, play, read, wrong

SHAPES = ("uniform", "normal", "lognormal", "pareto", "exponential")


def test_everything_arrives_later() -> None:
    steps = play(Latency(delay=0.1), Send(0.0, b"a"), HalfClose(1.0), Reset(2.0))
    assert steps == [Send(0.1, b"a"), HalfClose(1.1), Reset(2.1)]


def test_no_delay_leaves_the_step_alone() -> None:
    step = Send(1.0, b"a")
    assert [*opened(Latency(delay=0.0)).on_step(step)] == [step]
    assert step.due == 1.0


def test_uniform_jitter_stays_within_its_bounds() -> None:
    stage = opened(Latency(delay=1.0, jitter=0.25))
    dues = [step.due for step in play(stage, *(Send(0.0, b"a") for _ in range(1000)))]
    assert 0.75 <= min(dues) < 0.76
    assert 1.24 < max(dues) <= 1.25


@pytest.mark.parametrize("shape", SHAPES)
def test_a_draw_below_zero_counts_as_zero(shape: str) -> None:
    stage = opened(Latency(delay=0.001, jitter=1.0, distribution=shape))
    assert all(step.due >= 5.0 for step in play(stage, *(Send(5.0, b"a") for _ in range(200))))


def test_jitter_does_not_reorder() -> None:
    wire = Wire(it=Latency(delay=0.1, jitter=0.1)).send(*(Send(0.001 * n, bytes([n])) for n in range(100)))
    assert wire.wait_until(9.0).bytes == bytes(range(100))


@pytest.mark.parametrize(
    ("shape", "delays"),
    [
        ("sine", [1.0, 1.5, 1.0, 0.5, 1.0]),
        ("square", [1.5, 1.5, 0.5, 0.5, 1.5]),
        ("triangle", [1.0, 1.5, 1.0, 0.5, 1.0]),
        ("saw", [0.5, 0.75, 1.0, 1.25, 0.5]),
    ],
)
def test_a_wave_swings_about_the_delay(shape: str, delays: list[float]) -> None:
    stage = opened(Latency(delay=1.0, wave=Wave(shape=shape, amplitude=0.5, period=8.0)), now=100.0)
    quarters = (100.0, 102.0, 104.0, 106.0, 108.0)
    steps = play(stage, *(Send(at, b"a") for at in quarters))
    assert [step.due - at for step, at in zip(steps, quarters, strict=True)] == pytest.approx(delays)


def test_a_wave_is_in_step_on_all_connections() -> None:
    fault = Latency(delay=1.0, wave=Wave(shape="saw", amplitude=1.0, period=10.0))
    common = fault.common()
    first, second = opened(fault, 100.0, common=common), opened(fault, 103.0, common=common)
    assert play(first, Send(105.0, b"a")) == play(second, Send(105.0, b"a")) == [Send(106.0, b"a")]


def test_a_changed_wave_goes_on_where_it_was() -> None:
    old = opened(Latency(delay=1.0, wave=Wave(shape="saw", amplitude=1.0, period=10.0)), 100.0)
    new = opened(Latency(delay=2.0, wave=Wave(shape="saw", amplitude=1.0, period=10.0)), 103.0)
    new.take_over(old)
    assert play(new, Send(105.0, b"a")) == [Send(107.0, b"a")]


def test_a_change_from_seconds_to_milliseconds_lets_go_at_once() -> None:
    wire = Wire(it=Latency(delay=10.0)).send(Send(0.0, b"a"), Send(2.95, b"b")).wait_until(3.0)
    wire.set(it=Latency(delay=0.1))
    assert wire.wait_until(9.0).arrived() == [(3.0, b"a"), (3.05, b"b")]


def test_it_reads_as_users_write_it() -> None:
    spec = read(
        {
            "type": "latency", "delay": "100ms", "jitter": "20ms", "distribution": "normal", "correlation": "25%",
            "wave": {"shape": "square", "amplitude": "50ms", "period": "10s"},
        }  # fmt: skip
    )
    wave = Wave(shape="square", amplitude=0.05, period=10.0)
    assert spec.settings == Latency(delay=0.1, jitter=0.02, distribution="normal", correlation=0.25, wave=wave)


@pytest.mark.parametrize(
    ("given", "field", "code"),
    [
        ({"delay": "1ms", "correlation": "5%"}, "correlation", "invalid-together"),
        ({"delay": "0s", "jitter": "1ms", "distribution": "lognormal"}, "delay", "invalid-together"),
        ({"delay": "1ms", "distribution": "gauss"}, "distribution", "unknown-value"),
        ({"delay": "1ms", "wave": {"amplitude": "1ms", "period": "0s"}}, "wave.period", "out-of-range"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], field: str, code: str) -> None:
    assert wrong({"type": "latency", **given}) == [(field, code)]
