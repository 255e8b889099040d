"""A struct's fields: `param()` declares one, `params_of()` lists them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from chaosproxy.declare.kinds import Kind

__all__ = ["Param", "param", "params_of"]


@dataclass(frozen=True, slots=True)
class Param:
    """One declared parameter."""

    name: str
    """As written in YAML and REST."""
    attribute: str
    """The dataclass field it fills; differs from the name where that is a Python keyword."""
    kind: Kind
    meaning: str
    example: str
    default: object
    """The value where none is given; `dataclasses.MISSING` where one must be."""

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


# Any: the field's own annotation gives its type, which a function that makes fields cannot name.
def param(
    kind: Kind, meaning: str, *, example: str = "", default: Any = dataclasses.MISSING, name: str | None = None
) -> Any:
    """Declare a parameter as a dataclass field. Without a default it must be given."""
    return dataclasses.field(default=default, metadata={"param": (kind, meaning, example, name)})


def params_of(struct: type[Any]) -> tuple[Param, ...]:
    """The declared parameters of a struct, in order. (Any: a dataclass is of no common type.)"""
    found = []
    for field in dataclasses.fields(struct):
        if "param" in field.metadata:
            kind, meaning, example, name = field.metadata["param"]
            found.append(Param(name or field.name, field.name, kind, meaning, example, field.default))
    return tuple(found)
