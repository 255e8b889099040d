"""A fault as desired: its name, its type's settings, and its placement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chaosproxy.declare import Problems, nearest, params_of, read_struct, struct_schema, write_struct
from chaosproxy.errors import Path, shown
from chaosproxy.faults import FAULT_TYPES
from chaosproxy.faults.base import Fault
from chaosproxy.model.names import read_name
from chaosproxy.model.placement import SELECTS, Placement
from chaosproxy.model.sni import SniMatch, is_sni_match, read_sni_match, sni_schema

__all__ = ["FaultSpec", "placement_schema", "read_fault", "write_fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """A named placement of a fault type."""

    name: str
    settings: Fault
    placement: Placement = Placement()
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
    settings_type = _read_type(data, problems, path, protocol)
    if settings_type is None or not isinstance(data, Mapping):
        return None
    sni = None
    if is_sni_match(data.get("match")):
        sni = read_sni_match(data["match"], settings_type, problems, (*path, "match"))
    elif "match" in data:
        message = f"selects HTTP messages, and {settings_type.type} acts on connections; leave it out"
        problems.add((*path, "match"), message, at_key=True)
    placement_names = [param.name for param in params_of(Placement)]
    own = {key: value for key, value in data.items() if key not in ("type", "match", *placement_names)}
    placed = {key: value for key, value in data.items() if key in placement_names}
    settings = read_struct(settings_type, own, problems, path, also_known=("type", "match", *placement_names))
    placement = read_struct(Placement, placed, problems, path)
    if settings is None or placement is None:
        return None
    for parameter, message in settings.check():
        problems.add((*path, parameter), message)
    if settings.at_listener and not placement.touches_all:
        for parameter in SELECTS:
            if parameter in placed:
                message = f"cannot be had with {settings.type}, which acts on the port for every client; leave it out"
                problems.add((*path, parameter), message, at_key=True)
    if len(problems) > before:
        return None
    return FaultSpec(name=name, settings=settings, placement=placement, sni=sni)


def write_fault(spec: FaultSpec) -> dict[str, Any]:
    """The plain data that `read_fault` reads back as `spec`, without what is default. (Any: JSON.)"""
    match = {} if spec.sni is None else {"match": write_struct(spec.sni)}
    return {"type": spec.type, **write_struct(spec.placement), **match, **write_struct(spec.settings)}


def placement_schema(of: type[Fault]) -> dict[str, Any]:
    """JSON Schema of the placement parameters that a type takes, by name. (Any: JSON.)"""
    left_out = SELECTS if of.at_listener else ()
    match = {"match": sni_schema()} if of.matches_sni else {}
    return {
        **{name: one for name, one in struct_schema(Placement)["properties"].items() if name not in left_out},
        **match,
    }


def _read_type(data: object, problems: Problems, path: Path, protocol: str) -> type[Fault] | None:
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
    problems.add((*path, "type"), _unknown_type(given, protocol))
    return None


def _unknown_type(given: object, protocol: str) -> str:
    if isinstance(given, str) and given.startswith("http_"):
        if protocol != "http":
            return f"{shown(given)} acts on HTTP messages, and this proxy is tcp; give the proxy `protocol: http`"
        return f"{shown(given)} is not in this version yet; it has: {', '.join(FAULT_TYPES)}"
    return f"{shown(given)} is no fault type{nearest(given, FAULT_TYPES)}; give one of: {', '.join(FAULT_TYPES)}"
