"""The rules for names of proxies, faults, partitions and nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chaosproxy.declare import Problems, Text
from chaosproxy.errors import BadValue, Code, Path, shown
from chaosproxy.text import NOT_SHOWN, is_one_line

__all__ = ["LONGEST", "LONGEST_NODE", "PATTERN", "RESERVED", "NodeName", "read_name"]

LONGEST = 200
"""The most characters in the name of a proxy, a fault or a partition."""
LONGEST_NODE = 190
"""The most characters in the name of a node, which is part of the name of a fault such as `crash:app`."""
_LINE = rf"[^ {NOT_SHOWN}]([^{NOT_SHOWN}]*[^ {NOT_SHOWN}])?"
RESERVED = "partition:"
"""The prefix of the fault that a partition puts on a proxy, in metrics and logs."""


PATTERN = rf"^(?!{RESERVED}|\.\.?$){_LINE}$(?!\n)"
"""For schemas: each name of a proxy, a fault or a partition."""


def read_name(name: object, problems: Problems, path: Path) -> None:
    """Check a name, and note the problem at the last key of `path`, or at the field `name` for an empty path.

    A name is shown in logs, in metrics and in URLs of the API, so it is one line of printable text.
    """
    code: Code = "invalid-name"
    if not isinstance(name, str):
        code, wrong = "wrong-type", "is not text; put it in quotes"
    elif not name.strip():
        code, wrong = "empty", "is empty; use at least one character"
    elif len(name) > LONGEST:
        code, wrong = "too-large", f"is too long; use at most {LONGEST} characters"
    elif name.startswith(RESERVED):
        wrong = f"begins with {RESERVED!r}, which is reserved for the faults of partitions; use another name"
    elif name in (".", ".."):
        wrong = "means a directory in a URL; use another name"
    elif not _is_one_line(name):
        wrong = _NOT_ONE_LINE
    else:
        return
    problems.add(path or ("name",), code, f"the name {shown(name)} {wrong}", at_key=True)


@dataclass(frozen=True, slots=True)
class NodeName(Text):
    """The name of a node or of a service, which metrics and logs show too."""

    def read(self, value: object) -> str:
        name = Text.read(self, value)
        if not _is_one_line(name):
            raise BadValue("invalid-name", f"the name {shown(name)} {_NOT_ONE_LINE}")
        return name

    def schema(self) -> dict[str, Any]:
        return {**Text.schema(self), "pattern": rf"^{_LINE}$(?!\n)"}


_NOT_ONE_LINE = "has control characters, or spaces at an end; use printable text without them"


def _is_one_line(name: str) -> bool:
    return is_one_line(name) and name == name.strip(" ")
