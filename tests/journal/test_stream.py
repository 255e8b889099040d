"""A reader's way through the ring, and the text of Server-Sent Events."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.events import Bus, Event, FaultRemoved, Lagged, LoopStalled, ProxyRemoved
from chaosproxy.journal.ring import Ring
from chaosproxy.journal.stream import BATCH, Cursor, EventFilter, Message, comment, event_text, messages_in


def ring_with(published: int, size: int = 1_000) -> tuple[Bus, Ring]:
    bus = Bus()
    ring = Ring(bus, size)
    publish(bus, published)
    return bus, ring


def publish(bus: Bus, count: int) -> None:
    for _ in range(count):
        bus.publish(ProxyRemoved(at=1.0, proxy="p", by="test"))


def all_of(cursor: Cursor) -> list[tuple[int, Event]]:
    found = []
    while not cursor.is_at_end:
        found += cursor.take()
    return found


def numbers(taken: list[tuple[int, Event]]) -> list[int]:
    """Return the numbers of all events that a reader now knows of: those taken, and those that it is told it missed."""
    known: list[int] = []
    for number, event in taken:
        missed = event.missed if isinstance(event, Lagged) else 1
        known += range(number - missed + 1, number + 1)
    return known


# ── the cursor ────────────────────────────────────────────────────────────────────────────

STEPS = st.lists(st.sampled_from(["take", "cut"]) | st.integers(1, 250), max_size=30)


@given(size=st.integers(1, 300), before=st.integers(0, 500), after=st.integers(0, 500), steps=STEPS)
def test_a_reader_that_is_cut_at_any_point_misses_and_repeats_nothing(
    size: int, before: int, after: int, steps: list[int | str]
) -> None:
    bus, ring = ring_with(before, size)
    after = min(after, before)
    cursor, taken = Cursor(ring, after), []
    for step in steps:
        match step:
            case "take":
                batch = cursor.take()
                assert len(batch) <= BATCH + 1
                taken += batch
            case "cut":  # a new connection with the last id that arrived
                cursor = Cursor(ring, taken[-1][0] if taken else after)
            case int():
                publish(bus, step)
    taken += all_of(cursor)
    assert numbers(taken) == list(range(after + 1, ring.last + 1))
    kept = [number for number, event in taken if not isinstance(event, Lagged)]
    assert sorted(set(kept)) == kept


def test_a_reader_that_is_too_late_is_told_how_many_it_missed_and_gets_the_oldest_kept() -> None:
    _, ring = ring_with(25, 10)
    (lost, first), *rest = all_of(Cursor(ring, 3))
    assert (lost, first) == (15, Lagged(at=1.0, missed=12))
    assert [number for number, _ in rest] == list(range(16, 26))


@given(size=st.integers(1, 50), published=st.integers(0, 120), more=st.integers(0, 120), after=st.integers(0, 120))
def test_a_cursor_with_an_end_takes_nothing_beyond(size: int, published: int, more: int, after: int) -> None:
    bus, ring = ring_with(published, size)
    cursor = Cursor(ring, min(after, published), end=published)
    publish(bus, more)
    assert numbers(all_of(cursor)) == list(range(min(after, published) + 1, published + 1))


EVENTS = st.builds(
    lambda make, at: make(at),
    st.sampled_from([
        lambda at: ProxyRemoved(at=at, proxy="a", by="test"),
        lambda at: ProxyRemoved(at=at, proxy="b", by="test"),
        lambda at: FaultRemoved(at=at, proxy="a", fault="f", type="stall", by="test"),
        lambda at: LoopStalled(at=at, seconds=1.0, cpu_s=0.0, held_by=None, where=""),
    ]),
    st.floats(0, 10),
)  # fmt: skip
NAMES = st.none() | st.sets(st.sampled_from(["a", "b", "c"]), min_size=1).map(frozenset)
KINDS = st.none() | st.sets(st.sampled_from(["proxy_removed", "fault_removed", "lagged"]), min_size=1).map(frozenset)


@given(st.lists(EVENTS, max_size=30), NAMES, KINDS, st.floats(0, 10), st.integers(0, 30))
def test_the_filter_passes_events_of_these_proxies_and_kinds_and_of_that_time(
    events: list[Event], proxies: frozenset[str] | None, kinds: frozenset[str] | None, since: float, until: int
) -> None:
    bus = Bus()
    ring = Ring(bus)
    for event in events:
        bus.publish(event)
    wanted = EventFilter(proxies=proxies, kinds=kinds, since=since, since_until=until)
    cursor = Cursor(ring, 0, wanted)
    expected = [
        (number, event)
        for number, event in enumerate(events, 1)
        if (proxies is None or (not isinstance(event, LoopStalled) and event.proxy in proxies))  # type: ignore[attr-defined]  # the others have one
        and (kinds is None or event.kind in kinds)
        and (number > until or event.at >= since)
    ]
    assert all_of(cursor) == expected
    assert cursor.position == len(events), "also beyond those that do not pass"


# ── the text ──────────────────────────────────────────────────────────────────────────────


def test_an_event_is_three_fields_and_its_data_one_line_of_json() -> None:
    event = FaultRemoved(at=1.0, proxy="a\r\ndata: b\u2028", fault="f", type="stall", by="rest")
    lines = event_text(17, event, "2026-03-01T12:00:00.000Z").decode().splitlines()
    assert lines[:2] == ["id: 17", "event: fault_removed"]
    assert lines[2].startswith('data: {"kind": "fault_removed", "at": "2026-03-01T12:00:00.000Z", "proxy": ')
    assert lines[3:] == [""]
    assert json.loads(lines[2].removeprefix("data: "))["proxy"] == event.proxy


BLOCKS = st.lists(
    st.tuples(st.integers(0, 99), st.text(max_size=5)) | st.none() | st.integers(0, 99), max_size=10
)  # fmt: skip


@given(BLOCKS, st.lists(st.integers(1, 40), max_size=20))
def test_a_stream_is_read_as_it_was_written_wherever_it_is_cut(
    blocks: list[tuple[int, str] | int | None], cuts: list[int]
) -> None:
    text, expected, last = b"", [], ""
    for block in blocks:
        match block:
            case (number, name):
                event = ProxyRemoved(at=0.0, proxy=name, by="")
                text += event_text(number, event, "now")
                last = str(number)
                data = {"kind": "proxy_removed", "at": "now", "proxy": name, "by": ""}
                expected.append(Message(last, json.dumps(data)))
            case int():
                text += comment("heartbeat", block)
                last = str(block)
                expected.append(Message(last, None))
            case None:
                text += comment("heartbeat")
                expected.append(Message(last, None))
    chunks, rest = [], text
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    assert list(messages_in([*chunks, rest])) == expected
    assert list(messages_in([text[:-1]])) == expected[:-1], "an incomplete block is discarded"


def test_lines_of_the_standard_are_read() -> None:
    text = b"retry: 5\r\nid:7\r\ndata\ndata:  a\ndata: b\nunknown: x\nevent: e\n\nid: 8\0\ndata: c\n\nid\ndata: d\n\n"
    assert list(messages_in([text])) == [Message("7", "\n a\nb"), Message("7", "c"), Message("", "d")]
