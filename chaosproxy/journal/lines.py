"""The lines of a journal: a header, then one event per line as JSON. Pure.

docs/journal.md describes them. A whole line ends with a line feed; the last one may be cut, since a writer may be
killed in the middle of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from chaosproxy.errors import Code, InvalidInput, Problem, shown
from chaosproxy.events import Event
from chaosproxy.journal.form import KINDS, event_of

__all__ = ["BEGIN", "VERSION", "Header", "Part", "gap_line", "header_line", "line_of", "part_of"]

VERSION = 1
"""The version of the format. It changes when a reader of the old one would misunderstand the new one."""

_encode = json.JSONEncoder(separators=(", ", ": "), check_circular=False).encode

_NAMES = {kind: tuple(one.name for one in fields(kind) if one.name != "at") for kind in KINDS.values()}

BEGIN = b'{"kind": "journal", '
"""The first bytes of every journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first line of a file."""

    version: int = VERSION
    started: str
    """The moment at which the time `t` of the lines is 0, in the form of RFC 3339, with microseconds."""
    seed: int
    chaosproxy: str
    """The version of the program that wrote it."""
    part: int = 1
    """The number of the file in its set; each rotation adds 1."""
    state: int = 0
    """The number of lines after the header that repeat events of earlier parts which still hold."""


@dataclass(frozen=True, slots=True)
class Part:
    """The content of one file."""

    header: Header
    state: tuple[Event, ...]
    """The events of earlier parts that still held when this one began."""
    events: tuple[Event, ...]
    missed: int
    """Lines that the writer dropped, because the disk was too slow."""


def header_line(header: Header) -> bytes:
    """Return the first line of a file."""
    return f"{_encode({'kind': 'journal', **asdict(header)})}\n".encode()


def line_of(event: Event, zero: float) -> bytes:
    """Return the line of an event; `zero` is the time `at` of the journal's start."""
    values: dict[str, object] = {"t": round(event.at - zero, 6), "kind": event.kind}
    # The encoder spells tuples and numeric keys as `form.values_of` does, and takes half its time.
    for name in _NAMES[type(event)]:
        values[name] = getattr(event, name)
    return f"{_encode(values)}\n".encode()


def gap_line(missed: int) -> bytes:
    """Return the line in the place of dropped ones."""
    return b'{"kind": "gap", "missed": %d}\n' % missed


def part_of(lines: Iterable[bytes], name: str) -> Part:
    """Return the content of a file, from its lines with their line feeds; `name` is its name for messages.

    The `at` of each event is its `t`. Lines of unknown kinds are left out, and so is a last line that is cut.

    :raises InvalidInput: it has no header, or one of a newer version, or a line that is not one of a journal.
    """
    read = _whole_lines(lines, name)
    try:
        number, values = next(read)
    except StopIteration:
        raise _wrong(name, 1, "malformed", f"the first line is missing or cut; {_NEEDED}") from None
    header = _header(values, name)
    state: list[Event] = []
    events: list[Event] = []
    missed = 0
    for number, values in read:
        if values.get("kind") == "gap":
            missed += _whole(values, "missed", name, number)
        elif (event := _event(values, name, number)) is not None:
            (state if number <= 1 + header.state else events).append(event)
    return Part(header, tuple(state), tuple(events), missed)


def _whole_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            needed = _NEEDED if number == 1 else "each line of a journal is a JSON object"
            raise _wrong(name, number, "not-json", f"the line is not a JSON object; {needed}")
        yield number, values


_NEEDED = 'a journal begins with a header, such as {"kind": "journal", "version": 1, …}'


def _header(values: Mapping[str, object], name: str) -> Header:
    if values.get("kind") != "journal":
        raise _wrong(name, 1, "malformed", f"the header is missing; {_NEEDED}")
    version = _whole(values, "version", name, 1)
    if version > VERSION:
        message = f"version {version} is newer than {VERSION}; read it with the chaosproxy that wrote it"
        raise _wrong(name, 1, "unsupported-version", message)
    header = Header(
        version=version,
        started=_text(values, "started", name),
        seed=_whole(values, "seed", name, 1),
        chaosproxy=_text(values, "chaosproxy", name),
        part=_whole(values, "part", name, 1) if "part" in values else 1,
        state=_whole(values, "state", name, 1) if "state" in values else 0,
    )
    try:
        datetime.fromisoformat(header.started)
    except ValueError:
        message = f"started is {shown(header.started)}; use a time such as 2026-01-31T12:00:00.000000Z"
        raise _wrong(name, 1, "malformed", message) from None
    return header


def _event(values: Mapping[str, object], name: str, number: int) -> Event | None:
    at = values.get("t")
    if not isinstance(at, int | float) or isinstance(at, bool):
        raise _wrong(name, number, "malformed", f"t is {shown(at)}; use the seconds since the journal's start")
    try:
        return event_of(values, float(at))
    except (TypeError, ValueError, OverflowError) as error:
        message = f"a field of {shown(values.get('kind'))} has a value of another type; see docs/journal.md ({error})"
        raise _wrong(name, number, "malformed", message) from None


def _whole(values: Mapping[str, object], key: str, name: str, number: int) -> int:
    value = values.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(name, number, "malformed", f"{key} is {shown(value)}; use a whole number")
    return value


def _text(values: Mapping[str, object], key: str, name: str) -> str:
    value = values.get(key)
    if not isinstance(value, str):
        raise _wrong(name, 1, "malformed", f"{key} is {shown(value)}; use a text")
    return value


def _wrong(name: str, number: int, code: Code, message: str) -> InvalidInput:
    return InvalidInput([Problem((), code, f"{name}:{number}: {message}")])
