"""The lines that still hold."""

from __future__ import annotations

from chaosproxy.events import (
    Event,
    FaultAdded,
    FaultChanged,
    FaultExpired,
    FaultRemoved,
    PartitionAdded,
    PartitionExpired,
    PartitionFlapped,
    PartitionRemoved,
    ProxyAdded,
    ProxyChanged,
    ProxyRemoved,
)
from chaosproxy.journal.state import State


def proxy(name: str, at: float) -> ProxyAdded:
    return ProxyAdded(at=at, proxy=name, listen="l", upstream="u", by="test")


def fault(name: str, at: float, kind: type[FaultAdded] | type[FaultChanged] = FaultAdded) -> Event:
    return kind(at=at, proxy="db", fault=name, type="stall", effective_mode="", mode_reason="", by="test")


def moved(at: float) -> ProxyChanged:
    return ProxyChanged(at=at, proxy="db", listen="l", upstream="v", enabled=True, by="test")


def partition(name: str, at: float) -> PartitionAdded:
    return PartitionAdded(
        at=at, partition=name, cut="a>b", proxies=1, effective_mode="stream", mode_reason="", by="test"
    )


def flapped(at: float) -> PartitionFlapped:
    return PartitionFlapped(at=at, partition="p", is_cut=False)


def lines_after(*events: Event) -> list[bytes]:
    """Return the state after these events; the line of each is its time."""
    state = State()
    for event in events:
        state.follow(event, b"%g" % event.at)
    return state.lines()


def test_each_thing_has_its_addition_and_its_latest_change() -> None:
    events = (proxy("db", 1), fault("a", 2), fault("a", 3, FaultChanged), moved(4), moved(5), partition("p", 6),
              flapped(7), fault("a", 8, FaultChanged), flapped(9))  # fmt: skip
    assert lines_after(*events) == [b"1", b"2", b"5", b"6", b"8", b"9"]


def test_a_proxy_is_before_faults_of_the_same_time() -> None:
    state = State()
    for event, line in ((fault("a", 1), b"fault"), (proxy("db", 1), b"proxy")):
        state.follow(event, line)
    assert state.lines() == [b"proxy", b"fault"]


def test_removed_and_expired_things_are_gone() -> None:
    added = (proxy("db", 1), fault("a", 2), fault("b", 3), partition("p", 4), partition("q", 5))
    gone = (
        FaultRemoved(proxy="db", fault="a", type="stall", by="test"),
        FaultExpired(proxy="db", fault="b", type="stall"),
        PartitionRemoved(partition="p", by="test"),
        PartitionExpired(partition="q"),
    )
    assert lines_after(*added, *gone) == [b"1"]
    assert lines_after(*added, *gone, moved(6), ProxyRemoved(proxy="db", by="test")) == []
    assert lines_after(proxy("db", 1), fault("a", 2), ProxyRemoved(proxy="db", by="test")) == []


def test_a_change_of_something_unknown_changes_nothing() -> None:
    assert lines_after(moved(1), flapped(2), fault("a", 3, FaultChanged)) == []
