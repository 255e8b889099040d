"""Read `key=value` words of the command line as the plain data that YAML would give. Pure.

A shell passes text only, so each value is converted to the type that its declared kind
expects: `nth=3` becomes a number, `shared=true` a boolean, `delay=100ms` stays text. A dot
leads into a nested mapping: `wave.shape=sine`. The values are not validated here, but by the
reader that YAML and REST use too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from chaosproxy.declare import (
    Flag,
    Kind,
    ListOf,
    MapOf,
    Number,
    Param,
    Problems,
    Struct,
    TextOrJson,
    Whole,
    key_hint,
    params_of,
)
from chaosproxy.errors import Path
from chaosproxy.http.patterns import OneOrMore, Wanted

__all__ = ["read_assignments"]


def read_assignments(words: Iterable[str], params: Iterable[Param], problems: Problems) -> dict[str, Any]:
    """Return the mapping that the words spell, and note every problem. (Any: JSON.)"""
    known = {param.name: param.kind for param in params}
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            problems.add((), "malformed", f"{word!r} is not an assignment; use key=value{_such_as(known)}")
            continue
        path = tuple(key.split("."))
        kind = _kind_at(path, known, problems)
        if kind is not None:
            _place(found, path, _plain(kind, text), problems)
    return found


def _such_as(known: Mapping[str, Kind]) -> str:
    return f" with one of: {', '.join(known)}" if known else ", for a type that has parameters"


def _kind_at(path: tuple[str, ...], known: Mapping[str, Kind], problems: Problems) -> Kind | None:
    """Return the declared kind at `path`; if there is none, note the problem and return None."""
    head, *rest = path
    if head not in known:
        exists = f"known: {', '.join(known)}" if known else "there are no parameters"
        problems.add(path, "unknown-key", f"unknown parameter{key_hint(head, known)}; {exists}")
        return None
    kind = known[head]
    for depth, name in enumerate(rest, start=1):
        match kind:
            case Struct(of):
                inner = {param.name: param.kind for param in params_of(of)}
                if name not in inner:
                    message = f"unknown parameter{key_hint(name, inner)}; known: {', '.join(inner)}"
                    problems.add(path, "unknown-key", message)
                    return None
                kind = inner[name]
            case MapOf(item):
                kind = item
            case _:
                whole = ".".join(path[:depth])
                problems.add(path, "unknown-key", f"{whole} has no parts; use {whole}=value")
                return None
    if isinstance(kind, Struct):
        names = ", ".join(f"{'.'.join(path)}.{param.name}=…" for param in params_of(kind.of))
        problems.add(path, "wrong-type", f"is a mapping; use its parts: {names}")
        return None
    if isinstance(kind, MapOf):
        problems.add(path, "wrong-type", f"is a mapping; use its entries: {'.'.join(path)}.NAME=value")
        return None
    return kind


def _plain(kind: Kind, text: str) -> object:
    """Convert `text` as YAML would for `kind`; text that does not fit stays text, and the reader refuses it."""
    match kind:
        case Flag():
            return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(
                text.lower(), text
            )
        case Whole():
            return _number(int, text)
        case Number():
            return _number(float, text)
        case ListOf(item) | OneOrMore(item):
            return [_plain(item, one.strip()) for one in text.split(",")] if text else []
        case Wanted():
            return {"true": True, "false": False}.get(text, text)
        case TextOrJson():
            return _json(text)
        case _:
            return text


def _json(text: str) -> object:
    """Return the mapping or list that the text spells, else the text itself."""
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text


def _number(number: type[int] | type[float], text: str) -> object:
    try:
        return number(text)
    except ValueError:
        return text


def _place(found: dict[str, Any], path: Path, value: object, problems: Problems) -> None:
    *parents, last = (str(part) for part in path)
    for parent in parents:
        found = found.setdefault(parent, {})
    if last in found:
        problems.add(path, "duplicate", "is given twice; remove one")
        return
    found[last] = value
