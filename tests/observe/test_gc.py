"""Pauses by garbage collection, and the times of full ones."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest

from chaosproxy.control.v1 import reactions
from chaosproxy.heap import holding_many, is_light
from chaosproxy.observe import FullCollections, GcPauses, services
from chaosproxy.observe.gc import FULL_EVERY_S


def test_each_collection_is_measured_until_stopped() -> None:
    pauses = GcPauses()
    gc.disable()  # only the collections of this test are measured
    try:
        pauses.start()
        gc.collect()
        first = pauses.last
        gc.collect(0)
        pauses.stop()
        gc.collect()
    finally:
        gc.enable()
    assert sum(pauses.histogram.counts) == 2
    assert pauses.last > 0 < first
    assert pauses.max == max(first, pauses.last)
    assert pauses.histogram.sum == first + pauses.last


def test_a_collection_that_began_before_is_not_guessed() -> None:
    pauses = GcPauses()
    pauses._on_collection("stop", {})
    assert (pauses.last, sum(pauses.histogram.counts)) == (0.0, 0)


class Calls:
    """A loop's `call_later`, whose calls the test makes."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> Calls:
        self.due.append((seconds, call))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def make(self) -> float:
        """Make the next call; return the seconds before it."""
        [(seconds, call)] = self.due
        self.due.clear()
        call()
        return seconds


def test_a_full_collection_waits_until_no_thread_holds_many_objects() -> None:
    calls, made = Calls(), []
    full = FullCollections(calls.later, lambda: made.append(1))
    full.start()
    assert calls.make() == FULL_EVERY_S and len(made) == 1
    with holding_many(), holding_many():
        assert calls.make() == FULL_EVERY_S
        assert [calls.make() for _ in range(20)] == [0.25] * 20 and len(made) == 1
    assert calls.make() == 0.25 and len(made) == 2
    full.stop()
    assert calls.due == []


def test_a_full_collection_does_not_wait_for_ever() -> None:
    calls, made = Calls(), []
    FullCollections(calls.later, lambda: made.append(1)).start()
    with holding_many():
        for _ in range(500):
            calls.make()
    assert len(made) == 1


def test_the_reactions_are_inferred_while_no_full_collection_takes_place(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def facts(*_: object) -> None:
        held.append(not is_light())
        raise InterruptedError

    monkeypatch.setattr(services, "facts_of", facts)
    monkeypatch.setattr(reactions, "facts_of", facts)
    for look in (lambda: services._look([], 0.0), lambda: reactions._told([], 0.0, 0.0, (), str)):
        with pytest.raises(InterruptedError):
            look()
    assert held == [True, True] and is_light()


def test_each_thread_counts() -> None:
    release, holds = threading.Event(), threading.Event()

    def hold() -> None:
        with holding_many():
            holds.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    with holding_many():
        pass
    assert not is_light()
    release.set()
    thread.join()
    assert is_light()
