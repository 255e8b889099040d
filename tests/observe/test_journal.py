"""The file of a journal: every event, rotation, a full disk, a slow one, and the end of the process."""

from __future__ import annotations

import logging
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.errors import ChaosproxyError
from chaosproxy.events import Bus, Event, FaultAdded, ProxyAdded, ProxyRemoved
from chaosproxy.journal.files import older, read_journal, read_parts
from chaosproxy.journal.lines import Header, header_line, line_of
from chaosproxy.observe import Journal, JournalCollector, JournalFile
from tests.journal.test_form import EVENTS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions and limits of POSIX")

HEADER = Header(started="2026-01-31T12:00:00.000000Z", seed=7, chaosproxy="0.1.0")
WITHIN = 30.0


def removed(number: int) -> ProxyRemoved:
    return ProxyRemoved(at=float(number), proxy=f"gone-{number}", by="test")


PROXY = ProxyAdded(at=0.5, proxy="db", listen="l", upstream="u", by="file")
FAULT = FaultAdded(at=0.75, proxy="db", fault="dark", type="stall", effective_mode="", mode_reason="", by="rest")


@contextmanager
def journal(path: Path, **sizes: int) -> Iterator[tuple[Journal, Callable[[Event], None]]]:
    """Write a journal; yield it, and the function that publishes an event."""
    bus = Bus()
    one = Journal(JournalFile(path), bus, HEADER, 0.0, **sizes)
    try:
        yield one, bus.publish
    finally:
        one.close(WITHIN)


def sample(journal: Journal, name: str) -> float:
    families = JournalCollector(journal).collect()
    return next(one.value for family in families for one in family.samples if one.name == name)


