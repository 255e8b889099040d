"""Read plain data into a struct, or collect every Problem; write a struct back to plain data.

`read_struct` walks through a mapping with the parameters of a struct (declare.params). Each parameter has a
Kind (declare.kinds), which reads one value or raises BadValue; this module adds the path to it. Lists, maps
and structs are read here, since their items have paths of their own. All problems are noted in one
`Problems`, so a file or a request is told everything at once, up to a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from chaosproxy.declare.foreign import bare_hint, key_hint
from chaosproxy.declare.kinds import Kind, ListOf, MapOf, Struct, too_many
from chaosproxy.declare.params import Param, params_of
from chaosproxy.declare.rules import rules_schema
from chaosproxy.errors import MOST_PROBLEMS, BadValue, Code, InvalidInput, Path, Problem, more_problems, shown

__all__ = ["Problems", "read_struct", "struct_schema", "write_struct", "write_value"]

S = TypeVar("S")
_WRONG = object()


class Problems:
    """Collect all problems of an input, so that the user sees every one and not only the first.

    After `limit` problems the rest are only counted: hostile input can be wrong in any number of places.
    """

    LIMIT = MOST_PROBLEMS

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._found: list[Problem] = []
        self._more = 0

    def __len__(self) -> int:
        return len(self._found) + self._more

    def __iter__(self) -> Iterator[Problem]:
        yield from self._found
        if self._more:
            yield more_problems(self._more, self._found[-1])

    @property
    def full(self) -> bool:
        return len(self._found) >= self._limit

    def add(self, path: Path, code: Code, message: str, *, at_key: bool = False) -> None:
        """Note a problem; `at_key` if the last key of the path is wrong, not the value under it."""
        if self.full:
            self._more += 1
        else:
            self._found.append(Problem(path, code, message, at_key))

    def extend(self, problems: Iterable[Problem], under: Path = ()) -> None:
        """Note several problems, with the path of the document that encloses theirs."""
        for one in problems:
            self.add((*under, *one.path), one.code, one.message, at_key=one.at_key)

    def raise_if_any(self) -> None:
        """
        :raises InvalidInput: with every problem found.
        """
        if self._found:
            raise InvalidInput(list(self))


def read_struct(
    struct: type[S],
    data: object,
    problems: Problems,
    path: Path = (),
    *,
    also_known: Iterable[str] = (),
    bare_hints: bool = False,
    **given: object,
) -> S | None:
    """Read a `struct` from a mapping; if anything is wrong, note every problem and return None.

    `also_known` are keys that another reader reads; they are suggested after an unknown key.
    `given` are fields that do not come from the data. An explicit null means the default.
    With `bare_hints`, the error for a number without a unit says what it means in another tool.
    """
    if not isinstance(data, Mapping):
        problems.add(path, "wrong-type", f"{shown(data)} is not a mapping; use one, such as {_example(struct)}")
        return None
    params = {param.name: param for param in params_of(struct)}
    before = len(problems)
    values = dict(given)
    for key, value in data.items():
        param = params.get(key) if isinstance(key, str) else None
        if param is None:
            if key not in also_known:
                _unknown(key, [*params, *also_known], problems, path)
        elif value is not None or param.required:
            values[param.attribute] = _read(param.kind, value, problems, (*path, param.name), bare_hints)
    for param in params.values():
        if param.required and param.name not in data:
            problems.add((*path, param.name), "missing", _missing(param))
    return struct(**values) if len(problems) == before else None


def _unknown(key: object, known: list[str], problems: Problems, path: Path) -> None:
    hint = "" if problems.full else key_hint(key, known)
    message = f"unknown key{hint}; known keys: {', '.join(known)}"
    problems.add((*path, _step(key)), "unknown-key", message, at_key=True)


def _missing(param: Param) -> str:
    if param.example:
        return f"is missing; add it, such as {param.name}: {param.example}"
    return f"is missing; add it: {param.meaning}"


def _example(struct: type[Any]) -> str:
    """Return a short mapping: the required parameters, or the first one with an example."""
    params = params_of(struct)
    some = [one for one in params if one.required] or [one for one in params if one.example][:1]
    pairs = [f"{one.name}: {one.example or '…'}" for one in some] or ["key: value"]
    return "{" + ", ".join(pairs) + "}"


def _step(key: object) -> str:
    return key if isinstance(key, str) else shown(key)


def _read(kind: Kind, value: object, problems: Problems, path: Path, bare_hints: bool = False) -> object:
    if isinstance(kind, Struct):
        return read_struct(kind.of, value, problems, path)
    if isinstance(kind, ListOf):
        return _read_list(kind, value, problems, path)
    if isinstance(kind, MapOf):
        return _read_map(kind, value, problems, path)
    try:
        return kind.read(value)
    except BadValue as bad:
        hint = bare_hint(kind, path[-1], value) if bare_hints and bad.code == "unit-missing" else ""
        return _note(bad, problems, path, hint)


def _note(bad: BadValue, problems: Problems, path: Path, hint: str = "") -> object:
    problems.add(path, bad.code, f"{bad}{hint}")
    return _WRONG


def _read_list(kind: ListOf, value: object, problems: Problems, path: Path) -> object:
    if not isinstance(value, list | tuple):
        problems.add(path, "wrong-type", f"{shown(value)} is not a list; use brackets, such as [first, second]")
        return _WRONG
    if len(value) > kind.most:
        return _note(too_many(len(value), kind.most), problems, path)
    return tuple(_read(kind.item, one, problems, (*path, index)) for index, one in enumerate(value))


def _read_map(kind: MapOf, value: object, problems: Problems, path: Path) -> object:
    if not isinstance(value, Mapping):
        problems.add(path, "wrong-type", f"{shown(value)} is not a mapping; use one, such as {{name: value}}")
        return _WRONG
    if len(value) > kind.most:
        return _note(too_many(len(value), kind.most), problems, path)
    if len(value) < kind.least:
        return _note(BadValue("no-effect", "is empty; remove it, or use {name: value}"), problems, path)
    read = {}
    for key, one in value.items():
        if not isinstance(key, str):
            problems.add((*path, _step(key)), "wrong-type", "the key is not text; put it in quotes", at_key=True)
            continue
        try:
            if kind.key is not None:
                kind.key.read(key)
        except BadValue as bad:
            problems.add((*path, key), bad.code, str(bad), at_key=True)
        read[key] = _read(kind.item, one, problems, (*path, key))
    return read


def write_struct(value: object) -> dict[str, Any]:
    """Return plain data that `read_struct` reads back as `value`, without default values. (Any: JSON.)"""
    written = {}
    for param in params_of(type(value)):
        one = getattr(value, param.attribute)
        if param.required or one != param.default:
            written[param.name] = write_value(param.kind, one)
    return written


def write_value(kind: Kind, value: Any) -> object:
    """Return plain data that `kind` reads back as `value`. (Any: the values of kinds have no common type.)"""
    if isinstance(kind, Struct):
        return write_struct(value)
    if isinstance(kind, ListOf):
        return [write_value(kind.item, one) for one in value]
    if isinstance(kind, MapOf):
        return {key: write_value(kind.item, one) for key, one in value.items()}
    return kind.write(value)


def struct_schema(struct: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the mapping that `read_struct` reads. (Any: JSON.)"""
    properties = {}
    for param in params_of(struct):
        properties[param.name] = {**_schema(param.kind), "description": param.meaning}
    required = [param.name for param in params_of(struct) if param.required]
    rules = rules_schema(getattr(struct, "rules", ()), params_of(struct))
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **rules}


def _schema(kind: Kind) -> dict[str, Any]:
    if isinstance(kind, Struct):
        return struct_schema(kind.of)
    if isinstance(kind, ListOf):
        unique = {"uniqueItems": True} if kind.unique else {}
        return {"type": "array", "items": _schema(kind.item), "maxItems": kind.most, **unique}
    if isinstance(kind, MapOf):
        least = {"minProperties": kind.least} if kind.least else {}
        names = {} if kind.key is None else {"propertyNames": kind.key.schema()}
        return {
            "type": "object", "additionalProperties": _schema(kind.item), "maxProperties": kind.most, **least, **names,
        }  # fmt: skip
    return kind.schema()
