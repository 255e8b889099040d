"""The schemas of leases, and the parameter of the requests that make something under one."""

from __future__ import annotations

from typing import Any

from chaosproxy.control.v1.leases import LEASE_HEADER, MOST_SHOWN, READ_ONLY_OF_LEASE, LeaseRenewal, LeaseRequest
from chaosproxy.declare import struct_schema

__all__ = ["LEASE_PARAMETER", "lease_schemas"]

Json = dict[str, Any]  # Any: JSON

LEASE_PARAMETER: tuple[Json, ...] = (
    {
        "name": LEASE_HEADER, "in": "header", "required": False, "schema": {"type": "string"},
        "description": "the id of a lease: what this request makes is removed when the lease ends",
    },
)  # fmt: skip
_TEXT: Json = {"type": "string"}


def lease_schemas() -> dict[str, Json]:
    """Return the components."""
    held = {
        "type": "object", "properties": {"proxy": _TEXT, "fault": _TEXT}, "required": ["proxy", "fault"],
        "additionalProperties": False,
    }  # fmt: skip
    lease: Json = {
        "id": _TEXT,
        "ttl": struct_schema(LeaseRequest)["properties"]["ttl"],
        "by": _TEXT,
        "expires_in_s": {"type": "number", "minimum": 0},
        "faults": {"type": "array", "items": held, "maxItems": MOST_SHOWN},
        "faults_more": {"type": "integer", "minimum": 0},
        "partitions": {"type": "array", "items": _TEXT},
    }
    leases = {"type": "array", "items": {"$ref": "#/components/schemas/Lease"}}
    return {
        "LeaseRequest": _taken(struct_schema(LeaseRequest)),
        "LeaseRenewal": _taken(struct_schema(LeaseRenewal)),
        "Lease": _closed(lease, list(lease)),
        "LeaseList": _closed({"leases": leases, "next": _TEXT}, ["leases"]),
    }


def _closed(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _taken(struct: Json) -> Json:
    """Return the schema of a body in which the keys of a response are ignored, so that one can be sent back."""
    given = {
        name: one if name in struct["required"] else {"anyOf": [one, {"type": "null"}]}
        for name, one in struct["properties"].items()
    }
    return _closed({**given, **{name: {"readOnly": True} for name in READ_ONLY_OF_LEASE}}, struct["required"])
