"""docs/endings.md shows how an ending is reported, for each order in which two sides can end."""

from __future__ import annotations

import pytest

from chaosproxy.tallies import Side
from tests.net.stream.orders_of_ends import FAULTS, HOWS, PAGE, THENS, End, page, play
from tests.net.stream.virtual import Flavour


def row(fault: str, first: Side, how: End, then: End | None, flavour: Flavour) -> tuple[str, ...]:
    """Replace the names of the sides: `A` ends first, `B` is the other one."""
    told, begun = play(fault, first, how, then, flavour)
    other: Side = "server" if first == "client" else "client"
    cells = (told.of(first), told.of(other), *told.closing(begun))
    return tuple(cell.replace(first, "A").replace(other, "B") for cell in cells)


def test_the_page_shows_what_comes_out() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.net.stream.orders_of_ends"


@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_the_same_for_both_sides_and_on_both_loops(fault: str) -> None:
    for how in HOWS:
        for then in THENS:
            expected = row(fault, "client", how, then, "uvloop")
            assert row(fault, "server", how, then, "uvloop") == expected
            assert row(fault, "client", how, then, "asyncio") == expected
            assert row(fault, "server", how, then, "asyncio") == expected


@pytest.mark.parametrize("fault", FAULTS)
def test_whoever_ended_first_is_first_and_the_cause_unless_a_fault_was_quicker(fault: str) -> None:
    for how in HOWS:
        for then in THENS:
            ended, _, closed, cause, first, _ = row(fault, "client", how, then, "uvloop")
            assert ended.startswith(f"{how} at 1 s")
            if closed == "still open":
                assert (how, then) == ("fin", None)
            else:
                assert (cause, first) == ("injected" if closed == "3 s" else "A", "A")
