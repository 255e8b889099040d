"""Structs from plain data: every problem noted, nothing else ever raised; and back."""

from __future__ import annotations

from dataclasses import dataclass

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.declare import (
    Choice,
    Duration,
    Flag,
    ListOf,
    MapOf,
    Number,
    Problems,
    Rate,
    Share,
    Size,
    Struct,
    Text,
    Whole,
    param,
    read_struct,
    struct_schema,
    write_struct,
)
from chaosproxy.errors import InvalidInput
from tests.refused import places


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size: int = param(Size(minimum=1), "how much", example="64KiB")
    share: float = param(Share(), "how often", default=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str = param(Text(), "what it is called", example="a")
    hold: float | None = param(Duration(above_zero=True), "how long", name="for", default=None, example="2s")
    rate: float | None = param(Rate(), "how fast", default=None)
    factor: float = param(Number(minimum=1, maximum=8), "how much more", default=2.0)
    times: int = param(Whole(minimum=0, maximum=100), "how many", default=0)
    on: bool = param(Flag(), "whether", default=False)
    shape: str = param(Choice("sine", "square"), "which", default="sine")
    inner: Inner | None = param(Struct(Inner), "what is in it", default=None)
    many: tuple[float, ...] = param(ListOf(Duration()), "when", default=())
    named: dict[str, Inner] | None = param(MapOf(Struct(Inner)), "by name", default=None)
    where: str = "given"


FULL = {
    "name": "x", "for": "2s", "rate": "1MB/s", "factor": 3, "times": 7, "on": True, "shape": "square",
    "inner": {"size": "2B"}, "many": ["1s", "2ms"], "named": {"a": {"size": "1B", "share": "5%"}},
}  # fmt: skip


def read(data: object) -> tuple[Outer | None, list[str]]:
    """Return the struct, and the field and code of each problem."""
    problems = Problems()
    return read_struct(Outer, data, problems, ("o",)), places(problems)


def messages(data: object) -> list[str]:
    problems = Problems()
    read_struct(Outer, data, problems, ("o",))
    return [str(problem) for problem in problems]


def test_everything_is_read() -> None:
    outer = Outer(
        name="x", hold=2.0, rate=1e6, factor=3.0, times=7, on=True, shape="square",
        inner=Inner(size=2), many=(1.0, 0.002), named={"a": Inner(size=1, share=0.05)},
    )  # fmt: skip
    assert read(FULL) == (outer, [])
    assert read(write_struct(outer)) == (outer, [])


def test_what_is_default_is_not_written() -> None:
    assert write_struct(Outer(name="x")) == {"name": "x"}


def test_null_stands_for_a_default_but_not_for_what_is_required() -> None:
    assert read({"name": "x", "factor": None, "inner": None}) == (Outer(name="x"), [])
    assert read({"name": None})[1] == ["o.name wrong-type"]


def test_fields_may_come_from_elsewhere() -> None:
    outer = read_struct(Outer, {"name": "x"}, Problems(), where="here")
    assert outer is not None
    assert outer.where == "here"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"name": "x", "nane": 1}, "o.nane unknown-key"),
        ({"name": "x", 5: 1}, "o.5 unknown-key"),
        ({"name": "x", None: 1}, "o.null unknown-key"),
        ({"name": "x", ("a", "b"): 1}, "o.a list unknown-key"),
        ({"name": "x", "where": "there"}, "o.where unknown-key"),
        ({}, "o.name missing"),
        ([], "o wrong-type"),
        ("text", "o wrong-type"),
        ({"name": "x", "for": 2}, "o.for unit-missing"),
        ({"name": "x", "for": "0s"}, "o.for out-of-range"),
        ({"name": "x", "rate": "0B/s"}, "o.rate out-of-range"),
        ({"name": "x", "factor": 9}, "o.factor out-of-range"),
        ({"name": "x", "factor": 10**400}, "o.factor out-of-range"),
        ({"name": "x", "factor": float("nan")}, "o.factor wrong-type"),
        ({"name": "x", "factor": float("inf")}, "o.factor out-of-range"),
        ({"name": "x", "factor": True}, "o.factor wrong-type"),
        ({"name": "x", "times": 1.5}, "o.times wrong-type"),
        ({"name": "x", "times": False}, "o.times wrong-type"),
        ({"name": "x", "times": 101}, "o.times out-of-range"),
        ({"name": "x", "on": "yes"}, "o.on wrong-type"),
        (
            {"name": "x", "shape": "Sinus"},
            "o.shape unknown-value",
        ),
        ({"name": "x", "shape": ["sine"]}, "o.shape unknown-value"),
        ({"name": "\ud800"}, "o.name malformed"),
        ({"name": "x", "inner": {}}, "o.inner.size missing"),
        ({"name": "x", "inner": {"size": "0B"}}, "o.inner.size out-of-range"),
        ({"name": "x", "many": "1s"}, "o.many wrong-type"),
        ({"name": "x", "many": ["1s", 2]}, "o.many.1 unit-missing"),
        ({"name": "x", "named": []}, "o.named wrong-type"),
        ({"name": "x", "named": {1: {}}}, "o.named.1 wrong-type"),
        ({"name": "x", "named": {"a": {"size": 1}}}, "o.named.a.size unit-missing"),
    ],
)
def test_a_mistake_is_named(data: object, problem: str) -> None:
    assert read(data) == (None, [problem])


