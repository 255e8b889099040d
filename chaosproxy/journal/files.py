"""Read a journal from its files."""

from __future__ import annotations

from pathlib import Path

from chaosproxy.errors import InvalidInput, Problem
from chaosproxy.events import Event
from chaosproxy.journal.lines import Header, Part, part_of

__all__ = ["older", "read_journal", "read_parts"]


def older(path: Path) -> Path:
    """Return the path to which a full file is renamed: FILE.1."""
    return path.with_name(f"{path.name}.1")


def read_journal(path: Path) -> tuple[Header, list[Event]]:
    """Return the first header and all events of a journal, with those of FILE.1 if it is its part before.

    The `at` of an event is in seconds since `started`.

    :raises InvalidInput: a file cannot be read or is not a journal; the message names the file and the line.
    """
    parts = read_parts(path)
    events = [*parts[0].state, *(event for part in parts for event in part.events)]
    return parts[0].header, events


def read_parts(path: Path) -> list[Part]:
    """Return the files of a journal in order: FILE.1, if FILE continues it, and FILE.

    :raises InvalidInput: as `read_journal` does.
    """
    latest = _read(path)
    before = older(path)
    if latest.header.part == 1 or not before.exists():
        return [latest]
    first = _read(before)
    one, two = first.header, latest.header
    continues = (one.started, one.seed, one.part + 1) == (two.started, two.seed, two.part)
    return [first, latest] if continues else [latest]


def _read(path: Path) -> Part:
    try:
        with path.open("rb") as lines:
            return part_of(lines, str(path))
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}; name a file that `serve --journal` has written"
        raise InvalidInput([Problem((), "unreadable-file", message)]) from None
