"""All exceptions that chaosproxy raises on purpose, in one tree, split by whose fault the error is.

    ChaosproxyError
    ├── InvalidInput      the input is wrong; carries every Problem found
    ├── NotFound          the named thing does not exist
    ├── Conflict          the request contradicts the current state
    │   └── Unsupported   this machine, or these privileges, cannot do it
    └── CannotListen      the operating system refused to bind an address

Each error and each Problem has a `code` for programs and a message for people. The codes are
the closed set `Code` (docs/errors.md lists them); they stay when a message is reworded. A
message says what is wrong and what would be right. HTTP status codes and exit codes are not
known here: they are in the tables of the API and of the command line.

`BadValue` stands outside the tree. The reader of a single value raises it, without knowing
where in the document the value is; its caller turns it into a Problem with a path.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, TypeAlias

from chaosproxy.text import escaped

__all__ = [
    "BadValue", "CannotListen", "ChaosproxyError", "Code", "Conflict", "InvalidInput", "MOST_PROBLEMS", "NotFound",
    "Path", "Problem", "Unsupported", "first_of", "listed", "more_problems", "shown",
]  # fmt: skip

Code: TypeAlias = Literal[
    # a value
    "wrong-type",
    "malformed",
    "empty",
    "too-large",
    "out-of-range",
    "not-a-duration",
    "not-a-size",
    "not-a-rate",
    "not-a-share",
    "not-an-address",
    "unit-missing",
    "unknown-unit",
    "unknown-value",
    "unknown-fault-type",
    "unknown-node",
    "invalid-name",
    # a key
    "missing",
    "unknown-key",
    "duplicate",
    "not-applicable",
    "invalid-together",
    "immutable",
    "upstream-loop",
    # a whole
    "no-effect",
    "more-problems",
    "invalid-input",
    # a file or a text
    "unreadable-file",
    "unwritable-file",
    "not-utf-8",
    "not-yaml",
    "unsupported-yaml",
    "unsupported-version",
    "variable-not-set",
    "bad-certificate",
    "expired-certificate",
    "bad-key",
    # the machine
    "unsupported",
    "unsupported-mode",
    "cannot-listen",
    "address-in-use",
    "address-not-available",
    "permission-denied",
    "unknown-host",
    # the running server
    "not-found",
    "ambiguous-name",
    "no-server",
    "conflict",
    "name-taken",
    # a request
    "not-json",
    "unsupported-media-type",
    "method-not-allowed",
    "unauthorized",
    "foreign-host",
    "foreign-page",
    "forbidden-by-policy",
    "bad-request",
    "internal-error",
]
"""Every code that an error or a Problem may have. docs/errors.md gives the meaning of each."""

Path = tuple[str | int, ...]
"""The place of a value in its document: keys and list indices from the root."""

MOST_PROBLEMS = 20
"""The most problems that a response lists; one more says how many there are beyond."""
_LISTED = 20
"""The most known names that a message lists."""
_ECHO = 60
"""Characters of a given value that a message repeats at most."""


def shown(value: object) -> str:
    """Return a value as a message repeats it: in the notation of YAML and JSON, on one line, shortened."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return escaped(repr(value) if len(value) <= _ECHO else f"{value[:_ECHO]!r}… ({len(value)} characters)")
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
    """One error in an input."""

    path: Path
    """The field that is wrong; `()` for the whole document."""
    code: Code
    message: str
    """For people: what is wrong; what would be right."""
    at_key: bool = False
    """True if the last key of the path is itself wrong, not the value under it."""

    @property
    def field(self) -> str:
        """Return the path as people write it: `proxies.db.faults.slow.delay`; long or unprintable keys as `shown`."""
        return ".".join(
            part if isinstance(part, str) and escaped(part) == part and len(part) <= _ECHO else shown(part)
            for part in self.path
        )

    def under(self, *path: str | int) -> Problem:
        """Return the same problem with the path of an enclosing document."""
        return replace(self, path=(*path, *self.path))

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.path else self.message


def more_problems(count: int, last: Problem) -> Problem:
    """Return the problem that stands for `count` more, after the `last` one that is listed."""
    message = f"{count} more problem{'s are' if count > 1 else ' is'} not shown; correct these first"
    return Problem(last.path, "more-problems", message, last.at_key)


