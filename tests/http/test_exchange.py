"""How far an exchange is: what the docstring draws is the table, and nothing else can happen."""

from __future__ import annotations

import itertools
import re

import pytest

from chaosproxy.http import exchange
from chaosproxy.http.exchange import TRANSITIONS, Exchange, Sign, State
from chaosproxy.tallies import RouteTally

SIGNS = {sign.name.lower().replace("_", " "): sign for sign in Sign}


def drawn() -> set[tuple[State, Sign, State]]:
    """The arrows of the docstring; one that begins below a state, or a sign, begins there."""
    arrows = set()
    sources: dict[int, str] = {}
    assert exchange.__doc__ is not None
    for line in exchange.__doc__.splitlines():
        names = {match.start(): match[0] for match in re.finditer(r"\b[A-Z]{4,}\b", line)}
        sources |= names
        for match in re.finditer(r"─+ ([a-z ]+) ─+▶ (\w+)", line):
            before = [place for place in names if place < match.start()]
            if line[: match.start()].rstrip().endswith(("└", "└─")) or not before:
                corner = line.index("└")
                source = sources[max(place for place in sources if place <= corner and place not in names)]
            else:
                source = names[max(before)]
            arrows.add((State[source], SIGNS[match[1]], State[match[2]]))
    return arrows


def test_the_drawing_is_the_table() -> None:
    assert drawn() == {(state, sign, to) for state, row in TRANSITIONS.items() for sign, to in row.items()}


def test_every_state_is_in_the_table_and_only_the_last_has_no_way_out() -> None:
    assert set(TRANSITIONS) == set(State)
    assert [state for state, row in TRANSITIONS.items() if not row] == [State.DONE]


@pytest.mark.parametrize(("state", "sign"), [*itertools.product(State, Sign)])
def test_a_sign_leads_where_the_table_says_and_else_is_a_defect(state: State, sign: Sign) -> None:
    one = Exchange(1, "GET", RouteTally(), 0.0)
    one.state = state
    if sign in TRANSITIONS[state]:
        one.sign(sign)
        assert one.state is TRANSITIONS[state][sign]
    else:
        with pytest.raises(KeyError):
            one.sign(sign)
        assert one.state is state


def test_every_order_in_which_the_three_can_happen_ends_well() -> None:
    ways = set()
    for order in itertools.permutations(Sign):
        one = Exchange(1, "GET", RouteTally(), 0.0)
        try:
            for sign in order:
                one.sign(sign)
        except KeyError:
            continue
        ways.add(order)
        assert one.state is State.DONE
    assert ways == {
        (Sign.REQUEST_WHOLE, Sign.RESPONSE_BEGINS, Sign.RESPONSE_WHOLE),
        (Sign.RESPONSE_BEGINS, Sign.REQUEST_WHOLE, Sign.RESPONSE_WHOLE),
        (Sign.RESPONSE_BEGINS, Sign.RESPONSE_WHOLE, Sign.REQUEST_WHOLE),
    }
