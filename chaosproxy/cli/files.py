"""Configuration files: read and prepared, with every error of the file shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosproxy.cli.exits import CANNOT_START, BadInput
from chaosproxy.model import Config

if TYPE_CHECKING:
    from chaosproxy.config import LocatedProblem
    from chaosproxy.control.preflight import Prepared, Refusal

__all__ = ["InvalidFile", "UnsupportedFile", "load_file"]


class InvalidFile(BadInput):
    """A file is wrong; `FILE:LINE:COL: path.to.field: what is wrong; what would be right` for each problem."""

    def __init__(self, path: Path, problems: Iterable[LocatedProblem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{path} has {count}:")

    def show(self, file: object = None) -> None:
        """Each problem at the start of its own line, so that editors can jump to it."""
        super().show()
        for problem in self.problems:
            click.echo(str(problem), err=True)


class UnsupportedFile(InvalidFile):
    """A file is right, but this machine cannot do all of it."""

    exit_code = CANNOT_START


def load_file(path: Path, prepare: Callable[[Config], Prepared | Refusal]) -> Prepared:
    """The configuration in a file, prepared by preflight.

    :raises UnsupportedFile: this machine cannot do all of it; every problem is on a line of its own.
    :raises BadInput: it cannot be read, or is wrong; every problem is on a line of its own.
    """
    from chaosproxy.config import ConfigError, read  # loaded late: most commands need no YAML
    from chaosproxy.control.preflight import Refusal

    try:
        file = read(path.read_bytes(), str(path), os.environ)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from None
    except ConfigError as error:
        raise InvalidFile(path, error.located) from None
    found = prepare(file.config)
    if isinstance(found, Refusal):
        refused = InvalidFile if found.invalid else UnsupportedFile
        raise refused(path, file.locate(found.problems))
    return found
