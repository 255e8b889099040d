"""The description of /v1/events in the OpenAPI document: its parameters, and the schema of each kind of event.

The parameters of /v1/reactions, which come from the same events, are here too.

The schemas are made from the fields of the classes of events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from chaosproxy.declare import MOST_ITEMS
from chaosproxy.events import Event
from chaosproxy.journal.form import KINDS

__all__ = ["EVENT_PARAMETERS", "REACTION_PARAMETERS", "event_schemas"]

Json = dict[str, Any]  # Any: JSON

_PLAIN: dict[object, Json] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
}


def _repeated(name: str, items: Json, description: str) -> Json:
    schema = {"type": "array", "items": items, "maxItems": MOST_ITEMS}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


EVENT_PARAMETERS: tuple[Json, ...] = (
    _repeated("proxy", {"type": "string"}, "events of these proxies alone; some events have none, such as partitions'"),
    _repeated("kind", {"enum": sorted(KINDS)}, "events of these kinds alone, and `lagged`"),
    {
        "name": "since", "in": "query", "required": False, "schema": {"type": "string"},
        "description": "first send the kept events from that time on: a duration such as 10s, or a date (RFC 3339)",
    },
    {
        "name": "follow", "in": "query", "required": False,
        "schema": {"type": "string", "enum": ["true", "false"], "default": "true"},
        "description": "false: send the kept events, all of them without `since`, and end",
    },
    {
        "name": "Last-Event-ID", "in": "header", "required": False,
        "schema": {"type": "string", "pattern": "^[0-9]{0,19}$"},
        "description": "resume after the event with this id; `since` then has no effect",
    },
)  # fmt: skip

REACTION_PARAMETERS: tuple[Json, ...] = (
    _repeated("proxy", {"type": "string"}, "reactions on these proxies alone"),
    {
        "name": "since", "in": "query", "required": False, "schema": {"type": "string"},
        "description": "faults that were on since then: a duration such as 10s, or a date (RFC 3339)",
    },
)  # fmt: skip


def event_schemas() -> dict[str, Json]:
    """Return the components: the stream, the data of an event, and one for each kind."""
    names = {kind: f"{of.__name__}Event" for kind, of in KINDS.items()}
    references = {kind: f"#/components/schemas/{name}" for kind, name in names.items()}
    return {
        "EventStream": {
            "type": "string",
            "description": "Server-Sent Events (HTML standard, section 9.2). `id` is the number of the event, which "
            "rises by 1 over all events; `event` is its kind; `data` is an Event as JSON on one line.",
        },
        "Event": {
            "oneOf": [{"$ref": reference} for reference in references.values()],
            "discriminator": {"propertyName": "kind", "mapping": references},
        },
        **{names[kind]: _event(of) for kind, of in KINDS.items()},
    }


def _event(of: type[Event]) -> Json:
    """Return the schema of one kind. A later version may add fields."""
    hints = get_type_hints(of)
    known = {one.name: _schema(hints[one.name]) for one in fields(of) if one.name != "at"}
    properties = {"kind": {"const": of.kind}, "at": {"type": "string", "format": "date-time"}, **known}
    return {"type": "object", "description": _summary(of), "properties": properties, "required": list(properties)}


def _summary(of: type[Event]) -> str:
    return " ".join((of.__doc__ or "").partition("\n\n")[0].split())


def _schema(hint: object) -> Json:
    """Return the schema of the JSON that `journal.form` makes of a value of this type."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(one) for one in parts]}
    if origin is dict or origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(parts[1])}
    if origin is tuple and parts[-1] is ...:
        return {"type": "array", "items": _schema(parts[0])}
    if origin is tuple:
        items = [_schema(one) for one in parts]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    raise TypeError(f"the type {hint} of a field of an event has no schema; add it here")
