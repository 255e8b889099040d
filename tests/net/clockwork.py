"""A clock that a test sets, and a timer on it, for a scheduler or a whole supervisor."""

from __future__ import annotations

from collections.abc import Callable

from chaosproxy.faults.base import NEVER

__all__ = ["Clockwork", "FakeTimer"]


class FakeTimer:
    """Records the time it is armed for; the test fires it."""

    def __init__(self, fire: Callable[[], None]) -> None:
        self.fire = fire
        self.armed: list[float] = []
        self.due = NEVER

    def arm(self, due: float) -> None:
        self.armed.append(due)
        self.due = due

    def close(self) -> None:
        self.due = NEVER


class Clockwork:
    """A clock that stands still until a test sets it, and one timer on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer = FakeTimer(lambda: None)

    def clock(self) -> float:
        return self.now

    def make_timer(self, fire: Callable[[], None]) -> FakeTimer:
        self.timer = FakeTimer(fire)
        return self.timer

    def go_to(self, now: float) -> None:
        """Set the clock to `now`, and fire the timer once, even if several times have become due."""
        self.now, self.timer.due = now, NEVER
        self.timer.fire()

    def run_to(self, until: float) -> None:
        """Fire the timer at each time that it is armed for, up to and including `until`."""
        while self.timer.due <= until:
            self.go_to(self.timer.due)
        self.now = until
