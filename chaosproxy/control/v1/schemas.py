"""The JSON Schema (2020-12) of every request and response body, generated from the declarations.

`components` returns all schemas by name, and `control.v1.openapi` puts them into the document. The
settings of proxies, partitions and fault types come from the same declarations that parse them. All
other schemas are written here; those of responses describe the results of `control.v1.views`.

- A setting that is not required may be null, which stands for its default.
- Keys of a response that cannot be set are marked `readOnly`. They are accepted in a request and
  ignored, so that a response can be sent back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

from chaosproxy.control.limits import Source, Unit
from chaosproxy.control.selection import HEAL_ONE
from chaosproxy.declare import Duration, Param, Rule, Text, params_of, rules_schema, struct_schema
from chaosproxy.endings import How
from chaosproxy.errors import Code
from chaosproxy.events import Shape
from chaosproxy.faults.base import Fault
from chaosproxy.http.stage import MessageFault
from chaosproxy.model import PartitionSpec, ProxySpec
from chaosproxy.model.fault import PLACING_RULES, placement_schema, placing, without_effect_schema
from chaosproxy.model.names import LONGEST, PATTERN
from chaosproxy.model.proxy import HTTP_ONLY, MOST_FAULTS
from chaosproxy.model.selection import SELECT_ANY, SELECT_ONE, SELECTORS
from chaosproxy.model.tls import HTTP_ONE
from chaosproxy.model.types import FAULT_TYPES

__all__ = ["NAME", "Json", "components", "fault_schema", "reference"]

Json = dict[str, Any]  # Any: JSON

TEXT: Json = {"type": "string"}
CODE: Json = {"enum": list(get_args(Code))}
HOW: Json = {"enum": list(get_args(How))}
COUNT: Json = {"type": "integer", "minimum": 0}
SECONDS: Json = {"type": "number", "minimum": 0}
NAME: Json = {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": PATTERN}
FIXED_NAME: Json = {**NAME, "readOnly": True, "description": "as in the path, or as the key; may be left out"}


def _nullable(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: Json, most: int | None = None) -> Json:
    return {"type": "array", "items": items} | ({} if most is None else {"maxItems": most})


def _object(**properties: Json) -> Json:
    """Return the schema of an object that has all these properties and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _page(**properties: Json) -> Json:
    """Return the schema of a page: `next` is the path and query of the next one, if there are more items."""
    return _and_perhaps({"next": TEXT}, _object(**properties))


def _and_perhaps(optional: Json, schema: Json) -> Json:
    """Return the schema of an object that may have these additional properties."""
    return {**schema, "properties": {**schema["properties"], **optional}}


CAPABILITY = _object(
    name=TEXT, available={"type": "boolean"}, purpose=TEXT, lacking=_nullable(TEXT), remedy=_nullable(TEXT)
)
TCP_INFO = _object(rtt_s=SECONDS, unacked=COUNT, retransmits=COUNT, backoff=COUNT, received_ago_s=SECONDS)
LIMIT = _object(
    name=TEXT,
    value=_nullable({"type": "number", "minimum": 0}),
    unit={"enum": list(get_args(Unit))},
    source={"enum": list(get_args(Source))},
    meaning=TEXT,
    at_limit=TEXT,
)
REMOVED = _object(proxy=TEXT, fault=TEXT, type=TEXT)
_MODE_FOUND: Json = {
    "effective_mode": {"enum": ["packet", "stream", "mixed", None], "readOnly": True},
    "mode_reason": {**_nullable(TEXT), "readOnly": True},
}
"""The resolved mode of `mode: auto`, and the reason why it became stream."""
_VISIBILITY: Json = {
    "attempts_visible": {"type": "boolean", "readOnly": True},
    "attempts_reason": {**_nullable(TEXT), "readOnly": True},
}
"""Whether connection attempts that a fault hides are visible, and the reason if they are not."""

_LISTENING: Json = {
    "listening": {"type": "boolean", "readOnly": True},
    "listening_reason": {**_nullable(TEXT), "readOnly": True},
}
"""Whether clients can use the address of a proxy, faults aside, and the reason if they cannot."""

_TRAFFIC: Json = {
    "connections": {**COUNT, "readOnly": True},
    "bytes_upstream": {**COUNT, "readOnly": True},
    "bytes_downstream": {**COUNT, "readOnly": True},
    "turns": {**_object(answered=COUNT, failed=COUNT, gave_up=COUNT, open=COUNT), "readOnly": True},
}
"""The open connections of a proxy, and its bytes and turns so far."""

_ORIGIN: Json = {
    "by": {**TEXT, "readOnly": True},
    "since": {**TEXT, "format": "date-time", "readOnly": True},
    "age_s": {**SECONDS, "readOnly": True},
}
"""The maker, and the time at which it was made."""


