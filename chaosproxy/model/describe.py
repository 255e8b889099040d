"""Make docs/faults.md from the table of fault types: `python -m chaosproxy.model.describe > docs/faults.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from chaosproxy.declare import Choice, Param, Struct, params_of
from chaosproxy.faults.base import Fault
from chaosproxy.model.types import FAULT_TYPES

__all__ = ["describe"]

_HEAD = """\
# Faults

Every fault type, the real failure that it models, and its parameters. This page is made
from the declarations in `chaosproxy/faults` and `chaosproxy/http/faults`; do not edit it.

Write a fault under its name in a proxy's `faults`, as in each example below, or pass the
same parameters to the control API or the command line. Every fault also takes the parameters
of its placement: `direction` (`upstream`, `downstream` or `both`), `probability`, `ttl`,
`skip`, `count` and `nth`. `unreachable`, `partition` and `pause` act on the whole port, and take
only `direction` and `ttl`.

Several faults on one proxy act in the order in which they are given. Each acts on the output
of the one before it: latencies add up, and a bandwidth limit after a latency queues data when
it arrives there. Changing a fault recomputes the times of the data that it holds. Removing
it releases that data at once and in order. All random decisions follow from the seed and the
connection, and do not depend on other faults.
"""


def describe(types: Mapping[str, type[Fault]]) -> str:
    """Return the documentation page of these fault types, in Markdown."""
    rows = (f"| [`{name}`](#{name}) | {fault.depth} | {fault.summary} |" for name, fault in types.items())
    summary = "\n".join(("| type | depth | what it does |", "|---|---|---|", *rows))
    return "\n".join((_HEAD, summary, *(_section(fault) for fault in types.values())))


def _section(fault: type[Fault]) -> str:
    models = f"**Models:** {fault.models}"
    example = f"```yaml\n{fault.example}\n```"
    parts = (f"\n## {fault.type}", inspect.getdoc(fault) or "", models, example, _parameters(fault))
    return "\n\n".join(parts) + "\n"


def _parameters(fault: type[Fault]) -> str:
    rows = list(_rows(params_of(fault)))
    if not rows:
        return "It has no parameters."
    head = ("| parameter | kind | default | meaning | example |", "|---|---|---|---|---|")
    return "\n".join((*head, *rows))


def _rows(params: Iterable[Param], prefix: str = "") -> Iterator[str]:
    for param in params:
        name = prefix + param.name
        words = param.kind.words if isinstance(param.kind, Choice) else ()
        kind = ", ".join(f"`{word}`" for word in words) or str(param.kind)
        example = f"`{param.example}`" if param.example else ""
        yield f"| `{name}` | {kind} | {_default(param)} | {param.meaning} | {example} |"
        if isinstance(param.kind, Struct):
            yield from _rows(params_of(param.kind.of), f"{name}.")


def _default(param: Param) -> str:
    """Return the default as YAML writes it. (Any: plain data.)"""
    if param.required:
        return "required"
    if param.default in (None, ()):
        return "none"
    written: Any = param.kind.write(param.default)
    return f"`{str(written).lower() if isinstance(written, bool) else written}`"


if __name__ == "__main__":
    sys.stdout.write(describe(FAULT_TYPES))
