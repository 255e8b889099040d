"""Plain data in, a struct or every Problem out; and back to plain data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from chaosproxy.declare.kinds import Kind, ListOf, MapOf, Struct
from chaosproxy.declare.params import params_of
from chaosproxy.errors import InvalidInput, Path, Problem

__all__ = ["Problems", "nearest", "read_struct", "struct_schema", "write_struct"]

S = TypeVar("S")
_WRONG = object()


class Problems:
    """Collects everything that is wrong, so that all of it is shown and not the first alone."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def add(self, path: Path, message: str) -> None:
        self._found.append(Problem(path, message))

    def raise_if_any(self) -> None:
        """
        :raises InvalidInput: with every problem found.
        """
        if self._found:
            raise InvalidInput(self._found)


def nearest(given: object, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` when a known word is near, else nothing."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6) if isinstance(given, str) else []
    return f" (did you mean {close[0]!r}?)" if close else ""


def read_struct(
    struct: type[S],
    data: object,
    problems: Problems,
    path: Path = (),
    *,
    also_known: Iterable[str] = (),
    **given: object,
) -> S | None:
    """A `struct` from a mapping; None, and every problem noted, if anything is wrong.

    `also_known` are keys somebody else reads, for the suggestion after an unknown key;
    `given` are fields that do not come from the data.
    """
    if not isinstance(data, Mapping):
        problems.add(path, f"{data!r} is not a mapping; give one")
        return None
    params = {param.name: param for param in params_of(struct)}
    before = len(problems)
    values = dict(given)
    for key, value in data.items():
        if key not in params:
            if key not in also_known:
                known = [*params, *also_known]
                problems.add((*path, key), f"unknown key{nearest(key, known)}; known keys: {', '.join(known)}")
            continue
        param = params[key]
        if value is None and not param.required:
            continue  # an explicit null means the default
        values[param.attribute] = _read(param.kind, value, problems, (*path, key))
    for param in params.values():
        if param.required and param.name not in data:
            hint = f", such as {param.name}: {param.example}" if param.example else ""
            problems.add(path, f"{param.name} is missing; give the {param.meaning}{hint}")
    return struct(**values) if len(problems) == before else None


def _read(kind: Kind, value: object, problems: Problems, path: Path) -> object:
    if isinstance(kind, Struct):
        return read_struct(kind.of, value, problems, path)
    if isinstance(kind, ListOf):
        if not isinstance(value, list | tuple):
            problems.add(path, f"{value!r} is not a list; give one, such as [{'…'}]")
            return _WRONG
        return tuple(_read(kind.item, one, problems, (*path, index)) for index, one in enumerate(value))
    if isinstance(kind, MapOf):
        if not isinstance(value, Mapping):
            problems.add(path, f"{value!r} is not a mapping; give one")
            return _WRONG
        return {str(key): _read(kind.item, one, problems, (*path, key)) for key, one in value.items()}
    try:
        return kind.read(value)
    except ValueError as error:
        problems.add(path, str(error))
        return _WRONG


def write_struct(value: object) -> dict[str, Any]:
    """Plain data that `read_struct` reads back as `value`, without what is default. (Any: JSON.)"""
    written = {}
    for param in params_of(type(value)):
        one = getattr(value, param.attribute)
        if param.required or one != param.default:
            written[param.name] = _write(param.kind, one)
    return written


def _write(kind: Kind, value: Any) -> object:
    if isinstance(kind, Struct):
        return write_struct(value)
    if isinstance(kind, ListOf):
        return [_write(kind.item, one) for one in value]
    if isinstance(kind, MapOf):
        return {key: _write(kind.item, one) for key, one in value.items()}
    return kind.write(value)


def struct_schema(struct: type[Any]) -> dict[str, Any]:
    """JSON Schema (2020-12) of the mapping that `read_struct` reads. (Any: JSON.)"""
    properties = {}
    for param in params_of(struct):
        schema = {**_schema(param.kind), "description": param.meaning}
        properties[param.name] = schema
    required = [param.name for param in params_of(struct) if param.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema(kind: Kind) -> dict[str, Any]:
    if isinstance(kind, Struct):
        return struct_schema(kind.of)
    if isinstance(kind, ListOf):
        return {"type": "array", "items": _schema(kind.item)}
    if isinstance(kind, MapOf):
        return {"type": "object", "additionalProperties": _schema(kind.item)}
    return kind.schema()
