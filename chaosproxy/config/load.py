"""Load the text of a configuration file as a Config, or raise all of its errors, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chaosproxy.config.environment import expand
from chaosproxy.config.yaml_tree import BadYaml, Mark, Tree, YamlError, read_tree
from chaosproxy.declare import Problems
from chaosproxy.errors import InvalidInput, Problem
from chaosproxy.model import Config, read_config

__all__ = ["ConfigError", "ConfigFile", "LocatedProblem", "load", "read"]

_MOST_PROBLEMS = 1000
"""The most problems of a file that are shown; its author has an editor to go through them."""


@dataclass(frozen=True, slots=True)
class LocatedProblem(Problem):
    """A Problem and its place in a file."""

    file: str = ""
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        field = f" {self.field}:" if self.path else ""
        return f"{self.file}:{self.line}:{self.column}:{field} {self.message}"


class ConfigError(InvalidInput):
    """A file is wrong; `str()` has one line `FILE:LINE:COL: path.to.field: message` for each problem."""

    def __init__(self, problems: Iterable[LocatedProblem]) -> None:
        self.located = tuple(problems)
        super().__init__(self.located)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.located)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration and the text that it was read from."""

    config: Config
    name: str
    """The file's name in errors."""
    _tree: Tree

    def locate(self, problems: Iterable[Problem]) -> list[LocatedProblem]:
        """Find the place of each problem that was not found in the text alone; return them in order of line."""
        return _in_order(_locate(one, self._tree, self.name) for one in problems)


def load(text: bytes, name: str, environment: Mapping[str, str]) -> Config:
    """Return the configuration in `text`; errors call the file `name`.

    :raises ConfigError: with every problem of the file, in order of line.
    """
    return read(text, name, environment).config


def read(text: bytes, name: str, environment: Mapping[str, str]) -> ConfigFile:
    """Return the configuration in `text`, like `load`, with the place of each part.

    :raises ConfigError: with every problem of the file, in order of line.
    """
    try:
        tree = read_tree(text, lambda value: expand(value, environment))
    except BadYaml as bad:
        raise ConfigError(_in_order(_located(error, name) for error in bad.errors)) from None
    _keep_token_text(tree)
    problems = Problems(_MOST_PROBLEMS)
    config = read_config(tree.root.data, problems)
    found = [_located(error, name) for error in tree.errors]
    found += [_locate(problem, tree, name) for problem in problems if not tree.is_broken(problem.path)]
    if found or config is None:
        raise ConfigError(_in_order(found))
    return ConfigFile(config, name, tree)


def _in_order(problems: Iterable[LocatedProblem]) -> list[LocatedProblem]:
    return sorted(problems, key=lambda problem: (problem.line, problem.column))


def _keep_token_text(tree: Tree) -> None:
    """Keep the text of a token that looks like a number: the author of `${TOKEN}` does not know its value."""
    control = tree.root.children.get("control")
    token = control.children.get("token") if control else None
    if control and token and isinstance(control.data, dict) and isinstance(token.data, bool | int | float):
        control.data["token"] = token.text


def _located(error: YamlError, name: str) -> LocatedProblem:
    line, column = error.mark
    return LocatedProblem(error.path, error.code, error.message, file=name, line=line, column=column)


def _locate(problem: Problem, tree: Tree, name: str) -> LocatedProblem:
    line, column = _mark_of(problem, tree)
    return LocatedProblem(problem.path, problem.code, problem.message, problem.at_key, name, line, column)


def _mark_of(problem: Problem, tree: Tree) -> Mark:
    node, key_mark = tree.find(problem.path)
    return key_mark if node is None or problem.at_key else node.mark
