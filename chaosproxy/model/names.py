"""The rules for names of proxies, faults, partitions and nodes."""

from __future__ import annotations

from chaosproxy.declare import Problems
from chaosproxy.errors import Code, Path, shown

__all__ = ["LONGEST", "LONGEST_NODE", "RESERVED", "read_name"]

LONGEST = 200
"""The most characters in the name of a proxy, a fault or a partition."""
LONGEST_NODE = 190
"""The most characters in the name of a node, which is part of the name of a fault such as `crash:app`."""
RESERVED = "partition:"
"""The prefix of the fault that a partition puts on a proxy, in metrics and logs."""


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
    elif not name.isprintable() or name != name.strip():
        wrong = "has control characters, or spaces at an end; use printable text without them"
    else:
        return
    problems.add(path or ("name",), code, f"the name {shown(name)} {wrong}", at_key=True)
