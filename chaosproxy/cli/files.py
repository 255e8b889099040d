"""Configuration files: read, with every error of the file shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosproxy.cli.exits import CANNOT_START, BadInput
from chaosproxy.errors import Problem
from chaosproxy.model import Config

if TYPE_CHECKING:
    from chaosproxy.config import LocatedProblem

__all__ = ["InfeasibleFile", "InvalidFile", "load_file"]


def _unfit(config: Config) -> Iterator[Problem]:
    """What is wrong with the certificates and keys that a configuration names."""
    speaking = [proxy for proxy in config.proxies if proxy.listen_tls is not None or proxy.upstream_tls is not None]
    if speaking:
        from chaosproxy.net.tls.endpoint import tls_problems  # loaded late: most configurations have no TLS

        for proxy in speaking:
            for problem in tls_problems(proxy):
                yield problem.under("proxies", proxy.name)


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


class InfeasibleFile(InvalidFile):
    """A file is right, but what it asks for cannot be done here."""

    exit_code = CANNOT_START


def load_file(path: Path, infeasible: Callable[[Config], Iterable[Problem]] | None = None) -> Config:
    """The configuration in a file; `infeasible` says what of it cannot be done here.

    :raises InfeasibleFile: that; every problem is on a line of its own.
    :raises BadInput: it cannot be read, or is wrong; every problem is on a line of its own.
    """
    from chaosproxy.config import ConfigError, Infeasible, load  # loaded late: most commands need no YAML

    try:
        return load(path.read_bytes(), str(path), os.environ, infeasible, _unfit)
    except Infeasible as error:
        raise InfeasibleFile(path, error.located) from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from None
    except ConfigError as error:
        raise InvalidFile(path, error.located) from None
