"""The JSON Schema (2020-12) of the configuration file, for editors; made from the declarations alone."""

from __future__ import annotations

from typing import Any

from chaosproxy.declare import struct_schema
from chaosproxy.faults.base import Fault
from chaosproxy.model import Config, PartitionSpec, ProxySpec
from chaosproxy.model.fault import placement_schema
from chaosproxy.model.proxy import MOST_FAULTS
from chaosproxy.model.settings import MOST_PARTITIONS, MOST_PROXIES, VERSION
from chaosproxy.model.types import FAULT_TYPES

__all__ = ["config_schema"]

Json = dict[str, Any]  # Any: JSON

_REFERENCE = {"$ref": "#/$defs/reference"}


def config_schema() -> Json:
    """Return a schema that accepts an environment reference in place of any value."""
    config = struct_schema(Config)
    proxy = struct_schema(ProxySpec)
    proxy["properties"]["faults"] = {
        "description": "faults by name, applied in this order",
        **_by_name({"$ref": "#/$defs/fault"}),
        "maxProperties": MOST_FAULTS,
    }
    properties = {
        "version": {"const": VERSION, "description": "version of the file format"},
        **_with_references(config["properties"]),
        "proxies": {
            "description": "proxies by name", **_by_name({"$ref": "#/$defs/proxy"}), "maxProperties": MOST_PROXIES,
        },
        "partitions": {
            "description": "partitions by id",
            **_by_name({"$ref": "#/$defs/partition"}),
            "maxProperties": MOST_PARTITIONS,
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:chaosproxy:config:1",
        "title": "chaosproxy configuration",
        "type": "object",
        "properties": properties,
        "required": ["version"],
        "additionalProperties": False,
        "$defs": {
            "reference": {
                "type": "string",
                "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:[-?][^}]*)?\}",
                "description": "an environment reference: ${NAME}, ${NAME:-default} or ${NAME:?message}",
            },
            "proxy": _with_references(proxy),
            "partition": _with_references(struct_schema(PartitionSpec)),
            "fault": _fault(),
            **{f"fault-{name}": _with_references(_fault_type(fault)) for name, fault in FAULT_TYPES.items()},
        },
    }


def _fault() -> Json:
    """Return the schema of a fault. It uses `if` and `then`, so that an editor reports errors for one type only."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": list(FAULT_TYPES)}},
        "allOf": [
            {"if": {"properties": {"type": {"const": name}}}, "then": {"$ref": f"#/$defs/fault-{name}"}}
            for name in FAULT_TYPES
        ],
    }


def _fault_type(fault: type[Fault]) -> Json:
    schema = struct_schema(fault)
    kind = {"const": fault.type, "description": fault.summary}
    return {
        **schema,
        "description": fault.models,
        "properties": {"type": kind, **placement_schema(fault), **schema["properties"]},
        "required": ["type", *schema["required"]],
    }


def _by_name(item: Json) -> Json:
    return {"type": "object", "propertyNames": {"minLength": 1}, "additionalProperties": item}


def _with_references(schema: Any) -> Any:
    """Return the schema with a reference allowed in place of every number, flag, word or patterned text."""
    if isinstance(schema, list):
        return [_with_references(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if _is_leaf(schema):
        description = {"description": schema["description"]} if "description" in schema else {}
        rest = {key: value for key, value in schema.items() if key != "description"}
        return {**description, "anyOf": [rest, _REFERENCE]}
    # Rules across keys are left to the reader, since a reference may stand for any value.
    return {key: _with_references(value) for key, value in schema.items() if key != "allOf"}


def _is_leaf(schema: Json) -> bool:
    return "const" not in schema and (
        schema.get("type") in ("number", "integer", "boolean")
        or "enum" in schema
        or "anyOf" in schema
        or (schema.get("type") == "string" and "pattern" in schema)
    )
