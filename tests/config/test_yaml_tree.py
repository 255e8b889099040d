"""Text to data and marks; and what plain scalars mean."""

from __future__ import annotations

import math

import pytest

from chaosproxy.config import yaml_tree
from chaosproxy.config.scalars import Scalar, resolve
from chaosproxy.config.yaml_tree import BadYaml, Tree, read_tree

TEXT = """\
version: 1
proxies:
  db:
    listen: 127.0.0.1:80
    ports: [1, &two 2,
      3]
  "on": {a: {b: c}}
list:
- x
-  - y
again: *two
"""


def tree(text: str = TEXT) -> Tree:
    return read_tree(text.encode(), str)


def test_data_is_plain() -> None:
    assert tree().root.data == {
        "version": 1,
        "proxies": {"db": {"listen": "127.0.0.1:80", "ports": [1, 2, 3]}, "on": {"a": {"b": "c"}}},
        "list": ["x", ["y"]],
        "again": 2,
    }
    assert tree().errors == []


@pytest.mark.parametrize(
    ("path", "value_at", "key_at"),
    [
        ((), (1, 1), (1, 1)),
        (("version",), (1, 10), (1, 1)),
        (("proxies",), (2, 1), (2, 1)),  # a block collection stands where its key does
        (("proxies", "db"), (3, 3), (3, 3)),
        (("proxies", "db", "listen"), (4, 13), (4, 5)),
        (("proxies", "db", "ports"), (5, 12), (5, 5)),
        (("proxies", "db", "ports", 2), (6, 7), (6, 7)),
        (("proxies", "on", "a", "b"), (7, 17), (7, 14)),
        (("list", 1, 0), (10, 6), (10, 6)),
        (("again",), (11, 8), (11, 1)),
    ],
)
def test_every_key_and_value_has_its_place(
    path: tuple[str | int, ...], value_at: tuple[int, int], key_at: tuple[int, int]
) -> None:
    node, mark = tree().find(path)
    assert node is not None
    assert (node.mark, mark) == (value_at, key_at)


def test_what_is_not_there_is_looked_for_where_it_should_be() -> None:
    assert tree().find(("proxies", "db", "upstream")) == (None, (3, 3))


def test_columns_count_characters() -> None:
    assert tree('{"ключ": 1, b: 2}').find(("b",))[1] == (1, 13)


def test_explicit_core_tags_are_kept_to() -> None:
    assert tree('[!!str 1, !!int "2", !!float 3, !!bool "true", !!null "", ! 5]').root.data == [
        "1",
        2,
        3,
        True,
        None,
        "5",
    ]
    assert tree("!!map {a: !!seq [1]}").root.data == {"a": [1]}


@pytest.mark.parametrize(
    "text", ["!!binary aGk=", "!!set {a}", "!!timestamp 2024-01-01", "!!python/none x", "!!seq {a: 1}"]
)
def test_other_tags_are_refused(text: str) -> None:
    (error,) = tree("a: " + text).errors
    assert error.code == "unsupported-yaml"


def test_values_are_bounded_with_aliases_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_tree, "MOST_NODES", 21)
    text = "a: &a [1, 2, 3, 4, 5]\nb: [*a, *a]\n"  # 1 + 2 keys + 6 + 1 + 2 * 6 = 22
    with pytest.raises(BadYaml) as caught:
        tree(text)
    assert [(one.mark, one.code) for one in caught.value.errors] == [((2, 9), "too-large")]
    monkeypatch.setattr(yaml_tree, "MOST_NODES", 22)
    assert tree(text).root.data == {"a": [1, 2, 3, 4, 5], "b": [[1, 2, 3, 4, 5]] * 2}


def test_nesting_is_bounded() -> None:
    deepest = yaml_tree.DEEPEST
    assert tree("[" * deepest + "]" * deepest).errors == []
    with pytest.raises(BadYaml) as caught:
        tree("[" * (deepest + 1) + "]" * (deepest + 1))
    assert [one.code for one in caught.value.errors] == ["too-large"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("NULL", None), ("nUll", "nUll"),
        ("true", True), ("False", False), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("0", 0), ("-12", -12), ("+3", 3), ("007", 7), ("0o17", 15), ("0xfF", 255), ("1_000", "1_000"),
        ("12:30", "12:30"), ("0b1", "0b1"), ("٣", "٣"),
        ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("-1.5E-3", -0.0015), ("1.2.3", "1.2.3"), (".", "."),
        (".inf", math.inf), ("-.Inf", -math.inf), ("inf", "inf"), ("nan", "nan"),
        ("2024-01-01", "2024-01-01"), ("10ms", "10ms"), ("5%", "5%"), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, value: Scalar) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_not_a_number_is_a_float() -> None:
    number = resolve(".nan")
    assert isinstance(number, float)
    assert math.isnan(number)
