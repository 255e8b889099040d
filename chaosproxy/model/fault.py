"""A fault as declared: its name, the settings of its type, its placement and the messages it selects.

    read_fault    plain data ─▶ FaultSpec, or a problem for each mistake
    write_fault   FaultSpec ─▶ plain data
    …_schema      the JSON Schema of what `read_fault` takes besides the parameters of the type

Which placements a type takes is decided here, by PLACING_RULES and SELECTS, and described from the same tables. Whether
it fits a proxy is decided by `check_protocol` and `model.tls`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chaosproxy.declare import (
    Condition,
    HasGiven,
    Is,
    Not,
    Param,
    Problems,
    Rule,
    Struct,
    broken,
    params_of,
    read_struct,
    struct_schema,
    type_hint,
    values_of,
    write_struct,
)
from chaosproxy.errors import Path, Problem, shown
from chaosproxy.faults.base import Direction, Fault
from chaosproxy.http.match import OF_RESPONSES, Match, read_match
from chaosproxy.http.part import MessageKind
from chaosproxy.http.stage import MessageFault
from chaosproxy.model.names import read_name
from chaosproxy.model.placement import SELECTS, Placement
from chaosproxy.model.sni import SniMatch, is_sni_match, read_sni_match
from chaosproxy.model.types import FAULT_TYPES

__all__ = [
    "DIRECTION_OF", "FaultSpec", "PLACING_RULES", "check_protocol", "match_of", "placement_schema", "placing",
    "read_fault", "without_effect_schema", "write_fault",
]  # fmt: skip

DIRECTION_OF: dict[MessageKind, Direction] = {"request": "upstream", "response": "downstream"}
"""The direction in which each kind of message flows."""

MATCH = Param("match", "match", Struct(Match), "acts only on these messages; default: all", "{path: /checkout/*}", None)
"""A parameter of the placement that only message faults have."""
SNI_MATCH = Param(
    "match", "sni", Struct(SniMatch), "acts only on TLS connections to such a name", "{sni: '*.example.org'}", None
)
"""The same parameter, of faults on connections whose client has sent data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """A named placement of a fault type."""

    name: str
    settings: Fault
    placement: Placement = Placement()
    match: Match | None = None
    """The messages that it acts on; None for all messages, and for a fault on connections."""
    sni: SniMatch | None = None
    """Act only on connections whose client sends such a server name."""

    @property
    def type(self) -> str:
        return self.settings.type


def read_fault(
    data: object, name: str, problems: Problems, path: Path = (), protocol: str = "tcp", *, by_rules: bool = True
) -> FaultSpec | None:
    """Read a fault from plain data; if it is wrong, note all problems and return None.

    The data is one mapping with `type`, the parameters of the placement and those of the type. Without `by_rules`
    each parameter is checked alone, and nothing is returned.
    """
    before = len(problems)
    read_name(name, problems, path)
    settings_type = _read_type(data, problems, path)
    if settings_type is None or not isinstance(data, Mapping):
        return None
    problems.extend(_check_protocol(settings_type, protocol), path)
    sni, given_match, on_messages = None, data.get("match"), issubclass(settings_type, MessageFault)
    if is_sni_match(given_match):
        sni = read_sni_match(given_match, settings_type, problems, (*path, "match"))
    elif given_match is not None and not on_messages:
        message = f"selects HTTP messages, but {settings_type.type} acts on connections; remove it"
        problems.add((*path, "match"), "not-applicable", message, at_key=True)
    placement_names = [param.name for param in params_of(Placement)]
    own = {key: value for key, value in data.items() if key not in ("type", "match", *placement_names)}
    active = {key: value for key, value in data.items() if key in placement_names}
    known = ("type", "match", *placement_names)
    settings = read_struct(settings_type, own, problems, path, also_known=known, bare_hints=True)
    placement = read_struct(Placement, active, problems, path)
    for parameter, exempting_none in SELECTS.items() if settings_type.at_listener else ():
        if active.get(parameter) is not None and active[parameter] not in exempting_none:
            message = f"not supported: {settings_type.type} applies to the whole port; remove it"
            problems.add((*path, parameter), "not-applicable", message, at_key=True)
    match = None
    if on_messages and not is_sni_match(given_match) and given_match is not None:
        match = read_match(given_match, problems, (*path, "match"))
    if settings is None or placement is None or not by_rules:
        return None
    for problem in settings.check():
        problems.add((*path, *problem.path), problem.code, problem.message)
    values = {**values_of(settings), **values_of(placement), "match": match}
    problems.extend(broken(PLACING_RULES[settings_type], values), path)
    if isinstance(settings, MessageFault) and (side := settings.side()) is not None:
        placement = replace(placement, direction=DIRECTION_OF[side])
    if len(problems) > before:
        return None
    return FaultSpec(name=name, settings=settings, placement=placement, match=match, sni=sni)


