"""The fields of a struct: `param()` declares one, `params_of()` lists them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chaosproxy.declare.kinds import Kind

__all__ = ["Param", "param", "params_of"]


@dataclass(frozen=True, slots=True)
class Param:
    """One declared parameter."""

    name: str
    """The key in YAML and REST."""
    attribute: str
    """The dataclass field; differs from the name if that is a Python keyword."""
    kind: Kind
    meaning: str
    example: str
    default: object
    """The value if the key is absent; `dataclasses.MISSING` if the key is required."""

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


# Any: the field's own annotation gives its type, which a function that makes fields cannot name.
def param(
    kind: Kind, meaning: str, *, example: str = "", default: Any = dataclasses.MISSING, name: str | None = None
) -> Any:
    """Declare a parameter as a dataclass field. Without a default it is required."""
    return dataclasses.field(default=default, metadata={"param": (kind, meaning, example, name)})


def params_of(struct: type[Any]) -> tuple[Param, ...]:
    """Return the declared parameters of a struct, in order. (Any: dataclasses have no common base.)"""
    found = _KNOWN.get(struct)
    if found is None:
        found = _KNOWN[struct] = tuple(_declared(struct))
    return found


_KNOWN: dict[type[Any], tuple[Param, ...]] = {}
"""The parameters of each struct that was asked for: to find them takes as long as to read a small struct."""


def _declared(struct: type[Any]) -> Iterator[Param]:
    for field in dataclasses.fields(struct):
        if "param" in field.metadata:
            kind, meaning, example, name = field.metadata["param"]
            yield Param(name or field.name, field.name, kind, meaning, example, field.default)
