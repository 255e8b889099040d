"""Quantities with units, there and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.errors import BadValue
from chaosproxy.units import (
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_share,
    parse_size,
)
from tests.refused import code_of

Parse = Callable[[object], float]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250us", 250e-6), ("250µs", 250e-6), ("250μs", 250e-6), ("20ms", 0.02), ("1.5s", 1.5), ("2m", 120.0),
        ("1h", 3600.0), ("3ns", 3e-9), ("1m30s", 90.0), ("1h 2m 3s", 3723.0), (" 20 ms ", 0.02), (".5s", 0.5),
        ("0s", 0.0), ("0.3ms", 0.0003),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512B", 512), ("64KiB", 65536), ("10MB", 10**7), ("1.5kB", 1500), ("1.001kB", 1001), ("0B", 0),
        ("2GiB", 2**31), ("1.5B", 2), ("0.1KiB", 103),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10MB/s", 1e7), ("8Mbit/s", 1e6), ("1kbit/s", 125.0), ("64KiB/s", 65536.0), ("1bit/s", 0.125), ("0.3B/s", 0.3)],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("value", "share"), [(0.05, 0.05), ("0.05", 0.05), ("5%", 0.05), ("5 %", 0.05), (0, 0.0), (1, 1.0), ("1e-3", 0.001)]
)
def test_shares(value: object, share: float) -> None:
    assert parse_share(value) == share


@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_rate])
@pytest.mark.parametrize("bare", [10, 0, 0.5, "10", "0.5", " 7 ", float("nan"), 10**400])
def test_a_bare_number_is_refused(parse: Parse, bare: object) -> None:
    assert code_of(parse, bare) == "unit-missing"


@pytest.mark.parametrize(
    ("parse", "code"),
    [(parse_duration, "not-a-duration"), (parse_size, "not-a-size"), (parse_rate, "not-a-rate")],
)
@pytest.mark.parametrize(
    "text", ["", "x", "ms", "-", "-s", "1,5s", "٣s", None, True, [], {}, b"1s", "1" * 500 + "s"]
)
def test_what_is_no_quantity_is_refused(parse: Parse, text: object, code: str) -> None:
    assert code_of(parse, text) == code


@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_rate])
@pytest.mark.parametrize("text", ["-5ms", " - 1B", "-.5MB/s", "-1"])
def test_what_is_negative_is_refused_as_that(parse: Parse, text: str) -> None:
    assert code_of(parse, text) == "out-of-range"


@pytest.mark.parametrize(
    ("parse", "text", "code"),
    [
        (
            parse_duration,
            "5 days",
            "unknown-unit",
        ),
        (parse_duration, "1m30", "unknown-unit"),
        (parse_duration, "1m5x", "unknown-unit"),
        (parse_duration, "9e9s", "unknown-unit"),
        (parse_duration, "9999999999999999h", "out-of-range"),
        (parse_size, "1mb", "unknown-unit"),
        (parse_size, "9999999GB", "out-of-range"),
        (parse_rate, "10MB", "unknown-unit"),
        (parse_share, 1.5, "out-of-range"),
        (parse_share, "150%", "out-of-range"),
        (parse_share, 10**400, "out-of-range"),
        (parse_share, float("nan"), "out-of-range"),
        (parse_share, "nan", "not-a-share"),
        (parse_share, "٣%", "not-a-share"),
        (parse_share, "5%%", "not-a-share"),
        (parse_share, True, "not-a-share"),
        (parse_share, "-0.1", "not-a-share"),
    ],
)
def test_what_cannot_be_meant_is_refused(parse: Parse, text: object, code: str) -> None:
    assert code_of(parse, text) == code


@settings(deadline=None)
@given(st.floats(0, 1e14))
def test_durations_survive_writing(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@settings(deadline=None)
@given(st.integers(0, 10**15 - 1))
def test_sizes_survive_writing(size: int) -> None:
    assert parse_size(format_size(size)) == size


@settings(deadline=None)
@given(st.floats(0, 1e14))
def test_rates_survive_writing(rate: float) -> None:
    assert parse_rate(format_rate(rate)) == rate


@pytest.mark.parametrize(
    ("written", "short"),
    [
        (format_duration(0.1), "100ms"), (format_duration(0.02), "20ms"), (format_duration(5400.0), "90m"),
        (format_duration(1e-9), "1ns"), (format_size(16 * 2**20), "16MiB"), (format_size(10**7), "10MB"),
        (format_size(1000), "1kB"), (format_rate(1e6), "1MB/s"), (format_rate(0.125), "0.125B/s"),
    ],
)  # fmt: skip
def test_what_is_written_is_short(written: str, short: str) -> None:
    assert written == short


@settings(deadline=None)
@given(st.text() | st.text("0123456789.msuhkKMGBit/% "))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_rate, parse_share):
        try:
            assert 0 <= parse(text) <= 1e15
        except BadValue as bad:
            assert "; " in str(bad)
