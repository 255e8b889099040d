"""The lines of a journal, and its files."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.errors import InvalidInput
from chaosproxy.events import Event, FaultAdded, Lagged, ProxyRemoved
from chaosproxy.journal.files import read_journal, read_parts
from chaosproxy.journal.form import KINDS
from chaosproxy.journal.lines import BEGIN, Header, gap_line, header_line, line_of, part_of
from tests.journal.test_form import EVENTS

HEADER = Header(started="2026-01-31T12:00:00.000000Z", seed=7, chaosproxy="0.1.0")
TIMES = st.integers(0, 10**12).map(lambda micros: micros / 1e6)


def removed(name: str, at: float = 1.0) -> ProxyRemoved:
    return ProxyRemoved(at=at, proxy=name, by="test")


def text_of(*events: Event, header: Header = HEADER) -> bytes:
    return header_line(header) + b"".join(line_of(event, 0.0) for event in events)


@given(st.lists(st.builds(lambda event, at: replace(event, at=at), EVENTS, TIMES), max_size=8), st.data())
def test_wherever_a_file_is_cut_all_whole_lines_are_read(events: list[Event], data: st.DataObject) -> None:
    first, text = header_line(HEADER), text_of(*events)
    cut = data.draw(st.integers(len(first), len(text)))
    part = part_of(text[:cut].splitlines(keepends=True), "FILE")
    assert part.header == HEADER
    assert part.events == tuple(events[: text[len(first) : cut].count(b"\n")])


@given(st.integers(0, len(header_line(HEADER)) - 1))
def test_without_a_whole_header_there_is_nothing_to_read(cut: int) -> None:
    with pytest.raises(InvalidInput, match=r"^FILE:1: the first line is missing or cut; a journal begins"):
        part_of(header_line(HEADER)[:cut].splitlines(keepends=True), "FILE")


def test_times_are_seconds_since_the_start() -> None:
    line = json.loads(line_of(removed("db", at=100.1234567), 100.0))
    assert line == {"t": 0.123457, "kind": "proxy_removed", "proxy": "db", "by": "test"}
    assert header_line(HEADER).startswith(BEGIN)


def test_lines_of_a_later_minor_change_are_skipped_and_gaps_are_added_up() -> None:
    later = b'{"t": 1.0, "kind": "proxy_painted", "colour": "red"}\n'
    text = text_of(removed("a")) + later + gap_line(3) + gap_line(4) + line_of(removed("b"), 0.0)
    part = part_of(text.splitlines(keepends=True), "FILE")
    assert part.events == (removed("a"), removed("b"))
    assert part.missed == 7


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (text_of() + b"nonsense\n", "not-json", "FILE:2: the line is not a JSON object; each line of a journal"),
        (text_of() + b"[" * 100_000 + b"\n", "not-json", "FILE:2: the line is not a JSON object"),
        (b"version: 1\n", "not-json", "FILE:1: the line is not a JSON object; a journal begins with a header"),
        (line_of(removed("a"), 0.0), "malformed", "FILE:1: the header is missing; a journal begins with a header"),
        (header_line(replace(HEADER, version=2)), "unsupported-version", "FILE:1: version 2 is newer than 1; read it"),
        (header_line(replace(HEADER, started="now")), "malformed", "FILE:1: started is 'now'; use a time such as"),
        (BEGIN + b'"version": 1, "started": "2026-01-31"}\n', "malformed", "FILE:1: seed is null; use a whole number"),
        (text_of() + b'{"kind": "proxy_removed"}\n', "malformed", "FILE:2: t is null; use the seconds since"),
        (text_of() + b'{"t": 1, "kind": "turns_counted", "proxy": "a", "seconds": 1, "felt": {"x": 1}}\n', "malformed",
         "FILE:2: a field of 'turns_counted' has a value of another type; see docs/journal.md"),
    ],
)  # fmt: skip
def test_an_error_names_the_line_and_the_correction(text: bytes, code: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{re.escape(message)}") as caught:
        part_of(text.splitlines(keepends=True), "FILE")
    assert caught.value.problems[0].code == code


def test_a_file_is_read_after_the_one_that_it_continues(tmp_path: Path) -> None:
    path, before = tmp_path / "journal", tmp_path / "journal.1"
    second = replace(HEADER, part=2, state=1)
    before.write_bytes(text_of(removed("a"), removed("b")))
    path.write_bytes(text_of(removed("a"), removed("c"), header=second))
    assert read_journal(path) == (HEADER, [removed("a"), removed("b"), removed("c")])
    assert read_journal(before) == (HEADER, [removed("a"), removed("b")])


@pytest.mark.parametrize("other", [{"started": "2026-01-30T12:00:00Z"}, {"seed": 8}, {"part": 5}])
def test_a_file_of_another_run_is_not_read(tmp_path: Path, other: dict[str, str]) -> None:
    path, second = tmp_path / "journal", replace(HEADER, part=2, state=1)
    (tmp_path / "journal.1").write_bytes(text_of(removed("b"), header=replace(HEADER, **other)))  # type: ignore[arg-type]  # each value fits its field
    path.write_bytes(text_of(removed("a"), removed("c"), header=second))
    assert read_journal(path) == (second, [removed("a"), removed("c")])
    path.write_bytes(text_of(removed("d")))
    assert [part.events for part in read_parts(path)] == [(removed("d"),)], "a first part continues nothing"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read .*none: No such file") as caught:
        read_journal(tmp_path / "none")
    assert caught.value.problems[0].code == "unreadable-file"


def test_the_documentation_lists_every_kind_with_its_fields() -> None:
    page = (Path(__file__).parents[2] / "docs" / "journal.md").read_text()
    section = page.partition("## Lines")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|$", section, re.MULTILINE)
    documented = {kind: set(re.findall(r"`(\w+)`", names)) for kind, names in rows}
    written = {kind: event for kind, event in KINDS.items() if event is not Lagged}  # only streams have this
    expected = {kind: {one.name for one in fields(event)} - {"at"} for kind, event in written.items()}
    assert documented == expected
    assert len(rows) == len(documented)


def test_the_state_of_the_documentation_is_an_event() -> None:
    page = (Path(__file__).parents[2] / "docs" / "journal.md").read_text()
    example = page.partition("```json\n")[2].partition("```")[0].encode()
    part = part_of(example.splitlines(keepends=True), "docs/journal.md")
    assert part.header.started and any(isinstance(event, FaultAdded) for event in part.events)