def check_protocol(fault: FaultSpec, protocol: str) -> Iterable[Problem]:
    """Yield a problem if the fault acts on messages, and the proxy with this protocol has none."""
    return _check_protocol(type(fault.settings), protocol)


def _check_protocol(of: type[Fault], protocol: str) -> Iterable[Problem]:
    if protocol == "tcp" and issubclass(of, MessageFault):
        message = f"{shown(of.type)} acts on HTTP messages, but this proxy is tcp"
        yield Problem(("type",), "not-applicable", f"{message}; add `protocol: http` to the proxy")


def _placing_rules(of: type[Fault]) -> Iterator[Rule]:
    if (on_responses := _treats(of, "response")) is not None:
        message = f"{of.type} acts on responses here, which flow downstream; remove it"
        yield Rule(("direction",), "not-applicable", message, Is("direction", "upstream"), *on_responses)
    if (on_requests := _treats(of, "request")) is not None:
        message = "belongs to the response, and this fault acts on requests; remove it, or choose a fault"
        for name in OF_RESPONSES:
            condition, reason = HasGiven("match", name), f"{message} that acts on responses"
            yield Rule(("match", name), "not-applicable", reason, condition, *on_requests, at_key=True)


def _treats(of: type[Fault], kind: MessageKind) -> tuple[Condition, ...] | None:
    """Return the conditions under which a type treats such messages; None if it never does."""
    if not issubclass(of, MessageFault):
        return None
    if any(param.name == "on" for param in params_of(of)):
        on_request = Is("on", "request")
        return (on_request if kind == "request" else Not(on_request),)
    if of.treats is None:
        downstream = Is("direction", "downstream")
        return (Not(downstream) if kind == "request" else downstream,)
    return () if of.treats == kind else None


PLACING_RULES = {of: tuple(_placing_rules(of)) for of in FAULT_TYPES.values()}
"""The rules across the parameters of each type and of its placement."""


def write_fault(spec: FaultSpec) -> dict[str, Any]:
    """Return the plain data that `read_fault` reads back as `spec`, without default values. (Any: JSON.)"""
    selects = spec.match or spec.sni
    match = {} if selects is None else {"match": write_struct(selects)}
    return {"type": spec.type, **write_struct(spec.placement), **match, **write_struct(spec.settings)}


def placement_schema(of: type[Fault]) -> dict[str, Any]:
    """Return the JSON Schema of the placement parameters that a type takes, by name. (Any: JSON.)"""
    left_out = SELECTS if of.at_listener else ()
    properties = {name: one for name, one in struct_schema(Placement)["properties"].items() if name not in left_out}
    match = match_of(of)
    if match is not None:
        assert isinstance(match.kind, Struct)
        properties["match"] = {**struct_schema(match.kind.of), "description": match.meaning}
    return properties


def without_effect_schema(of: type[Fault]) -> dict[str, Any]:
    """Return the JSON Schema of the other parameters of a placement, which a type takes only without an effect."""
    selects = {name: {"enum": [None, *exempting_none]} for name, exempting_none in SELECTS.items()}
    no_match = {"match": {"type": "null"}} if match_of(of) is None else {}
    return {**(selects if of.at_listener else {}), **no_match}


def match_of(of: type[Fault]) -> Param | None:
    """Return the parameter `match` of a type: for HTTP messages, for TLS connections, or None."""
    if issubclass(of, MessageFault):
        return MATCH
    return SNI_MATCH if of.matches_sni else None


def placing(of: type[Fault]) -> list[Param]:
    """Return the parameters that decide where and how often a fault of this type acts."""
    match = match_of(of)
    return [*params_of(Placement), *([] if match is None else [match])]


def _read_type(data: object, problems: Problems, path: Path) -> type[Fault] | None:
    if not isinstance(data, Mapping):
        message = f"{shown(data)} is not a mapping; use a fault such as {{type: latency, delay: 100ms}}"
        problems.add(path, "wrong-type", message)
        return None
    if "type" not in data:
        problems.add((*path, "type"), "missing", f"is missing; use one of: {', '.join(FAULT_TYPES)}")
        return None
    given = data["type"]
    if isinstance(given, str) and given in FAULT_TYPES:
        return FAULT_TYPES[given]
    known = ", ".join(FAULT_TYPES)
    message = f"{shown(given)} is not a fault type{type_hint(given, FAULT_TYPES)}; use one of: {known}"
    problems.add((*path, "type"), "unknown-fault-type", message)
    return None
