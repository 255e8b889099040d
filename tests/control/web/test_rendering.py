"""Pieces of JSON: together they are what `json.dumps` makes of the whole value."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.control.web.rendering import Encoded, Lazy, pieces

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ITEMS = PLAIN | PLAIN.map(json.dumps).map(Encoded) | st.deferred(lambda: st.lists(VALUES, max_size=3).map(Lazy))
VALUES: st.SearchStrategy[Any] = ITEMS | st.dictionaries(st.text(max_size=3), ITEMS, max_size=4)  # Any: JSON


def whole(value: Any) -> Any:  # Any: JSON
    """Return the value without anything lazy."""
    match value:
        case Encoded():
            return json.loads(value.text)
        case Lazy():
            return [whole(one) for one in value.items]
        case dict():
            return {key: whole(one) for key, one in value.items()}
        case _:
            return value


@given(VALUES)
def test_the_pieces_are_the_whole(value: Any) -> None:  # Any: JSON
    assert "".join(pieces(copy(value))) == json.dumps(whole(value))


def copy(value: Any) -> Any:  # Any: JSON
    """Return a value whose lazy lists are iterators, as those of views are."""
    match value:
        case Lazy():
            return Lazy(map(copy, value.items))
        case dict():
            return {key: copy(one) for key, one in value.items()}
        case _:
            return value


def test_an_item_is_made_when_its_turn_has_come() -> None:
    made = []

    def item(number: int) -> int:
        made.append(number)
        return number

    found = pieces({"a": 1, "items": Lazy(map(item, range(3))), "b": 2})
    assert [next(found), next(found), next(found), made] == ['{"a": 1', ', "items": ', "[", []]
    assert [next(found), made] == ["0", [0]]
    assert "".join(found) == ', 1, 2], "b": 2}'
