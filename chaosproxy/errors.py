"""Every exception chaosproxy raises on purpose, in one tree, split by whose fault it is.

    ChaosproxyError
    ├── InvalidInput      the caller's words are wrong; carries every Problem found
    ├── NotFound          the caller named something that is not there
    ├── Conflict          the caller's wish collides with what is there
    │   └── Unsupported   this machine, or these privileges, cannot do it
    └── CannotListen      the machine said no: an address could not be bound

A message says what, where, what was given and what would be right. HTTP status
codes and exit codes are not known here: they live in the API's and the CLI's tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = [
    "CannotListen", "ChaosproxyError", "Conflict", "InvalidInput", "NotFound", "Path", "Problem",
    "Unsupported", "shown",
]  # fmt: skip

Path = tuple[str | int, ...]
"""Where a value stands in its document: keys and list indices from the root."""

_ECHO = 60
"""The most characters of a given value that a message repeats."""


def shown(value: object) -> str:
    """A value as a message repeats it: in the words of YAML and JSON, in one line, never long."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value) if len(value) <= _ECHO else f"{value[:_ECHO]!r}… ({len(value)} characters)"
        case int():
            return str(value) if value.bit_length() <= 200 else "a number of very many digits"
        case float():
            return repr(value)
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return f"a value of type {type(value).__name__}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input."""

    path: Path
    """The field it is wrong in; `()` for the whole document."""
    message: str
    """What is wrong; what would be right."""
    at_key: bool = False
    """The last key of the path is wrong itself, not the value under it."""

    @property
    def field(self) -> str:
        """The path as people write it: `proxies.db.faults.slow.delay`; long or unprintable keys as `shown`."""
        return ".".join(
            part if isinstance(part, str) and part.isprintable() and len(part) <= _ECHO else shown(part)
            for part in self.path
        )

    def under(self, *path: str | int) -> Problem:
        """The same problem, of a document that this one is a part of."""
        return replace(self, path=(*path, *self.path))

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.path else self.message


class ChaosproxyError(Exception):
    """Root of everything chaosproxy raises on purpose."""


class InvalidInput(ChaosproxyError):
    """The input is wrong; `problems` names every place, not the first alone."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class NotFound(ChaosproxyError):
    """Something was named that is not there."""


class Conflict(ChaosproxyError):
    """The wish collides with what is there, such as a name that is taken."""


class Unsupported(Conflict):
    """The wish is right, but this machine or these privileges cannot do it; the message says how it could.

    `problems` names the fields that ask for it, where they are known.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class CannotListen(ChaosproxyError):
    """An address could not be bound; the message gives the reason."""