def first_of(problems: Sequence[Problem]) -> list[Problem]:
    """Return the first problems, and one that says how many more there are."""
    shown_ones, more = list(problems[:MOST_PROBLEMS]), len(problems) - MOST_PROBLEMS
    if more == 1 and problems[-1].code == "more-problems":
        return list(problems)
    return [*shown_ones, more_problems(more, shown_ones[-1])] if more > 0 else shown_ones


def listed(words: Iterable[str]) -> str:
    """Return words with commas, the first 20 of them if there are more, each shortened."""
    some = [one if len(one) <= 200 else f"{one[:200]}…" for one in islice(words, _LISTED + 1)]
    return ", ".join(some if len(some) <= _LISTED else [*some[:_LISTED], "…"])


class BadValue(ValueError):
    """A single value is wrong; the message says what is wrong and what would be right."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class ChaosproxyError(Exception):
    """The root of all exceptions that chaosproxy raises on purpose."""

    code: Code

    def __init__(self, message: str, code: Code | None = None, problems: Sequence[Problem] = ()) -> None:
        """Without `code` the error has the general one of its class; `problems` are the fields that cause it."""
        super().__init__(message)
        if code is not None:
            self.code = code
        self.problems = tuple(problems)

    def at(self, *path: str | int) -> Problem:
        """Return the error as a problem of the field that causes it."""
        return Problem(path, self.code, str(self))


class InvalidInput(ChaosproxyError):
    """The input is wrong; `problems` lists all errors found, not only the first."""

    code: Code = "invalid-input"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in first_of(problems)), problems=problems)


class NotFound(ChaosproxyError):
    """The named thing does not exist."""

    code: Code = "not-found"


class Conflict(ChaosproxyError):
    """The request contradicts the current state, such as a name that is taken."""

    code: Code = "conflict"

    @classmethod
    def name_taken(cls, thing: str, field: str = "name") -> Conflict:
        """Return the error for the name of a thing that exists, such as `the proxy 'db'`, in `field`."""
        message = f"{thing} already exists; remove it first, or use another {field}"
        return cls(message, "name-taken", [Problem((field,), "name-taken", message)])


class Unsupported(Conflict):
    """The request is valid, but this machine or these privileges cannot do it; the message says what would help."""

    code: Code = "unsupported"

    def __init__(self, message: str, problems: Sequence[Problem] = (), code: Code | None = None) -> None:
        """`problems` lists the fields that ask for it, if they are known; a code that they share is the error's."""
        shared = {problem.code for problem in problems}
        super().__init__(message, code or (shared.pop() if len(shared) == 1 else None), problems)


_LISTEN_CODES: dict[int | None, Code] = {
    errno.EADDRINUSE: "address-in-use",
    errno.EADDRNOTAVAIL: "address-not-available",
    errno.EAFNOSUPPORT: "address-not-available",
    errno.EACCES: "permission-denied",
    errno.EPERM: "permission-denied",
}
_LISTEN_ADVICE: dict[Code | None, str] = {
    "address-in-use": "; choose another port, or stop the program that uses it",
    "address-not-available": "; choose an address of this machine",
    "permission-denied": "; choose a port from 1024 on, or run with the privileges to bind it",
}


_PATH_ADVICE = "; choose another path, stop the program that uses it, or delete the file if none does"


class CannotListen(ChaosproxyError):
    """An address could not be bound; the message gives the reason."""

    code: Code = "cannot-listen"

    @classmethod
    def because(cls, address: object, error: OSError) -> CannotListen:
        """Return the error for an address that the operating system refused to bind."""
        code = _LISTEN_CODES.get(error.errno)
        # asyncio puts a text of its own, with the address once more, in place of the system's.
        reason = os.strerror(error.errno) if error.errno and code else error.strerror or error
        is_path = code == "address-in-use" and str(address).startswith("unix:")
        advice = _PATH_ADVICE if is_path else _LISTEN_ADVICE.get(code, "")
        return cls(f"cannot listen on {address}: {reason}{advice}", code)
