"""The desired state of a fault: its name, the settings of its type, and its placement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chaosproxy.declare import Param, Problems, Struct, params_of, read_struct, struct_schema, type_hint, write_struct
from chaosproxy.errors import Path, Problem, shown
from chaosproxy.faults.base import Direction, Fault
from chaosproxy.http.match import Match, read_match
from chaosproxy.http.part import MessageKind
from chaosproxy.http.stage import MessageFault
from chaosproxy.model.names import read_name
from chaosproxy.model.placement import SELECTS, Placement
from chaosproxy.model.sni import SniMatch, is_sni_match, read_sni_match
from chaosproxy.model.types import FAULT_TYPES

__all__ = [
    "DIRECTION_OF", "FaultSpec", "check_protocol", "match_of", "placement_schema", "placing", "read_fault",
    "write_fault",
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


def read_fault(data: object, name: str, problems: Problems, path: Path = (), protocol: str = "tcp") -> FaultSpec | None:
    """Read a fault from plain data; if it is wrong, note all problems and return None.

    The data is one mapping with `type`, the parameters of the placement and those of the type.
    """
    before = len(problems)
    read_name(name, problems, path)
    settings_type = _read_type(data, problems, path)
    if settings_type is None or not isinstance(data, Mapping):
        return None
    problems.extend(_check_protocol(settings_type, protocol), path)
    sni, given_match = None, data.get("match")
    if is_sni_match(given_match):
        sni = read_sni_match(given_match, settings_type, problems, (*path, "match"))
    elif given_match is not None and not issubclass(settings_type, MessageFault):
        message = f"selects HTTP messages, but {settings_type.type} acts on connections; remove it"
        problems.add((*path, "match"), "not-applicable", message, at_key=True)
    placement_names = [param.name for param in params_of(Placement)]
    own = {key: value for key, value in data.items() if key not in ("type", "match", *placement_names)}
    active = {key: value for key, value in data.items() if key in placement_names}
    known = ("type", "match", *placement_names)
    settings = read_struct(settings_type, own, problems, path, also_known=known, bare_hints=True)
    placement = read_struct(Placement, active, problems, path)
    if settings_type.at_listener and (placement is None or not placement.touches_all):
        for parameter in SELECTS:
            if active.get(parameter) is not None and (placement is not None or active[parameter] != 1):
                message = f"not supported: {settings_type.type} applies to the whole port; remove it"
                problems.add((*path, parameter), "not-applicable", message, at_key=True)
    if settings is None or placement is None:
        if issubclass(settings_type, MessageFault) and sni is None and given_match is not None:
            # For `response` every field is allowed, so that only mistakes in the match itself are noted.
            read_match(given_match, problems, (*path, "match"), "response")
        return None
    for problem in settings.check():
        problems.add((*path, *problem.path), problem.code, problem.message)
    if isinstance(settings, MessageFault):
        placement = _along(settings, placement, problems, path)
    match = _read_match(given_match, settings, placement, problems, (*path, "match"))
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


def _along(settings: MessageFault, placement: Placement, problems: Problems, path: Path) -> Placement:
    """Return the placement with the direction in which the fault's messages flow."""
    side = settings.side()
    if side is None:
        return placement
    direction = DIRECTION_OF[side]
    if placement.direction == "upstream" != direction:  # downstream may be the default rather than given
        message = f"{settings.type} acts on {side}s here, which flow {direction}; remove it"
        problems.add((*path, "direction"), "not-applicable", message)
    return replace(placement, direction=direction)


def _read_match(data: object, settings: Fault, placement: Placement, problems: Problems, path: Path) -> Match | None:
    if data is None or is_sni_match(data) or not isinstance(settings, MessageFault):
        return None
    only_responses = placement.direction == "downstream"
    return read_match(data, problems, path, "response" if only_responses else "request")


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
