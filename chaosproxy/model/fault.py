"""A fault as desired: its name, its type's settings, and its placement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chaosproxy.declare import Problems, nearest, params_of, read_struct, write_struct
from chaosproxy.errors import Path
from chaosproxy.faults import FAULT_TYPES
from chaosproxy.faults.base import Fault
from chaosproxy.model.placement import Placement

__all__ = ["FaultSpec", "read_fault", "write_fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """A named placement of a fault type."""

    name: str
    settings: Fault
    placement: Placement = Placement()

    @property
    def type(self) -> str:
        return self.settings.type

    def named(self, name: str) -> FaultSpec:
        return replace(self, name=name)


def read_fault(data: object, name: str, problems: Problems, path: Path = (), protocol: str = "tcp") -> FaultSpec | None:
    """A fault from plain data `{type, placement…, parameters…}`; None, and every problem noted, if it is wrong."""
    if not isinstance(data, Mapping):
        problems.add(path, "is not a mapping; give a fault such as {type: latency, delay: 100ms}")
        return None
    kind = data.get("type")
    if "type" not in data:
        problems.add(path, f"has no type; give one of: {', '.join(FAULT_TYPES)}")
        return None
    if not isinstance(kind, str) or kind not in FAULT_TYPES:
        problems.add((*path, "type"), _unknown_type(kind, protocol))
        return None
    settings_type = FAULT_TYPES[kind]
    if "match" in data:
        problems.add((*path, "match"), f"selects HTTP messages and works with http_* faults only, not with {kind}")
    rest = {key: value for key, value in data.items() if key not in ("type", "match")}
    placement_names = {param.name for param in params_of(Placement)}
    before = len(problems)
    settings = read_struct(
        settings_type,
        {key: value for key, value in rest.items() if key not in placement_names},
        problems,
        path,
        also_known=("type", "match", *sorted(placement_names)),
    )
    placement = read_struct(
        Placement, {key: value for key, value in rest.items() if key in placement_names}, problems, path
    )
    if settings is None or placement is None or len(problems) > before:
        return None
    for parameter, message in settings.check():
        problems.add((*path, parameter), message)
    return FaultSpec(name=name, settings=settings, placement=placement) if len(problems) == before else None


def write_fault(spec: FaultSpec) -> dict[str, Any]:
    """The plain data that `read_fault` reads back as `spec`, without what is default. (Any: JSON.)"""
    return {"type": spec.type, **write_struct(spec.placement), **write_struct(spec.settings)}


def _unknown_type(kind: object, protocol: str) -> str:
    if isinstance(kind, str) and kind.startswith("http_"):
        if protocol != "http":
            return f"{kind} acts on HTTP messages, and this proxy is tcp; give the proxy `protocol: http`"
        return f"{kind} is not in this version yet; it has: {', '.join(FAULT_TYPES)}"
    return f"{kind!r} is no fault type{nearest(kind, FAULT_TYPES)}; give one of: {', '.join(FAULT_TYPES)}"
