"""Rules across the parameters of a struct: one table that is checked, and that JSON Schema describes.

A Rule says which conditions may not hold together, such as `Set("correlation")` and `Not(Set("jitter"))`, and has
the problem to report. `broken` yields the problems of values; `rules_schema` describes the same rules. So neither
can say something that the other does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, cast

from chaosproxy.declare.params import Param, params_of
from chaosproxy.errors import Code, Path, Problem

__all__ = [
    "Condition", "Given", "HasGiven", "HasOne", "Is", "Not", "Rule", "Set", "broken", "broken_rules", "rules_schema",
    "values_of",
]  # fmt: skip

Json: TypeAlias = dict[str, Any]  # Any: JSON
Values: TypeAlias = Mapping[str, object]
"""The value of each parameter, by its name."""
Params: TypeAlias = Mapping[str, Param]
_NULL: Json = {"type": "null"}


class Condition(Protocol):
    """A condition on one parameter. An absent one and null have the default."""

    def holds(self, values: Values) -> bool: ...
    def schema(self, params: Params, holds: bool) -> Json:
        """Return the schema of the mappings for which it holds, or for which it does not."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """The parameter has a value; its default is None."""

    name: str

    def holds(self, values: Values) -> bool:
        return values[self.name] is not None

    def schema(self, params: Params, holds: bool) -> Json:
        return _with(self.name, {"not": _NULL}) if holds else _if_there(self.name, _NULL)


@dataclass(frozen=True, slots=True)
class HasGiven:
    """The parameter is a mapping whose `key` has a value; its default is None."""

    name: str
    key: str

    def holds(self, values: Values) -> bool:
        return getattr(values[self.name], self.key, None) is not None

    def schema(self, params: Params, holds: bool) -> Json:
        if holds:
            return _with(self.name, {"type": "object", **_with(self.key, {"not": _NULL})})
        return _if_there(self.name, _if_there(self.key, _NULL))


@dataclass(frozen=True, slots=True)
class Set:
    """The parameter has a value other than zero, false and empty; its default is None or one of these."""

    name: str

    def holds(self, values: Values) -> bool:
        return bool(values[self.name])

    def schema(self, params: Params, holds: bool) -> Json:
        nothing = {"anyOf": [_NULL, *params[self.name].kind.nothing()]}
        return _with(self.name, {"not": nothing}) if holds else _if_there(self.name, nothing)


@dataclass(frozen=True, slots=True)
class HasOne:
    """The parameter is a list of a single item; its default is empty."""

    name: str

    def holds(self, values: Values) -> bool:
        return len(cast(Sized, values[self.name])) == 1

    def schema(self, params: Params, holds: bool) -> Json:
        one = {"type": "array", "minItems": 1, "maxItems": 1}
        return _with(self.name, one) if holds else _if_there(self.name, {"not": one})


@dataclass(frozen=True, slots=True, init=False)
class Is:
    """The parameter has one of these values, which JSON writes in one way."""

    name: str
    values: tuple[object, ...]

    def __init__(self, name: str, *values: object) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "values", values)

    def holds(self, values: Values) -> bool:
        return values[self.name] in self.values

    def schema(self, params: Params, holds: bool) -> Json:
        by_default = params[self.name].default in self.values
        values: Json = {"enum": [*self.values, *([None] if by_default else [])]}
        value = values if holds else {"not": values}
        return _if_there(self.name, value) if holds == by_default else _with(self.name, value)


@dataclass(frozen=True, slots=True)
class Not:
    """The other condition does not hold."""

    other: Condition

    def holds(self, values: Values) -> bool:
        return not self.other.holds(values)

    def schema(self, params: Params, holds: bool) -> Json:
        return self.other.schema(params, not holds)


@dataclass(frozen=True, slots=True, init=False)
class Rule:
    """Conditions of which at least one may not hold, and the problem if all do."""

    problem: Problem
    conditions: tuple[Condition, ...]

    def __init__(
        self, path: Path, code: Code, message: str, *conditions: Condition, at_key: bool = False
    ) -> None:
        object.__setattr__(self, "problem", Problem(path, code, message, at_key))
        object.__setattr__(self, "conditions", conditions)


class Ruled(Protocol):
    """A struct with rules."""

    rules: ClassVar[tuple[Rule, ...]]


def broken_rules(struct: Ruled) -> Iterator[Problem]:
    """Yield the problems of a struct's own rules."""
    return broken(struct.rules, values_of(struct))


def values_of(struct: object) -> dict[str, object]:
    """Return the value of each parameter of a struct."""
    return {param.name: getattr(struct, param.attribute) for param in params_of(type(struct))}


def broken(rules: Iterable[Rule], values: Values) -> Iterator[Problem]:
    """Yield the problem of each rule that the values break."""
    return (rule.problem for rule in rules if all(one.holds(values) for one in rule.conditions))


def rules_schema(rules: Iterable[Rule], params: Iterable[Param]) -> Json:
    """Return what the rules add to the JSON Schema of a mapping with these parameters; nothing for no rules."""
    by_name = {param.name: param for param in params}
    ways = [[one.schema(by_name, False) for one in rule.conditions] for rule in rules]
    return {"allOf": [one[0] if len(one) == 1 else {"anyOf": one} for one in ways]} if ways else {}


def _with(name: str, value: Json) -> Json:
    return {"required": [name], "properties": {name: value}}


def _if_there(name: str, value: Json) -> Json:
    return {"properties": {name: value}}
