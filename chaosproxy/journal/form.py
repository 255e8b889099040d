"""An event as a mapping of JSON values, or as a tuple, and back. Pure.

The fields of an event keep their names. `kind` is added, and the time `at` is left to the caller: the journal and
the event stream write it differently.

A journal of another version is read as far as it is understood: an event of an unknown kind is left out, and so is
an unknown field. A missing field gets its default, and without one the event is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

from chaosproxy.events import Event

__all__ = ["KINDS", "Packed", "event_of", "pack", "unpack", "values_of"]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_INT_KEYS = {"felt", "service"}
"""Fields of `TurnsCounted` whose keys are numbers, which JSON spells as strings."""


def _kinds(of: type[Event]) -> Iterator[type[Event]]:
    for kind in of.__subclasses__():
        if kind.kind != Event.kind:
            yield kind
        yield from _kinds(kind)


KINDS: dict[str, type[Event]] = {kind.kind: kind for kind in _kinds(Event)}
"""Every kind of event, by name."""


_NAMES = {kind: tuple(one.name for one in fields(kind) if one.name != "at") for kind in KINDS.values()}


Packed = tuple[Any, ...]  # Any: the values of an event's fields
"""The kind and the values of an event. In contrast to the event, the garbage collector does not have to look at it."""

_FIELDS = {kind: tuple(one.name for one in fields(kind)) for kind in KINDS.values()}
_PACK = {kind: attrgetter("kind", *names) for kind, names in _FIELDS.items()}


def pack(event: Event) -> Packed:
    """Return an event as a tuple."""
    packed: Packed = _PACK[type(event)](event)
    return packed


def unpack(packed: Packed) -> Event:
    """Return the event that `pack` has made a tuple of."""
    kind = KINDS[packed[0]]
    return kind(**dict(zip(_FIELDS[kind], packed[1:], strict=True)))


def values_of(event: Event) -> dict[str, Json]:
    """Return `kind` and the fields of an event, without `at`."""
    return {"kind": event.kind, **{name: _json(getattr(event, name)) for name in _NAMES[type(event)]}}


def _json(value: object) -> Json:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): _json(one) for key, one in value.items()}
        case tuple() | list():
            return [_json(one) for one in value]
    raise TypeError(f"an event has the value {value!r}, which JSON cannot spell")


def event_of(values: Mapping[str, object], at: float) -> Event | None:
    """Return the event with these values; None if this version does not know its kind, or lacks a field of it."""
    kind = KINDS.get(str(values.get("kind")))
    if kind is None:
        return None
    known: dict[str, Any] = {name: _python(name, values[name]) for name in _NAMES[kind] if name in values}
    try:
        return kind(at=at, **known)  # its types are not checked: the writer was this program
    except TypeError:
        return None


def _python(name: str, value: object) -> object:
    if name in _INT_KEYS and isinstance(value, dict):
        return {int(key): one for key, one in value.items()}
    if isinstance(value, dict):
        return {key: _python("", one) for key, one in value.items()}
    return tuple(value) if isinstance(value, list) else value
