"""Configuration files: read, with every error of the file shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosproxy.cli.exits import BadInput
from chaosproxy.model import Config

if TYPE_CHECKING:
    from chaosproxy.config import LocatedProblem

__all__ = ["InvalidFile", "load_file"]


class InvalidFile(BadInput):
    """A file is wrong; `FILE:LINE:COL: path.to.field: what is wrong; what would be right` for each problem."""

    def __init__(self, path: Path, problems: tuple[LocatedProblem, ...]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{path} has {count}:")
        self.problems = problems

    def show(self, file: object = None) -> None:
        """Each problem at the start of its own line, so that editors can jump to it."""
        super().show()
        for problem in self.problems:
            click.echo(str(problem), err=True)


def load_file(path: Path) -> Config:
    """The configuration in a file.

    :raises BadInput: it cannot be read, or is wrong; every problem is on a line of its own.
    """
    from chaosproxy.config import ConfigError, load  # loaded late: most commands need no YAML

    try:
        return load(path.read_bytes(), str(path), os.environ)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from None
    except ConfigError as error:
        raise InvalidFile(path, error.located) from None