def reference(name: str) -> Json:
    """Return a reference to one of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def components() -> dict[str, Json]:
    """Return every named schema."""
    return {
        "Proxy": _proxy(required=("name", "listen", "upstream")),
        "ProxyPatch": _proxy(required=()),
        "ProxyList": _page(proxies=_list(reference("Proxy"))),
        "Fault": {
            "oneOf": [reference(_title(kind)) for kind in FAULT_TYPES],
            "discriminator": {
                "propertyName": "type",
                "mapping": {kind: reference(_title(kind))["$ref"] for kind in FAULT_TYPES},
            },
        },
        "NamedFault": {
            "description": "a fault whose name is in the path or is its key",
            "allOf": [reference("Fault"), {"properties": {"name": FIXED_NAME}}],
        },
        "FaultPatch": {
            "description": "some settings of a fault, which are merged with the present ones",
            "anyOf": [_in_part(fault_schema(kind)) for kind in FAULT_TYPES],
        },
        "FaultList": _page(faults=_list(reference("Fault"))),
        **{_title(kind): fault_schema(kind) for kind in FAULT_TYPES},
        "FaultTypeList": _object(
            fault_types=_list(
                _object(type=TEXT, depth=TEXT, summary=TEXT, models=TEXT, example=TEXT, schema={"type": "object"})
            )
        ),
        "FaultsRequest": {
            "description": "one fault, and the selector of the proxies it is added to",
            "oneOf": [_with_selectors(fault_schema(kind), (SELECT_ANY,)) for kind in FAULT_TYPES],
        },
        "FaultsResponse": _object(name=NAME, faults=_list(_object(proxy=NAME, fault=reference("Fault")))),
        "HealRequest": _with_selectors({
            "type": "object",
            "properties": {"proxy": _nullable(TEXT), "fault": _nullable(TEXT), "partition": _nullable(TEXT)},
            "additionalProperties": False,
        }, HEAL_ONE),
        "HealResponse": _object(removed=_list(REMOVED), partitions=_list(TEXT)),
        "PartitionRequest": _partition("request"),
        "Partition": _partition("response"),
        "PartitionList": _page(partitions=_list(reference("Partition"))),
        "Nodes": _page(
            nodes=_list(
                _object(
                    name=TEXT, state={"enum": ["up", "crashed", "paused"]}, serves=_list(TEXT), uses=_list(TEXT)
                )
            ),
            reach=_map(_map(_nullable({"type": "boolean"}))),
        ),
        "CrashRequest": _one_duration("down"),
        "PauseRequest": _one_duration("for"),
        "VerbResponse": _and_perhaps(
            _VISIBILITY, _object(fault=TEXT, type=TEXT, ttl=_nullable(TEXT), proxies=_list(TEXT))
        ),
        "Capabilities": _object(capabilities=_list(CAPABILITY)),
        "Connection": _object(
            id=TEXT, proxy=TEXT, ordinal=COUNT, client=TEXT, open_for_s=SECONDS,
            bytes_upstream=COUNT, bytes_downstream=COUNT,
            shape={"enum": [*get_args(Shape)]}, turns=COUNT, turn_open_for_s=_nullable(SECONDS),
            held_upstream=COUNT, held_downstream=COUNT, faults=_list(TEXT),
            last_activity_s=_nullable(SECONDS), tcp_client=_nullable(TCP_INFO), tcp_server=_nullable(TCP_INFO),
            first=_nullable({"enum": ["client", "server"]}),
            client_ended_s=_nullable(SECONDS), client_how=_nullable(HOW), client_held_by=_nullable(TEXT),
            server_ended_s=_nullable(SECONDS), server_how=_nullable(HOW), server_held_by=_nullable(TEXT),
        ),
        "Reactions": _object(
            proxies=_map(
                _open_object(
                    turns=_object(
                        answered=COUNT, failed=COUNT, open=COUNT,
                        felt_s=_object(p50=_nullable(SECONDS), p99=_nullable(SECONDS)),
                    ),
                    gave_up={"type": "object"}, retries={"type": "object"}, story=_list(TEXT),
                    circuit_breaker=_nullable({"type": "object"}), recovered_after_s=_nullable(SECONDS),
                )
            ),
            services=_map(_object(failovers=_list({"type": "object"}), flaps=COUNT)),
            windows=_list(
                _object(
                    faults=_list(TEXT), types=_list(TEXT), proxies=_map({"type": "object"}), started=TEXT,
                    ended=_nullable(TEXT), touched=_object(connections=COUNT, messages=COUNT), story=_list(TEXT),
                )
            ),
            windows_left_out=COUNT,
        ),
        "ConnectionList": _page(connections=_list(reference("Connection"))),
        "Status": _page(
            version=TEXT, seed={"type": "integer"}, uptime_s=SECONDS, loop=TEXT, connections=COUNT, faults=COUNT,
            capabilities=_list(CAPABILITY), limits=_list(LIMIT), partitions=_list(TEXT),
            proxies=_list(
                _object(
                    name=TEXT, protocol=TEXT, listen=TEXT, listening_on=_list(TEXT), upstream=TEXT,
                    enabled={"type": "boolean"}, faults=_list(reference("Fault")), partitions=_list(TEXT),
                    **_TRAFFIC, **_LISTENING, **_ORIGIN,
                )
            ),
        ),
        "Health": _object(status=TEXT),
        "Readiness": _object(status=TEXT, waiting_for=_list(TEXT), reasons=_map(TEXT)),
        "Problem": {
            "type": "object",
            "description": "RFC 9457 problem details; `code` is for programs, `errors` lists the wrong fields; "
            "`removed` and `partitions` are the results of a heal after which a proxy cannot listen again",
            "properties": {
                "type": TEXT, "title": TEXT, "status": {"type": "integer"}, "code": CODE, "detail": TEXT,
                "errors": _list(_object(path=TEXT, code=CODE, message=TEXT)),
                "removed": _list(REMOVED), "partitions": _list(TEXT),
            },
            "required": ["type", "title", "status", "code", "detail"],
        },
    }  # fmt: skip


def _open_object(**properties: Json) -> Json:
    """Return the schema of an object with these keys, and others that a later version may change."""
    return _object(**properties) | {"additionalProperties": True}


def fault_schema(kind: str) -> Json:
    """Return the schema of a fault of one type: its placement and its parameters in one object."""
    parameters, placement = struct_schema(FAULT_TYPES[kind]), placement_schema(FAULT_TYPES[kind])
    properties = {
        "type": {"const": kind},
        "name": NAME,
        **{name: _nullable(_exact_in_json(_with_nulls(schema))) for name, schema in placement.items()},
        **without_effect_schema(FAULT_TYPES[kind]),
        **_optional_nullable(parameters),
        **(_MODE_FOUND if "mode" in parameters["properties"] else {}),
        **(_VISIBILITY if FAULT_TYPES[kind].admission is not Fault.admission else {}),
        **_ORIGIN,
    }
    required = ["type", *parameters["required"]]
    of = FAULT_TYPES[kind]
    rules = rules_schema(PLACING_RULES[of], [*params_of(of), *placing(of)])
    return _closed(properties, required, parameters, rules)


def _closed(properties: Json, required: list[str], *ruled: Json) -> Json:
    """Return the schema of an object with these properties alone, and the rules of other schemas."""
    every = [rule for one in ruled for rule in one.get("allOf", ())]
    rules = {"allOf": every} if every else {}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **rules}


def _in_part(fault: Json) -> Json:
    """Return the schema of some settings of a fault; those of a struct may be some too, but `match` is whole."""
    properties = {name: one if name == "match" else _optional(one) for name, one in fault["properties"].items()}
    rest = {key: value for key, value in fault.items() if key != "allOf"}
    return {**rest, "properties": {**properties, "name": FIXED_NAME}, "required": []}


def _optional(schema: Json) -> Json:
    """Return the schema of a struct, also of one that may be null, without required properties."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_optional(one) for one in schema["anyOf"]]}
    return {**schema, "required": []} if "properties" in schema else schema


