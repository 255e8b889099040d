"""A fault as desired: its name, its type's settings, and its placement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chaosproxy.declare import Param, Problems, Struct, nearest, params_of, read_struct, struct_schema, write_struct
from chaosproxy.errors import Path, shown
from chaosproxy.faults.base import Direction, Fault
from chaosproxy.http.match import Match, read_match
from chaosproxy.http.part import MessageKind
from chaosproxy.http.stage import MessageFault
from chaosproxy.model.names import read_name
from chaosproxy.model.placement import SELECTS, Placement
from chaosproxy.model.sni import SniMatch, is_sni_match, read_sni_match
from chaosproxy.model.types import FAULT_TYPES

__all__ = ["DIRECTION_OF", "FaultSpec", "match_of", "placement_schema", "placing", "read_fault", "write_fault"]

DIRECTION_OF: dict[MessageKind, Direction] = {"request": "upstream", "response": "downstream"}
"""Which way messages flow."""

MATCH = Param("match", "match", Struct(Match), "which messages it is for; without it, all", "{path: /checkout/*}", None)
"""A parameter of the placement that message faults alone have."""
SNI_MATCH = Param(
    "match", "sni", Struct(SniMatch), "touches only TLS connections to such a name", "{sni: '*.example.org'}", None
)
"""The same of faults on connections that have begun to speak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """A named placement of a fault type."""

    name: str
    settings: Fault
    placement: Placement = Placement()
    match: Match | None = None
    """Which messages it is for; None for all, and where it is for connections."""
    sni: SniMatch | None = None
    """Touches only connections whose client asks for such a name."""

    @property
    def type(self) -> str:
        return self.settings.type

    def named(self, name: str) -> FaultSpec:
        return replace(self, name=name)


def read_fault(data: object, name: str, problems: Problems, path: Path = (), protocol: str = "tcp") -> FaultSpec | None:
    """A fault from plain data `{type, placement…, parameters…}`; None, and every problem noted, if it is wrong."""
    before = len(problems)
    read_name(name, problems, path)
    settings_type = _read_type(data, problems, path)
    if settings_type is None or not isinstance(data, Mapping):
        return None
    if protocol == "tcp" and issubclass(settings_type, MessageFault):
        message = f"{shown(settings_type.type)} acts on HTTP messages, and this proxy is tcp"
        problems.add((*path, "type"), f"{message}; give the proxy `protocol: http`")
    sni = None
    if is_sni_match(data.get("match")):
        sni = read_sni_match(data["match"], settings_type, problems, (*path, "match"))
    placement_names = [param.name for param in params_of(Placement)]
    own = {key: value for key, value in data.items() if key not in ("type", "match", *placement_names)}
    active = {key: value for key, value in data.items() if key in placement_names}
    settings = read_struct(settings_type, own, problems, path, also_known=("type", "match", *placement_names))
    placement = read_struct(Placement, active, problems, path)
    if settings is None or placement is None:
        if issubclass(settings_type, MessageFault) and sni is None and data.get("match") is not None:
            read_match(data["match"], problems, (*path, "match"), "response")  # which may say all that there is
        return None
    for parameter, message in settings.check():
        problems.add((*path, parameter), message)
    if isinstance(settings, MessageFault):
        placement = _along(settings, placement, problems, path)
    match = _read_match(data.get("match"), settings, placement, problems, (*path, "match"))
    if settings.at_listener and not placement.touches_all:
        for parameter in SELECTS:
            if parameter in active:
                message = f"cannot be had with {settings.type}, which acts on the port for every client; leave it out"
                problems.add((*path, parameter), message, at_key=True)
    if len(problems) > before:
        return None
    return FaultSpec(name=name, settings=settings, placement=placement, match=match, sni=sni)


def _along(settings: MessageFault, placement: Placement, problems: Problems, path: Path) -> Placement:
    """The placement in the direction in which the messages flow that the fault treats."""
    side = settings.side()
    if side is None:
        return placement
    direction = DIRECTION_OF[side]
    if placement.direction == "upstream" != direction:  # downstream is the default, and says nothing
        message = f"{settings.type} treats {side}s here, which flow {direction}; leave it out"
        problems.add((*path, "direction"), message)
    return replace(placement, direction=direction)


def _read_match(data: object, settings: Fault, placement: Placement, problems: Problems, path: Path) -> Match | None:
    if data is None or is_sni_match(data):
        return None
    if not isinstance(settings, MessageFault):
        message = f"selects HTTP messages, and {settings.type} acts on connections; leave it out"
        problems.add(path, message, at_key=True)
        return None
    only_responses = placement.direction == "downstream"
    return read_match(data, problems, path, "response" if only_responses else "request")


def write_fault(spec: FaultSpec) -> dict[str, Any]:
    """The plain data that `read_fault` reads back as `spec`, without what is default. (Any: JSON.)"""
    selects = spec.match or spec.sni
    match = {} if selects is None else {"match": write_struct(selects)}
    return {"type": spec.type, **write_struct(spec.placement), **match, **write_struct(spec.settings)}


def placement_schema(of: type[Fault]) -> dict[str, Any]:
    """JSON Schema of the placement parameters that a type takes, by name. (Any: JSON.)"""
    left_out = SELECTS if of.at_listener else ()
    properties = {name: one for name, one in struct_schema(Placement)["properties"].items() if name not in left_out}
    match = match_of(of)
    if match is not None:
        assert isinstance(match.kind, Struct)
        properties["match"] = {**struct_schema(match.kind.of), "description": match.meaning}
    return properties


def match_of(of: type[Fault]) -> Param | None:
    """The parameter `match` that a type takes: of HTTP messages, or of TLS connections; None where it takes none."""
    if issubclass(of, MessageFault):
        return MATCH
    return SNI_MATCH if of.matches_sni else None


def placing(of: type[Fault]) -> list[Param]:
    """The parameters that say where and how often a fault of this type acts."""
    match = match_of(of)
    return [*params_of(Placement), *([] if match is None else [match])]


def _read_type(data: object, problems: Problems, path: Path) -> type[Fault] | None:
    if not isinstance(data, Mapping):
        message = f"{shown(data)} is not a mapping; give a fault such as {{type: latency, delay: 100ms}}"
        problems.add(path, message)
        return None
    if "type" not in data:
        problems.add(path, f"type is missing; give one of: {', '.join(FAULT_TYPES)}")
        return None
    given = data["type"]
    if isinstance(given, str) and given in FAULT_TYPES:
        return FAULT_TYPES[given]
    known = ", ".join(FAULT_TYPES)
    problems.add((*path, "type"), f"{shown(given)} is no fault type{nearest(given, FAULT_TYPES)}; give one of: {known}")
    return None
