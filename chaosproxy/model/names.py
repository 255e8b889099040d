"""What proxies and faults may be called."""

from __future__ import annotations

from chaosproxy.declare import Problems
from chaosproxy.errors import Code, Path, shown

__all__ = ["LONGEST", "LONGEST_NODE", "RESERVED", "read_name"]

LONGEST = 200
"""Characters of the name of a proxy, a fault or a partition."""
LONGEST_NODE = 190
"""Characters of a node's name, which is part of the name of a fault such as `crash:app`."""
RESERVED = "partition:"
"""How the name of a partition's part in a proxy begins, in metrics and logs."""


def read_name(name: object, problems: Problems, path: Path) -> None:
    """Note what is wrong with the name: the last key of `path`, or the field `name` where there is no path.

    A name is shown in logs, metrics and addresses of the API: one line of printable text.
    """
    code: Code = "invalid-name"
    if not isinstance(name, str):
        code, wrong = "wrong-type", "is not text; put it in quotes"
    elif not name.strip():
        code, wrong = "empty", "is empty; give it at least one character"
    elif len(name) > LONGEST:
        code, wrong = "too-large", f"is too long; give it at most {LONGEST} characters"
    elif name.startswith(RESERVED):
        wrong = f"begins with {RESERVED!r}, which stands for a partition's part in a proxy; choose another"
    elif name in (".", ".."):
        wrong = "stands for a directory in a path; choose another"
    elif not name.isprintable() or name != name.strip():
        wrong = "holds control characters or spaces around it; give it printable text"
    else:
        return
    problems.add(path or ("name",), code, f"the name {shown(name)} {wrong}", at_key=True)
