"""`key=value` words become what YAML would have given."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from chaosproxy.cli.assignments import read_assignments
from chaosproxy.declare import (
    Duration,
    Flag,
    ListOf,
    MapOf,
    Number,
    Problems,
    Share,
    Struct,
    Text,
    Whole,
    param,
    params_of,
)
from tests.refused import places


@dataclass(frozen=True)
class Inner:
    shape: str = param(Text(), "shape", default="sine")
    steps: int = param(Whole(), "steps", default=1)


@dataclass(frozen=True)
class Everything:
    delay: float = param(Duration(), "a duration")
    share: float = param(Share(), "a share", default=0.0)
    nth: int = param(Whole(minimum=1), "a whole number", default=1)
    factor: float = param(Number(), "a number", default=1.0)
    shared: bool = param(Flag(), "a flag", default=False)
    methods: tuple[str, ...] = param(ListOf(Text()), "a list", default=())
    sizes: tuple[int, ...] = param(ListOf(Whole()), "a list of numbers", default=())
    headers: dict[str, str] = param(MapOf(Text()), "a mapping", default=None)
    wave: Inner = param(Struct(Inner), "a struct", default=None)


def read(*words: str) -> tuple[dict[str, object], list[str]]:
    problems = Problems()
    found = read_assignments(words, params_of(Everything), problems)
    return found, places(problems)


@pytest.mark.parametrize(
    ("word", "plain"),
    [
        ("delay=100ms", {"delay": "100ms"}),
        ("delay=", {"delay": ""}),
        ("share=5%", {"share": "5%"}),
        ("share=0.05", {"share": "0.05"}),
        ("nth=3", {"nth": 3}),
        ("nth=three", {"nth": "three"}),
        ("factor=1.5", {"factor": 1.5}),
        ("shared=true", {"shared": True}),
        ("shared=No", {"shared": False}),
        ("shared=maybe", {"shared": "maybe"}),
        ("methods=GET,POST", {"methods": ["GET", "POST"]}),
        ("methods=", {"methods": []}),
        ("sizes=1, 2", {"sizes": [1, 2]}),
        ("headers.x-tenant=a=b", {"headers": {"x-tenant": "a=b"}}),
        ("wave.shape=square", {"wave": {"shape": "square"}}),
        ("wave.steps=4", {"wave": {"steps": 4}}),
    ],
)
def test_each_value_is_typed_as_its_kind_asks(word: str, plain: dict[str, object]) -> None:
    assert read(word) == (plain, [])


def test_parts_of_a_nested_mapping_come_together() -> None:
    assert read("wave.shape=saw", "delay=1s", "wave.steps=2") == (
        {"wave": {"shape": "saw", "steps": 2}, "delay": "1s"},
        [],
    )


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("dely=1s", "dely unknown-key"),
        ("wave.shap=saw", "wave.shap unknown-key"),
        ("wave=saw", "wave wrong-type"),
        ("headers=x", "headers wrong-type"),
        ("delay.mean=1s", "delay.mean unknown-key"),
        ("delay", "malformed"),
        ("=1s", "malformed"),
    ],
)
def test_a_word_that_is_wrong_is_refused(word: str, problem: str) -> None:
    assert read(word) == ({}, [problem])


def test_all_problems_are_told_and_a_repeated_word_is_one() -> None:
    found, problems = read("x=1", "delay=1s", "delay=2s", "y")
    assert found == {"delay": "1s"}
    assert problems == ["x unknown-key", "delay duplicate", "malformed"]
