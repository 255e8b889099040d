"""`faults` and `schema`: explain the configuration, from the declarations themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import click

from chaosproxy.cli.exits import BadInput
from chaosproxy.cli.printing import print_json, print_table, print_text
from chaosproxy.declare import (
    Choice,
    Duration,
    Flag,
    Kind,
    ListOf,
    MapOf,
    Number,
    Param,
    Rate,
    Share,
    Size,
    Struct,
    Whole,
    params_of,
    struct_schema,
    type_hint,
    write_struct,
)
from chaosproxy.declare.kinds import LARGEST_WHOLE
from chaosproxy.faults.base import Fault
from chaosproxy.model import Placement
from chaosproxy.model.fault import match_of
from chaosproxy.model.placement import SELECTS
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.units import format_size

__all__ = ["complete_type", "faults", "known_type", "schema"]


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table of parameters."""

    name: str
    kind: str
    allowed: str
    default: str
    meaning: str
    example: str

    def cells(self) -> tuple[str, ...]:
        return (self.name, self.kind, self.allowed, self.default, self.meaning, self.example)


COLUMNS = ("parameter", "kind", "allowed", "default", "meaning", "example")


def lines_of(struct: type[Any], prefix: str = "") -> Iterator[Line]:
    """Yield a struct's parameters, those of nested mappings under dotted names. (Any: dataclasses have no base.)"""
    for param in params_of(struct):
        name = prefix + param.name
        kind = "choice" if isinstance(param.kind, Choice) else str(param.kind)
        yield Line(name, kind, allowed(param.kind), default(param), param.meaning, param.example)
        if isinstance(param.kind, Struct):
            yield from lines_of(param.kind.of, f"{name}.")


def allowed(kind: Kind) -> str:
    """Return the units and range of a kind, in a few words."""
    match kind:
        case Duration(above_zero):
            return "ns us ms s m h" + (", above 0" if above_zero else "")
        case Size(minimum):
            return "B KiB MiB GiB kB MB GB" + (f", at least {format_size(minimum)}" if minimum else "")
        case Rate():
            return "MB/s, Mbit/s …, above 0"
        case Share():
            return "0 to 1, or 0% to 100%"
        case Number(minimum, maximum):
            bounds = {f"at least {minimum:g}": minimum, f"at most {maximum:g}": maximum}
            return ", ".join(words for words, bound in bounds.items() if math.isfinite(bound)) or "any number"
        case Whole(minimum, maximum):
            return f"{minimum} to {maximum}" if maximum < LARGEST_WHOLE else f"at least {minimum}"
        case Choice(words):
            return ", ".join(words)
        case Flag():
            return "true, false"
        case Struct(of):
            return ", ".join(param.name for param in params_of(of))
        case ListOf(item) | MapOf(item):
            return allowed(item)
        case _:
            return ""


def default(param: Param) -> str:
    """Return the default as YAML writes it; `required` if there is none."""
    if param.required:
        return "required"
    if param.default in (None, ()):
        return "-"
    written = write_struct(param.default) if isinstance(param.kind, Struct) else param.kind.write(param.default)
    return {True: "true", False: "false"}[written] if isinstance(written, bool) else str(written)


def known_type(name: str) -> type[Fault]:
    """Return the fault type of that name.

    :raises BadInput: no type has that name; the message suggests the nearest, or ours for that of another tool.
    """
    if name not in FAULT_TYPES:
        message = f"{name!r} is not a fault type{type_hint(name, FAULT_TYPES)}; use one of: {', '.join(FAULT_TYPES)}"
        raise BadInput(message, code="unknown-fault-type")
    return FAULT_TYPES[name]


def complete_type(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the fault types that begin with the typed text, for completion in the shell."""
    return [name for name in FAULT_TYPES if name.startswith(incomplete)]


@click.command()
@click.argument("fault_type", metavar="[TYPE]", required=False, shell_complete=complete_type)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def faults(fault_type: str | None, as_json: bool) -> None:
    """List fault types, or explain one TYPE.

    For a TYPE it shows the parameters with units, ranges and defaults, and an example.
    """
    if fault_type is None:
        if as_json:
            print_json([_as_data(fault) for fault in FAULT_TYPES.values()])
        else:
            print_table(("type", "depth", "what it does"), ((f.type, f.depth, f.summary) for f in FAULT_TYPES.values()))
        return
    fault = known_type(fault_type)
    if as_json:
        print_json(_as_data(fault))
        return
    print_text(f"{fault.type}: {fault.summary}\n{fault.models}\n")
    _print_lines(lines_of(fault), none="It has no parameters.")
    print_text("\nWhere and how often it acts:")
    _print_lines(_placing_lines(fault), none="")
    print_text(f"\nExample: {fault.example}")


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from chaosproxy.config import config_schema  # imported late: most commands need no YAML

    print_json(config_schema())


def _placing_lines(fault: type[Fault]) -> Iterator[Line]:
    left_out = SELECTS if fault.at_listener else ()
    yield from (line for line in lines_of(Placement) if line.name not in left_out)
    match = match_of(fault)
    if match is not None and isinstance(match.kind, Struct):
        for line in lines_of(match.kind.of, "match."):
            yield replace(line, default="-")  # a match is optional, so each of its keys is


def _print_lines(lines: Iterable[Line], none: str) -> None:
    rows = [line.cells() for line in lines]
    if rows:
        print_table(COLUMNS, rows)
    else:
        print_text(none)


def _as_data(fault: type[Fault]) -> dict[str, Any]:
    """Return a fault type as JSON. (Any: JSON.)"""
    return {
        "type": fault.type,
        "depth": fault.depth,
        "summary": fault.summary,
        "models": fault.models,
        "example": fault.example,
        "parameters": [dict(zip(COLUMNS, line.cells(), strict=True)) for line in lines_of(fault)],
        "placement": [dict(zip(COLUMNS, line.cells(), strict=True)) for line in _placing_lines(fault)],
        "schema": struct_schema(fault),
    }
