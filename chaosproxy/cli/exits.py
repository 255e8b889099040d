"""Exit codes, and the errors that end a command with one of them.

    0  success
    1  a verdict failed
    2  bad input or usage; also a request that a running server refused
    3  could not start, or could not reach the server

An error is printed on stderr: as an `error:` line with its problems below, or as one JSON
object where the command was given `--json`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import click

from chaosproxy.cli.printing import print_json, print_text
from chaosproxy.errors import Code, Problem

__all__ = [
    "BAD_INPUT", "CANNOT_START", "VERDICT_FAILED", "BadInput", "CannotReach", "CannotStart", "Described",
    "VerdictFailed", "described",
]  # fmt: skip

VERDICT_FAILED = 1
BAD_INPUT = 2
CANNOT_START = 3

Described: TypeAlias = dict[str, str]
"""A problem as JSON shows it: `path`, `code` and `message`."""


def described(problem: Problem) -> Described:
    """Return the problem as JSON shows it, here and in responses of the REST API."""
    return {"path": problem.field, "code": problem.code, "message": problem.message}


class _Failure(click.ClickException):
    """End the command; click prints the error through `show`."""

    def __init__(self, message: str, code: Code | str, problems: Iterable[Described] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.described = list(problems)
        context = click.get_current_context(silent=True)
        self._as_json = context is not None and bool(context.params.get("as_json"))

    def show(self, file: object = None) -> None:
        if self._as_json:
            message = " ".join(self.message.split())  # a message for people may have several lines
            print_json({"error": message, "code": self.code, "problems": self.described}, err=True)
        else:
            self.show_text()

    def show_text(self) -> None:
        """Print one `error:` line, and below it each problem on an indented line."""
        lines = [": ".join(part for part in (one["path"], one["message"]) if part) for one in self.described]
        print_text("\n  ".join([f"error: {self.message}", *lines]), err=True)


class VerdictFailed(_Failure):
    """The expected effect was not seen."""

    exit_code = VERDICT_FAILED

    def __init__(self, message: str) -> None:
        super().__init__(message, "no-effect")


class BadInput(_Failure):
    """The input is wrong; each problem is shown on a line of its own."""

    exit_code = BAD_INPUT

    def __init__(
        self, message: str, problems: Iterable[Described] = (), code: Code | str = "invalid-input"
    ) -> None:
        super().__init__(message, code, problems)


class CannotStart(_Failure):
    """The machine does not allow it, such as a port that is taken."""

    exit_code = CANNOT_START

    def __init__(self, message: str, code: Code = "unsupported") -> None:
        super().__init__(message, code)


class CannotReach(_Failure):
    """No chaosproxy responds at the URL."""

    exit_code = CANNOT_START

    def __init__(self, message: str) -> None:
        super().__init__(message, "no-server")
