"""Read configuration files and show every error in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from chaosproxy.cli.exits import CANNOT_START, BadInput, described
from chaosproxy.cli.printing import print_text
from chaosproxy.model import Config
from chaosproxy.seed import Seed

if TYPE_CHECKING:
    from chaosproxy.config import ConfigFile, LocatedProblem
    from chaosproxy.control.preflight import Prepared, Refusal

__all__ = ["InvalidFile", "UnsupportedFile", "load_file", "prepare_anywhere"]


class InvalidFile(BadInput):
    """A file is wrong; each problem is shown as `FILE:LINE:COL: path.to.field: message`."""

    def __init__(self, path: Path, problems: Iterable[LocatedProblem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{path} has {count}:", map(described, self.problems))

    def show_text(self) -> None:
        """Print each problem from the start of a line, so that editors can jump to its place."""
        print_text(f"error: {self.message}", err=True)
        for problem in self.problems:
            print_text(str(problem), err=True)


class UnsupportedFile(InvalidFile):
    """A file is valid, but this machine cannot do all of it."""

    exit_code = CANNOT_START


def load_file(path: Path, prepare: Callable[[Config], Prepared | Refusal]) -> tuple[Prepared, ConfigFile]:
    """Read the configuration in a file and prepare it by preflight; return it, and the file with the places in it.

    :raises UnsupportedFile: this machine cannot do all of it.
    :raises BadInput: the file cannot be read, or is wrong.
    """
    from chaosproxy.config import ConfigError, read  # imported late: most commands need no YAML
    from chaosproxy.control.preflight import Refusal

    try:
        file = read(path.read_bytes(), str(path), os.environ)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}", code="unreadable-file") from None
    except ConfigError as error:
        raise InvalidFile(path, error.located) from None
    found = prepare(file.config)
    if isinstance(found, Refusal):
        refused = InvalidFile if found.invalid else UnsupportedFile
        raise refused(path, file.locate(found.problems))
    return found, file


def prepare_anywhere(config: Config) -> Prepared | Refusal:
    """Check the file and not the machine; without a seed in it, any may be drawn."""
    from chaosproxy.control.preflight import preflight
    from chaosproxy.net.kernel.capabilities import anywhere

    return preflight(config, None if config.seed is None else Seed(config.seed), anywhere())