def _with_selectors(schema: Json, rules: Iterable[Rule]) -> Json:
    """Return the schema of the same object, which may also have the keys of a selection, and follows the rules."""
    selectors = {name: _nullable(kind.schema()) for name, kind in SELECTORS.items()}
    params = [Param(name, name, Text(), "", "", None) for name in (*schema["properties"], *selectors)]
    every = [*schema.get("allOf", ()), *rules_schema((*SELECT_ONE, *rules), params)["allOf"]]
    return {**schema, "properties": {**schema["properties"], **selectors}, "allOf": every}


def _proxy(required: Iterable[str]) -> Json:
    named = _map(reference("NamedFault"), MOST_FAULTS) | {"propertyNames": NAME}
    faults = [_list(reference("Fault"), MOST_FAULTS), named]
    if not required:  # in a merge patch a fault may be given in part, and null removes it
        part = _nullable(reference("FaultPatch"))
        faults[1] = _map(part, 2 * MOST_FAULTS) | {"propertyNames": NAME}  # as many to remove as to add
    properties = {
        "name": NAME if required else FIXED_NAME,
        **_optional_nullable(struct_schema(ProxySpec)),
        **_LISTENING,
        **_TRAFFIC,
        "partitions": {**_list(TEXT), "readOnly": True},
        **_ORIGIN,
        "faults": {"anyOf": [*faults, {"type": "null"}]},
    }
    return _closed(properties, list(required), {"allOf": _rules_of_proxy(is_patch=not required)})


