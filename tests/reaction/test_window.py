"""Windows of faults, alone and together, and the times before and after them."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.events import (
    Event,
    FaultAdded,
    FaultChanged,
    FaultExpired,
    FaultRemoved,
    PartitionAdded,
    PartitionExpired,
    ProxyAdded,
    ProxyRemoved,
    TurnsCounted,
)
from chaosproxy.reaction.facts import Facts, facts_of
from chaosproxy.reaction.span import seconds_in
from chaosproxy.reaction.window import Window, background_of, first_turn, touched, unfaulted_before, windows_of


def added(at: float, fault: str = "stall-1", proxy: str = "db") -> FaultAdded:
    return FaultAdded(at=at, proxy=proxy, fault=fault, type="stall", effective_mode="", mode_reason="", by="rest")


def changed(at: float, fault: str = "stall-1") -> FaultChanged:
    return FaultChanged(at=at, proxy="db", fault=fault, type="stall", effective_mode="", mode_reason="", by="rest")


def removed(at: float, fault: str = "stall-1", proxy: str = "db") -> FaultRemoved:
    return FaultRemoved(at=at, proxy=proxy, fault=fault, type="stall", by="rest")


def counted(at: float, faults: dict[str, tuple[int, int]], proxy: str = "db") -> TurnsCounted:
    return TurnsCounted(at=at, proxy=proxy, seconds=1.0, faults=faults)


def journal(*events: Event, end: float = 100.0) -> Facts:
    return facts_of([ProxyAdded(at=0.0, proxy="db", listen="l", upstream="u", by="file"), *events], end=end)


def spans(windows: Iterable[Window]) -> list[tuple[tuple[str, ...], float, float | None]]:
    return [(window.faults, window.started, window.ended) for window in windows]


def test_a_fault_added_again_has_another_window_and_a_change_none() -> None:
    facts = journal(added(10.0), changed(12.0), removed(15.0), added(20.0), FaultExpired(
        at=22.0, proxy="db", fault="stall-1", type="stall"), added(30.0))  # fmt: skip
    one = ("db/stall-1",)
    assert spans(windows_of(facts)) == [(one, 10.0, 15.0), (one, 20.0, 22.0), (one, 30.0, None)]


def test_a_fault_without_a_start_was_active_from_the_begin() -> None:
    assert spans(windows_of(journal(removed(5.0)))) == [(("db/stall-1",), 0.0, 5.0)]
    assert spans(windows_of(journal(changed(5.0)))) == [(("db/stall-1",), 0.0, None)]
    assert spans(windows_of(journal(counted(5.0, {"stall-1": (1, 0)})))) == [(("db/stall-1",), 0.0, None)]
    assert unfaulted_before(windows_of(journal(removed(5.0)))[0], "db", journal(removed(5.0))) == ()


def test_overlapping_faults_are_one_set_each_of_which_overlaps_with_another() -> None:
    facts = journal(added(10.0), added(12.0, "b"), removed(14.0), added(15.0, "c"), removed(16.0, "b"),
                    removed(20.0, "c"), added(20.0, "d"), removed(21.0, "d"))  # fmt: skip
    sets = [window for window in windows_of(facts) if len(window.faults) > 1]
    assert spans(sets) == [(("db/stall-1", "db/b", "db/c"), 10.0, 20.0)]
    assert sets[0].types == ("stall", "stall", "stall")


def test_a_partition_acts_on_the_proxies_that_count_it() -> None:
    facts = journal(
        PartitionAdded(at=10.0, partition="p1", cut="a<>b", proxies=2, effective_mode="", mode_reason="", by="rest"),
        counted(11.0, {"partition/p1": (2, 0)}), counted(11.0, {"partition/p1": (3, 0)}, "web"),
        counted(11.0, {}, "other"), PartitionExpired(at=12.0, partition="p1"),
    )  # fmt: skip
    (window,) = windows_of(facts)
    assert (window.faults, window.types) == (("partition/p1",), ("partition",))
    assert window.proxies == frozenset({"db", "web"})
    assert touched(window, facts) == (5, 0)


def test_a_removed_proxy_ends_its_faults() -> None:
    facts = journal(added(10.0), added(11.0, proxy="web"), ProxyRemoved(at=12.0, proxy="db", by="rest"))
    single = [window for window in windows_of(facts) if len(window.faults) == 1]
    assert spans(single) == [(("db/stall-1",), 10.0, 12.0), (("web/stall-1",), 11.0, None)]


def test_touched_counts_the_increase_in_the_window() -> None:
    facts = journal(
        added(10.0), counted(11.0, {"stall-1": (2, 1)}), counted(12.0, {"stall-1": (3, 4)}), removed(12.0),
        added(20.0), counted(21.0, {"stall-1": (4, 4)}), changed(22.0), counted(23.0, {"stall-1": (1, 0)}),
    )  # fmt: skip
    first, second = windows_of(facts)
    assert touched(first, facts) == (3, 4)
    assert touched(second, facts) == (1 + 1, 0), "it went on from 3, and began again at 0 with the change"


def test_the_time_before_is_without_faults() -> None:
    facts = journal(added(10.0), removed(20.0), added(30.0, "b"), removed(31.0, "b"), end=80.0)
    _, second = windows_of(facts)
    assert unfaulted_before(second, "db", facts) == ((0.0, 10.0), (20.0, 30.0))
    assert unfaulted_before(second, "web", facts) == ((0.0, 30.0),)


def stall_of(facts: Facts) -> Window:
    [found] = [one for one in windows_of(facts) if one.faults == ("db/stall-1",)]
    return found


def test_a_fault_that_stays_belongs_to_the_usual() -> None:
    far = journal(added(2.0, "far"), added(50.0), removed(60.0))
    assert unfaulted_before(stall_of(far), "db", far) == ((2.0, 50.0),)
    soon = journal(added(25.0, "far"), added(50.0), removed(60.0))
    assert unfaulted_before(stall_of(soon), "db", soon) == ((0.0, 25.0),), "clients are not used to it yet"
    ends = journal(added(2.0, "far"), added(50.0), removed(59.0, "far"), removed(60.0))
    assert unfaulted_before(stall_of(ends), "db", ends) == ((0.0, 2.0),), "it ends within the window"
    answered = TurnsCounted(at=12.0, proxy="db", seconds=1.0, answered=5)
    first = journal(added(2.0, "far"), answered, added(20.0), removed(21.0))
    assert unfaulted_before(stall_of(first), "db", first) == ((2.0, 20.0),), "there never was a turn without it"


times = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 90), st.integers(1, 9)), max_size=8)


@given(times)
def test_windows_cover_the_active_times_and_baselines_none_of_them(faults: list[tuple[int, int, int]]) -> None:
    events = [
        one for index, (_, at, length) in enumerate(faults)
        for one in (added(float(at), f"f{index}"), removed(float(at + length), f"f{index}"))
    ]  # fmt: skip
    facts = journal(*events)
    windows = windows_of(facts)
    single = [window for window in windows if len(window.faults) == 1]
    assert len(single) == len(faults)
    for window in windows:
        inside = [one for one in single if one.faults[0] in window.faults]
        assert window.started == min(one.started for one in inside)
        assert window.ended == max(one.ended or 0.0 for one in inside)
        before = unfaulted_before(window, "db", facts)
        assert seconds_in(before) <= window.started
        middles = [(begin + end) / 2 for begin, end in before]
        usual = background_of(window, windows, first_turn(["db"], facts))
        assert not any(one.has(at) for one in single for at in middles if one not in usual)
    together = [set(window.faults) for window in windows if len(window.faults) > 1]
    assert sum(map(len, together)) == len(set().union(*together)), "each fault is in one set at most"
