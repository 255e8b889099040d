"""Exit codes, and the errors that end a command with one of them.

    0  good
    1  a verdict failed
    2  bad input or usage; also what a running server refused
    3  could not start, or could not reach the server
"""

from __future__ import annotations

from collections.abc import Iterable

import click

__all__ = ["BAD_INPUT", "CANNOT_START", "VERDICT_FAILED", "BadInput", "CannotReach", "CannotStart", "VerdictFailed"]

VERDICT_FAILED = 1
BAD_INPUT = 2
CANNOT_START = 3


class _Failure(click.ClickException):
    """Ends the command; click prints it through `show`."""

    def show(self, file: object = None) -> None:
        """One `error:` line, and what follows it indented, on stderr."""
        click.echo(f"error: {self.message}", err=True)


class VerdictFailed(_Failure):
    """What was to be shown was not seen."""

    exit_code = VERDICT_FAILED


class BadInput(_Failure):
    """The words given are wrong; every problem is shown on a line of its own."""

    exit_code = BAD_INPUT

    def __init__(self, message: str, problems: Iterable[object] = ()) -> None:
        super().__init__("\n  ".join([message, *map(str, problems)]))


class CannotStart(_Failure):
    """The machine said no, such as a port that is taken."""

    exit_code = CANNOT_START


class CannotReach(_Failure):
    """No server answers."""

    exit_code = CANNOT_START
