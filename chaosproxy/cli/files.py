"""Read configuration files and show every error in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosproxy.cli.exits import CANNOT_START, BadInput, described
from chaosproxy.errors import Problem
from chaosproxy.model import Config

if TYPE_CHECKING:
    from chaosproxy.config import LocatedProblem

__all__ = ["InfeasibleFile", "InvalidFile", "load_file"]


def _unfit(config: Config) -> Iterator[Problem]:
    """Check the certificates and keys that a configuration names."""
    speaking = [proxy for proxy in config.proxies if proxy.listen_tls is not None or proxy.upstream_tls is not None]
    if speaking:
        from chaosproxy.net.tls.endpoint import tls_problems  # imported late: most configurations have no TLS

        for proxy in speaking:
            for problem in tls_problems(proxy):
                yield problem.under("proxies", proxy.name)


class InvalidFile(BadInput):
    """A file is wrong; each problem is shown as `FILE:LINE:COL: path.to.field: message`."""

    def __init__(self, path: Path, problems: tuple[LocatedProblem, ...]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{path} has {count}:", map(described, problems))
        self.problems = problems

    def show_text(self) -> None:
        """Print each problem from the start of a line, so that editors can jump to its place."""
        click.echo(f"error: {self.message}", err=True)
        for problem in self.problems:
            click.echo(str(problem), err=True)


class InfeasibleFile(InvalidFile):
    """A file is valid, but this machine cannot do what it asks for."""

    exit_code = CANNOT_START


def load_file(path: Path, infeasible: Callable[[Config], Iterable[Problem]] | None = None) -> Config:
    """Read the configuration in a file; `infeasible` yields each part of it that this machine cannot do.

    :raises InfeasibleFile: `infeasible` yields a problem.
    :raises BadInput: the file cannot be read, or is wrong.
    """
    from chaosproxy.config import ConfigError, Infeasible, load  # imported late: most commands need no YAML

    try:
        return load(path.read_bytes(), str(path), os.environ, infeasible, _unfit)
    except Infeasible as error:
        raise InfeasibleFile(path, error.located) from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}", code="unreadable-file") from None
    except ConfigError as error:
        raise InvalidFile(path, error.located) from None