def _rules_of_proxy(is_patch: bool) -> list[Json]:
    """Return the rules across a proxy; a patch breaks only those that it breaks together with every proxy."""
    has_http = {**_HAS_HTTP, "required": ["protocol"]}
    is_http: Json = {"not": {**_HAS_TCP, "required": ["protocol"]}} if is_patch else has_http
    unused = {name: {"enum": [None, default]} for name, default in HTTP_ONLY.items()}
    on_messages = [kind for kind, of in FAULT_TYPES.items() if issubclass(of, MessageFault)]
    on_tls = [kind for kind, of in FAULT_TYPES.items() if of.needs_listen_tls]
    http_names: Json = {"properties": {"alpn": {"items": {"enum": list(HTTP_ONE)}}}}
    named: Json = {"required": ["server_name"], "properties": {"server_name": TEXT}}
    unverified: Json = {"required": ["verify"], "properties": {"verify": {"const": False}}}
    rules: list[Json] = [
        {"anyOf": [is_http, {"properties": {**unused, "faults": _without(on_messages)}}]},
        {"anyOf": [{"not": has_http}, {"properties": {"listen_tls": http_names}}]},
        {"anyOf": [
            {"properties": {"ipv6only": {"enum": [False, None]}}},
            {"properties": {"listen": {"not": {"pattern": r"^(unix:|[0-9.]+:)"}}}},
        ]},
        {"anyOf": [
            {"properties": {"upstream": {"not": {"pattern": "^unix:"}}}},
            {"properties": {"upstream_tls": {"anyOf": [{"type": "null"}, named, unverified]}}},
        ]},
    ]  # fmt: skip
    if is_patch:
        rules[3] = {"anyOf": [{"not": {"required": ["upstream"]}}, rules[3]]}
        return rules
    has_tls: Json = {"required": ["listen_tls"], "properties": {"listen_tls": {"type": "object"}}}
    return [*rules, {"anyOf": [has_tls, {"properties": {"faults": _without(on_tls)}}]}]


_HAS_HTTP: Json = {"properties": {"protocol": {"const": "http"}}}
_HAS_TCP: Json = {"properties": {"protocol": {"const": "tcp"}}}


def _without(types: list[str]) -> Json:
    """Return the schema of faults, in a list or by name, of which none is of these types."""
    other = {"properties": {"type": {"not": {"enum": types}}}}
    return {"items": other, "additionalProperties": other}


def _partition(body: Literal["request", "response"]) -> Json:
    """Return the schema of a partition in the body of a request or a response."""
    struct = struct_schema(PartitionSpec)
    properties = {
        "id": _nullable(NAME),
        **_optional_nullable(struct),
        **_MODE_FOUND,
        **_VISIBILITY,
        "is_cut": {"type": "boolean", "readOnly": True},
        "cut": {**_list(_list(TEXT)), "readOnly": True},
        "proxies": {
            **_list(_object(proxy=TEXT, effective_mode=_nullable(TEXT), mode_reason=_nullable(TEXT))),
            "readOnly": True,
        },
        "cut_more": {**COUNT, "readOnly": True},
        "proxies_more": {**COUNT, "readOnly": True},
        **_ORIGIN,
        "heals_after_s": {**_nullable(SECONDS), "readOnly": True},
    }
    required = [name for name in properties if name not in ("cut_more", "proxies_more")] if body == "response" else []
    return _closed(properties, required, struct)


def _one_duration(field: str) -> Json:
    properties = {field: _nullable(Duration(above_zero=True).schema())}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _map(items: Json, most: int | None = None) -> Json:
    return {"type": "object", "additionalProperties": items} | ({} if most is None else {"maxProperties": most})


def _optional_nullable(struct: Json) -> Json:
    """Return the properties of a struct; those that are not required may be null."""
    required = struct["required"]
    properties = {name: _exact_in_json(_with_nulls(one)) for name, one in struct["properties"].items()}
    return {name: one if name in required else _nullable(one) for name, one in properties.items()}


def _with_nulls(schema: Json) -> Json:
    """Return the schema; if it is that of a struct, its properties that are not required may be null."""
    return {**schema, "properties": _optional_nullable(schema)} if "properties" in schema else schema


def _exact_in_json(schema: Any) -> Any:
    """Return the schema with a maximum for each whole number, above which I-JSON has gaps (RFC 7493 section 2.2)."""
    if isinstance(schema, list):
        return [_exact_in_json(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    most = {"maximum": 2**53} if schema.get("type") == "integer" and "maximum" not in schema else {}
    return {**{key: _exact_in_json(one) for key, one in schema.items()}, **most}


def _title(kind: str) -> str:
    """Return the name of a fault type's schema: `slow_close` → `SlowCloseFault`."""
    return "".join(word.capitalize() for word in kind.split("_")) + "Fault"
