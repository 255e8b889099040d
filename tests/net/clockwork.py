"""Time that a test moves: a clock and the timer on it, for a scheduler or a whole supervisor."""

from __future__ import annotations

from collections.abc import Callable

from chaosproxy.faults.base import NEVER

__all__ = ["Clockwork", "FakeTimer"]


class FakeTimer:
    """Notes when it is to call back; the test calls."""

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
    """A clock that stands still until it is moved, and one timer on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer = FakeTimer(lambda: None)

    def clock(self) -> float:
        return self.now

    def make_timer(self, fire: Callable[[], None]) -> FakeTimer:
        self.timer = FakeTimer(fire)
        return self.timer

    def go_to(self, now: float) -> None:
        """Let the timer fire at `now`, however many things have become due before."""
        self.now, self.timer.due = now, NEVER
        self.timer.fire()

    def run_to(self, until: float) -> None:
        """Let the timer fire at each time that it is armed for, up to and including `until`."""
        while self.timer.due <= until:
            self.go_to(self.timer.due)
        self.now = until
