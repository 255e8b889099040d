"""JSON Schema (2020-12) of every body the API takes or gives, from the declarations themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chaosproxy.declare import struct_schema
from chaosproxy.faults import FAULT_TYPES
from chaosproxy.model import Placement, ProxySpec

__all__ = ["Json", "components", "fault_schema", "reference"]

Json = dict[str, Any]  # Any: JSON

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
SECONDS: Json = {"type": "number", "minimum": 0}
NAME: Json = {"type": "string", "minLength": 1, "maxLength": 100}


def reference(name: str) -> Json:
    """A reference to one of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def components() -> dict[str, Json]:
    """Every named schema."""
    return {
        "Proxy": _proxy(required=("name", "listen", "upstream")),
        "ProxyPatch": _proxy(required=()),
        "ProxyList": _object(proxies=_list(reference("Proxy"))),
        "Fault": {
            "oneOf": [reference(_title(kind)) for kind in FAULT_TYPES],
            "discriminator": {
                "propertyName": "type",
                "mapping": {kind: reference(_title(kind))["$ref"] for kind in FAULT_TYPES},
            },
        },
        "FaultList": _object(faults=_list(reference("Fault"))),
        **{_title(kind): fault_schema(kind) for kind in FAULT_TYPES},
        "FaultTypeList": _object(
            fault_types=_list(
                _object(type=TEXT, depth=TEXT, summary=TEXT, models=TEXT, example=TEXT, schema={"type": "object"})
            )
        ),
        "HealRequest": {
            "type": "object",
            "properties": {"proxy": _nullable(TEXT), "fault": _nullable(TEXT)},
            "additionalProperties": False,
        },
        "HealAnswer": _object(removed=_list(_object(proxy=TEXT, fault=TEXT, type=TEXT))),
        "Connection": _object(
            id=TEXT, proxy=TEXT, ordinal=COUNT, client=TEXT, open_for_s=SECONDS,
            bytes_upstream=COUNT, bytes_downstream=COUNT,
        ),
        "ConnectionList": _object(connections=_list(reference("Connection"))),
        "Status": _object(
            version=TEXT, seed={"type": "integer"}, uptime_s=SECONDS, loop=TEXT, connections=COUNT, faults=COUNT,
            proxies=_list(
                _object(
                    name=TEXT, protocol=TEXT, listen=TEXT, listening_on=_list(TEXT), upstream=TEXT,
                    enabled={"type": "boolean"}, connections=COUNT, faults=_list(reference("Fault")),
                    bytes_upstream=COUNT, bytes_downstream=COUNT,
                )
            ),
        ),
        "Health": _object(status=TEXT),
        "Readiness": _object(status=TEXT, waiting_for=_list(TEXT)),
        "Problem": {
            "type": "object",
            "description": "RFC 9457 problem details; `errors` names the fields that are wrong",
            "properties": {
                "type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT,
                "errors": _list(_object(path=TEXT, message=TEXT)),
            },
            "required": ["type", "title", "status", "detail"],
        },
    }  # fmt: skip


def fault_schema(kind: str) -> Json:
    """A fault of one type: its placement and parameters side by side."""
    parameters, placement = struct_schema(FAULT_TYPES[kind]), struct_schema(Placement)
    properties = {
        "type": {"const": kind},
        "name": NAME,
        **{name: _nullable(schema) for name, schema in placement["properties"].items()},
        **_optional_nullable(parameters),
    }
    required = ["type", *parameters["required"]]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _proxy(required: Iterable[str]) -> Json:
    faults = [_list(reference("Fault")), {"type": "object", "additionalProperties": reference("Fault")}]
    if not required:  # in a merge patch a fault may be given in part, and null removes it
        faults[1] = {"type": "object", "additionalProperties": {"type": ["object", "null"]}}
    properties = {
        "name": NAME,
        **_optional_nullable(struct_schema(ProxySpec)),
        "connections": {**COUNT, "readOnly": True},
        "faults": {"anyOf": [*faults, {"type": "null"}]},
    }
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _optional_nullable(struct: Json) -> Json:
    """A struct's properties, where null stands for the default."""
    required = struct["required"]
    return {name: one if name in required else _nullable(one) for name, one in struct["properties"].items()}


def _nullable(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _object(**properties: Json) -> Json:
    """An object that has all these properties and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _title(kind: str) -> str:
    """`slow_close` → `SlowCloseFault`."""
    return "".join(word.capitalize() for word in kind.split("_")) + "Fault"