def test_every_mistake_is_noted() -> None:
    _, found = read({"for": 1, "rate": 2, "inner": {"size": 3, "x": 4}, "many": [5, 6]})
    assert found == [
        "o.for unit-missing",
        "o.rate unit-missing",
        "o.inner.size unit-missing",
        "o.inner.x unknown-key",
        "o.many.0 unit-missing",
        "o.many.1 unit-missing",
        "o.name missing",
    ]


def test_a_long_value_or_key_is_not_repeated_whole() -> None:
    for data in ({"name": "x", "for": "y" * 10**6}, {"name": "x", "y" * 10**6: 1}, {"name": "x", "shape": "y" * 10**6}):
        (line,) = messages(data)
        assert len(line) < 400
        assert "(1000000 characters)" in line


def test_a_line_stays_a_line() -> None:
    (line,) = messages({"name": "x", "a\nb\x1b[31m": 1})
    assert line.isprintable()


def test_mistakes_without_end_are_counted() -> None:
    problems = Problems()
    read_struct(Outer, {"name": "x"} | {f"key{n}": n for n in range(Problems.LIMIT + 5)}, problems)
    found = list(problems)
    assert len(problems) == Problems.LIMIT + 5
    assert len(found) == Problems.LIMIT + 1
    assert found[-1].code == "more-problems"
    with pytest.raises(InvalidInput) as caught:
        problems.raise_if_any()
    assert caught.value.problems == tuple(found)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(ANYTHING | st.dictionaries(st.sampled_from(sorted(FULL)), ANYTHING))
def test_any_data_is_a_struct_or_problems(data: object) -> None:
    outer, found = read(data)
    assert (outer is None) == bool(found)
    assert all("; " in line for line in messages(data)), "each says what would be right"


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(FULL)), ANYTHING))
def test_what_fits_the_schema_is_read(changes: dict[str, object]) -> None:
    data = FULL | changes
    if jsonschema.Draft202012Validator(struct_schema(Outer)).is_valid(data):
        codes = {line.split(" ")[-1] for line in read(data)[1]}
        assert codes <= {"malformed", "out-of-range", "too-large"}, "a schema cannot say everything"


def test_the_schema_of_a_struct() -> None:
    schema = struct_schema(Inner)
    assert schema["required"] == ["size"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["size"]["description"] == "how much"
    assert jsonschema.Draft202012Validator(struct_schema(Outer)).is_valid(FULL)
