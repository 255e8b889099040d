"""The latest events, numbered."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.events import Bus, ProxyRemoved
from chaosproxy.journal.form import unpack
from chaosproxy.journal.ring import Ring


def event(number: int) -> ProxyRemoved:
    return ProxyRemoved(at=float(number), proxy="p", by="test")


@given(st.integers(1, 7), st.integers(0, 20), st.integers(0, 22), st.none() | st.integers(1, 9))
def test_it_has_the_latest_in_order(size: int, published: int, after: int, most: int | None) -> None:
    bus = Bus()
    ring = Ring(bus, size)
    for number in range(1, published + 1):
        bus.publish(event(number))
    kept = [number for number in range(1, published + 1) if number > published - size]
    assert (ring.last, ring.first) == (published, published - len(kept) + 1)
    expected = [number for number in kept if number > after][:most]
    assert [(number, one.at) for number, one in ring.after(after, most)] == [(one, float(one)) for one in expected]
    assert [unpack(one).at for one in ring.snapshot()] == [float(number) for number in kept]


def test_listeners_are_called_until_they_end() -> None:
    bus, called = Bus(), []
    ring = Ring(bus)
    end = ring.listen(lambda: called.append(ring.last))
    bus.publish(event(1))
    bus.publish(event(2))
    end()
    bus.publish(event(3))
    assert called == [1, 2]
    ring.close()
    bus.publish(event(4))
    assert ring.last == 3


def test_a_full_collection_does_not_look_at_the_events() -> None:
    bus, size = Bus(), 2_000
    ring = Ring(bus, size)
    for number in range(size):
        bus.publish(event(number))
    gc.collect()
    tracked = gc.get_objects()
    assert sum(isinstance(one, tuple) and one[:1] == ("proxy_removed",) for one in tracked) == 0
    assert not any(isinstance(one, ProxyRemoved) for one in tracked)
    assert len(list(ring.after(0))) == size
