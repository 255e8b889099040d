"""Lines that a thread writes: none waits for the reader, and what does not fit is counted and told."""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
from collections.abc import Iterator

import pytest

from chaosproxy.observe import LineStream, LineWriter

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def told(lines: int) -> bytes:
    return f"dropped {lines}\n".encode()


def read(reading: int, until: bytes) -> bytes:
    """Read until the text ends so; the pipe has a writer, so this ends if the text comes."""
    found = b""
    while not found.endswith(until):
        found += os.read(reading, 1 << 16)
    return found


def test_lines_arrive_in_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LineWriter(writing, told)
    for number in range(1000):
        writer.put(b"%d\n" % number)
    assert read(reading, b"\n999\n").split() == [b"%d" % number for number in range(1000)]
    assert writer.flush(30.0)
    assert writer.dropped == 0
    writer.close()


def test_a_reader_that_does_not_read_stops_nobody_and_is_told_what_it_missed(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    before = fill(writing)
    writer = LineWriter(writing, told, max_bytes=10_000)
    for _ in range(1_000):
        writer.put(LINE)
    assert writer.dropped == 900
    assert not writer.flush(0.01), "the reader has not read"
    assert read(reading, told(900)) == before + LINE * 100 + told(900)
    dropped = writer.dropped
    writer.put(b"there is room again\n")
    assert read(reading, b"again\n") == b"there is room again\n"
    assert writer.dropped == dropped, "told once"
    writer.close()


def test_lines_are_bounded_in_number_too(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    fill(writing)
    writer = LineWriter(writing, told, max_lines=5)
    for _ in range(3_000):  # a batch of single bytes may be on its way
        writer.put(b"\n")
    assert writer.dropped >= 3_000 - 2_048 - 5
    writer.close(0.0)


def fill(writing: int) -> bytes:
    """Write as much as the pipe takes, and return it."""
    os.set_blocking(writing, False)
    filled = b""
    try:
        while True:
            filled += b"-" * os.write(writing, b"-" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return filled


def test_the_gap_stands_where_the_lines_are_missing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    before = fill(writing)
    writer = LineWriter(writing, told, max_bytes=300)
    for _ in range(5):
        writer.put(LINE)
    assert writer.dropped == 2
    assert read(reading, told(2)) == before + LINE * 3 + told(2)
    writer.close()


def test_a_non_blocking_descriptor_loses_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LineWriter(writing, told)
    for _ in range(5_000):  # far more than the pipe takes
        writer.put(LINE)
    writer.put(b"end\n")
    assert read(reading, b"end\n") == LINE * 5_000 + b"end\n"
    assert writer.dropped == 0
    writer.close()


def test_a_reader_that_is_gone_is_reported_and_costs_no_time() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    failures: list[int | None] = []
    failed = threading.Event()

    def note(error: OSError) -> None:
        failures.append(error.errno)
        failed.set()

    writer = LineWriter(writing, told, failed=note)
    writer.put(b"one\n")
    assert failed.wait(30.0)
    assert writer.flush(30.0), "it does not try again without another line"
    failed.clear()
    writer.put(b"two\n")
    assert failed.wait(30.0)
    assert failures == [errno.EPIPE, errno.EPIPE]
    assert writer.dropped == 2
    writer.close()
    os.close(writing)


def test_lines_that_a_full_disk_refused_are_told_when_there_is_room(tmp_path: object) -> None:
    path = f"{tmp_path}/log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    failed = threading.Event()
    writer = LineWriter(file, told, failed=lambda error: failed.set())
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        writer.put(b"lost\n")
        assert failed.wait(30.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.put(b"kept\n")
    assert writer.flush(30.0)
    with open(path, "rb") as log:
        assert log.read() == told(1) + b"kept\n"
    writer.close()
    os.close(file)


def test_after_its_end_a_line_is_dropped(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    writer = LineWriter(writing, told)
    writer.close()
    writer.put(LINE)
    assert writer.dropped == 1


def test_a_put_within_a_put_does_not_wait_for_itself(pipe: tuple[int, int]) -> None:
    """A destructor may log while its thread is in `put`."""
    reading, writing = pipe

    class Line(bytes):
        def __len__(self) -> int:
            if not nested:
                nested.append(True)
                writer.put(b"inner\n")
            return super().__len__()

    nested: list[bool] = []
    writer = LineWriter(writing, told)
    writer.put(Line(b"outer\n"))
    assert read(reading, b"outer\n") == b"inner\nouter\n"
    writer.close()


def test_a_stream_passes_whole_lines_and_the_rest_when_flushed(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LineWriter(writing, told)
    stream = LineStream(writer, writing)
    assert (stream.isatty(), stream.fileno(), stream.encoding) == (False, writing, "utf-8")
    assert stream.write("one\ntw") == 6
    assert writer.flush(30.0)
    assert os.read(reading, 100) == b"one\n"
    print("o", file=stream)
    print("thr\u00e9\udc80", end="", file=stream, flush=True)
    assert read(reading, b"udc80") == "two\nthr\u00e9\\udc80".encode()
    writer.close()
