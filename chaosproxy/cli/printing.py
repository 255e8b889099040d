"""Print results: text and tables for people, JSON for programs.

Everything that a command prints goes through this module, since it may contain text from elsewhere: names, paths, and
messages of a server. Characters that a terminal obeys or hides are escaped.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence

import click

from chaosproxy.text import escaped

__all__ = ["print_json", "print_json_line", "print_table", "print_text"]

_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


def print_text(text: str = "", *, err: bool = False) -> None:
    """Print lines on stdout, or on stderr."""
    click.echo(escaped(text, keep="\n"), err=err)


def print_json(value: object, *, err: bool = False) -> None:
    """Print `value` as indented JSON on stdout, or on stderr."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(_NOT_ASCII.sub(_in_json, text), err=err)


def print_json_line(value: object) -> None:
    """Print `value` as JSON on one line of stdout, in ASCII, and flush it."""
    click.echo(json.dumps(value))


def _in_json(match: re.Match[str]) -> str:
    char = match[0]
    return char if escaped(char) == char else json.dumps(char)[1:-1]


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table on stdout; align the columns named in `right`, which hold numbers, to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(escaped(cell, keep="\n")) for cell in row))
    # A pipe has no width at which to wrap lines.
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
