"""Times of the data plane's clock as dates."""

from __future__ import annotations

from datetime import datetime

from chaosproxy.control.wall import WallClock

NOON = 1_772_366_400.0  # 2026-03-01T12:00:00Z


class Clocks:
    def __init__(self) -> None:
        self.inner, self.wall = 1000.0, NOON
        self.written = WallClock(lambda: self.inner, lambda: self.wall)

    def pass_(self, seconds: float) -> None:
        self.inner, self.wall = self.inner + seconds, self.wall + seconds


def test_a_time_is_a_date_and_an_age() -> None:
    clocks = Clocks()
    assert clocks.written.date(1000.0) == "2026-03-01T12:00:00.000Z"
    assert clocks.written.date(940.5) == "2026-03-01T11:59:00.500Z"
    assert (clocks.written.age(940.5), clocks.written.age(1000.0)) == (59.5, 0.0)


def test_a_time_keeps_its_date_while_clocks_are_read_at_different_moments() -> None:
    clocks = Clocks()
    for jitter in (0.0004, -0.0004, 0.9, -0.9):
        clocks.pass_(60.0)
        clocks.wall += jitter
        assert clocks.written.date(1000.0) == "2026-03-01T12:00:00.000Z"
        clocks.wall -= jitter


def test_a_machine_that_slept_dates_new_things_right() -> None:
    clocks = Clocks()
    clocks.wall += 3600.0  # CLOCK_MONOTONIC stands still while it sleeps
    assert clocks.written.date(clocks.inner) == "2026-03-01T13:00:00.000Z"


def test_a_date_is_a_time_whatever_its_zone() -> None:
    clocks = Clocks()
    for date in ("2026-03-01T11:59:00.500+00:00", "2026-03-01T12:59:00.500+01:00"):
        assert clocks.written.moment(datetime.fromisoformat(date)) == 940.5
    clocks.wall += 3600.0
    assert clocks.written.moment(datetime.fromisoformat("2026-03-01T13:00:00Z")) == clocks.inner