@given(st.lists(st.builds(lambda event, ms: replace(event, at=ms / 1e3), EVENTS, st.integers(0, 10**9)), max_size=9))
def test_every_event_comes_back(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    with journal(path) as (_, publish):
        for event in events:
            publish(event)
    assert read_journal(path) == (HEADER, events)


def test_rotation_keeps_the_order_and_each_file_can_be_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with journal(path, part_size=1_000) as (_, publish):
        for event in (PROXY, FAULT, *map(removed, range(1, 101))):
            publish(event)
    first, latest = read_parts(path)
    assert (latest.header.part, latest.header.state) == (first.header.part + 1, 2)
    assert first.state == latest.state == (PROXY, FAULT)
    numbers = [int(event.at) for event in (*first.events, *latest.events)]
    assert numbers == list(range(numbers[0], 101))
    assert 10 < len(first.events) < 100
    assert read_journal(older(path))[1] == [PROXY, FAULT, *first.events]
    assert read_journal(path)[1] == [PROXY, FAULT, *first.events, *latest.events]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["journal", "journal.1"]


def test_a_file_is_not_much_longer_than_its_size(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with journal(path, part_size=1_000) as (_, publish):
        for number in range(100):
            publish(removed(number))
    line, first = len(line_of(removed(10), 0.0)), len(header_line(replace(HEADER, part=10)))
    assert 1_000 - line < older(path).stat().st_size - first <= 1_000


def test_a_journal_that_exists_is_kept_as_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for number in (1, 2):
        with journal(path) as (_, publish):
            publish(removed(number))
    assert read_journal(older(path))[1] == [removed(1)]
    assert read_journal(path)[1] == [removed(2)]


def test_the_file_is_not_for_everybody(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with journal(tmp_path / "journal"):
            assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o640
    finally:
        os.umask(mask)


@pytest.mark.parametrize("name", ["journal", "journal.1"])
@pytest.mark.parametrize("make", [lambda path: path.write_text("version: 1\n"), os.mkfifo, os.mkdir])
def test_a_file_that_is_not_a_journal_stays(tmp_path: Path, name: str, make: Callable[[Path], object]) -> None:
    make(tmp_path / name)
    before = (tmp_path / name).stat()
    with pytest.raises(ChaosproxyError, match=f"{name} exists and is not a journal; name another file") as caught:
        JournalFile(tmp_path / "journal")
    assert caught.value.code == "unwritable-file"
    assert (tmp_path / name).stat().st_ino == before.st_ino
    assert len(list(tmp_path.iterdir())) == 1


def test_a_journal_that_was_killed_in_its_first_line_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"kind": "jou')
    with journal(path):
        pass
    assert older(path).read_bytes() == b'{"kind": "jou'


def test_a_directory_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ChaosproxyError, match=r"cannot write the journal .*: No such file or directory; name a file"):
        JournalFile(tmp_path / "none" / "journal")


def test_a_full_disk_ends_the_journal_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    seen: list[Event] = []
    bus = Bus()
    one = Journal(JournalFile(path), bus, HEADER, 0.0)
    bus.subscribe(seen.append)
    with caplog.at_level(logging.ERROR):
        try:
            bus.publish(removed(1))
            assert one.flush(WITHIN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
            bus.publish(removed(2))
            assert one.flush(WITHIN)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        bus.publish(removed(3))
        one.close(WITHIN)
    assert seen == [removed(1), removed(2), removed(3)], "everything else goes on"
    assert read_journal(path)[1] == [removed(1)], "the second is cut, and the third does not follow it"
    assert [record.message for record in caplog.records] == [
        f"the journal {path} has ended: File too large; the proxies serve on"
    ]
    assert sample(one, "chaosproxy_journal_lines_dropped_total") == 2
    assert sample(one, "chaosproxy_journal_ended") == 1


def test_lines_that_were_waiting_when_the_disk_was_full_are_not_written_later(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    file = JournalFile(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        with pytest.raises(OSError, match="File too large"):
            file.write([b"first\n"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(OSError, match="File too large"):
        file.write([b"second\n"])
    file.close()
    assert path.read_bytes() == b""


def test_a_directory_that_vanishes_ends_the_journal_at_the_next_rotation(tmp_path: Path) -> None:
    path = tmp_path / "directory" / "journal"
    path.parent.mkdir()
    with journal(path, part_size=100) as (one, publish):
        publish(removed(1))
        assert one.flush(WITHIN)
        path.unlink()
        path.parent.rmdir()
        assert sample(one, "chaosproxy_journal_ended") == 0
        publish(removed(2))
        assert one.flush(WITHIN)
        assert one.ended == "No such file or directory"


def test_a_file_that_was_moved_away_is_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with journal(path, part_size=100) as (one, publish):
        publish(removed(1))
        assert one.flush(WITHIN)
        path.rename(tmp_path / "moved")
        publish(removed(2))
    assert read_journal(tmp_path / "moved")[1] == [removed(1)]
    assert read_journal(path)[1] == [removed(2)]


def test_a_slow_disk_stops_nothing_and_leaves_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    begun, resume = threading.Event(), threading.Event()

    class Slow(JournalFile):
        def write(self, lines: list[bytes]) -> None:
            begun.set()
            assert resume.wait(WITHIN)
            super().write(lines)

    bus = Bus()
    one = Journal(Slow(path), bus, HEADER, 0.0, max_bytes=1_000)
    assert begun.wait(WITHIN), "the thread waits for the disk"
    for number in range(1, 101):
        bus.publish(removed(number))
    dropped = one.dropped
    assert 80 < dropped < 100
    assert not one.flush(0.01)
    resume.set()
    assert one.flush(WITHIN)
    bus.publish(removed(101))
    one.close(WITHIN)
    (part,) = read_parts(path)
    assert part.missed == dropped
    assert part.events == (*map(removed, range(1, 101 - dropped)), removed(101))


def test_a_header_is_written_even_if_the_queue_is_full(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with journal(path, max_bytes=0) as (one, publish):
        publish(removed(1))
    assert read_journal(path) == (HEADER, [])
    assert one.dropped == 1


KILLED = """
import itertools, sys
from pathlib import Path
from chaosproxy.events import Bus
from chaosproxy.observe import Journal, JournalFile
from tests.observe.test_journal import HEADER, removed
bus = Bus()
journal = Journal(JournalFile(Path(sys.argv[1])), bus, HEADER, 0.0)
for number in itertools.count(1):
    bus.publish(removed(number))
    if number % 1000 == 0:
        journal.flush(30.0)
        print(number, flush=True)
"""


def test_a_process_that_is_killed_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = [int(process.stdout.readline()) for _ in range(3)][-1]
        process.kill()
    events = read_journal(path)[1]
    assert len(events) >= written
    assert events == [removed(number) for number in range(1, len(events) + 1)]
