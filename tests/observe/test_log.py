"""Events and messages as lines of the log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from chaosproxy import events
from chaosproxy.events import Bus, ConnectionAttempt, ConnectionClosed, ConnectionOpened, DialFailed, Event
from chaosproxy.observe import EventLog, start_logging
from chaosproxy.observe.log import LogFormat


@pytest.fixture
def chaosproxy_logger() -> Iterator[logging.Logger]:
    """The logger "chaosproxy", which is restored afterwards."""
    own, root = logging.getLogger("chaosproxy"), logging.getLogger()
    before = (list(own.handlers), own.level, own.propagate, list(root.handlers))
    yield own
    for handler in own.handlers:
        if handler not in before[0]:
            handler.close()
    own.handlers[:], own.level, own.propagate, root.handlers[:] = before
    own.setLevel(before[1])
    logging.captureWarnings(False)


class Log:
    """A log that goes to a file."""

    def __init__(self, log_format: LogFormat) -> None:
        self._descriptor, path = tempfile.mkstemp()
        os.unlink(path)
        self.handler = start_logging(log_format, descriptor=self._descriptor)

    def lines(self) -> list[str]:
        """Return every line that was logged until now."""
        assert self.handler.writer.flush(30.0)
        return os.pread(self._descriptor, 1 << 20, 0).decode().splitlines()

    def __del__(self) -> None:
        os.close(self._descriptor)


def written(events: list[Event], log_format: LogFormat, per_kind: int = 20) -> list[str]:
    logged = Log(log_format)

    async def scenario() -> None:
        bus = Bus()
        log = EventLog(bus, per_kind=per_kind, window=60)
        for event in events:
            bus.publish(event)
        log.close()
        bus.publish(events[0])

    asyncio.run(scenario())
    return logged.lines()


def opened(connection: int) -> ConnectionOpened:
    return ConnectionOpened(proxy="db", connection=connection, client="127.0.0.1:9", dial_s=0.00025)


@pytest.mark.usefixtures("chaosproxy_logger")
def test_an_event_is_one_line_of_text() -> None:
    [line] = written([opened(7)], "text")
    moment, rest = line.split(" ", 1)
    assert moment.endswith("Z")
    assert rest == "INFO connection_opened proxy=db connection=7 client=127.0.0.1:9 dial_s=0.00025"


@pytest.mark.usefixtures("chaosproxy_logger")
def test_an_event_is_one_object_of_json() -> None:
    [line] = written([opened(7)], "json")
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "INFO", "logger": "chaosproxy.events", "event": "connection_opened",
        "proxy": "db", "connection": 7, "client": "127.0.0.1:9", "dial_s": 0.00025,
    }  # fmt: skip


@pytest.mark.usefixtures("chaosproxy_logger")
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("reason", ['bad\n2026-01-01 INFO forged="yes"', "a\tb", "\x1b[2J", "\u2028", "a=b", 'a"b'])
def test_nothing_in_an_event_breaks_its_line(log_format: LogFormat, reason: str) -> None:
    [line] = written([DialFailed(proxy="a b", connection=1, upstream="x", reason=reason, after_s=1.0)], log_format)
    assert line.isprintable()
    assert json.dumps(reason) in line
    assert "WARNING" in line


@pytest.mark.usefixtures("chaosproxy_logger")
def test_a_defect_is_an_error() -> None:
    closed = ConnectionClosed(
        proxy="db", connection=1, client="127.0.0.1:9", cause="bug", how="reset", fault="", error="", first=None,
        client_ended_s=None, server_ended_s=None, detail="", lasted_s=0.1, bytes_upstream=1, bytes_downstream=2,
    )
    [line] = written([closed], "text")
    assert " ERROR connection_closed proxy=db connection=1 client=127.0.0.1:9 cause=bug how=reset " in line
    assert ' client_ended_s=null server_ended_s=null detail="" ' in line


@pytest.mark.usefixtures("chaosproxy_logger")
def test_of_each_kind_so_many_are_written_and_the_rest_is_counted() -> None:
    failed = DialFailed(proxy="db", connection=1, upstream="x", reason="refused", after_s=0.1)
    lines = written([*(opened(number) for number in range(1, 11)), failed], "text", per_kind=3)
    kinds = [line.split(" ", 2)[2] for line in lines]
    assert [kind.split()[0] for kind in kinds] == [*["connection_opened"] * 3, "dial_failed", "suppressed"]
    assert kinds[-1] == "suppressed 7 connection_opened events suppressed=7 kind=connection_opened"


@pytest.mark.usefixtures("chaosproxy_logger")
def test_an_event_that_stands_for_others_is_written_beyond_the_limit() -> None:
    def attempt(suppressed: int) -> ConnectionAttempt:
        return ConnectionAttempt(proxy="db", client="10.0.0.7:5", met="refused", fault="no", suppressed=suppressed)

    lines = written([attempt(0), attempt(0), attempt(79)], "text", per_kind=2)
    assert [line.rpartition("suppressed=")[2] for line in lines] == ["0", "0", "79"]


@pytest.mark.usefixtures("chaosproxy_logger")
def test_what_was_suppressed_is_said_when_its_window_ends_and_then_events_are_written_again() -> None:
    logged = Log("text")

    async def scenario() -> None:
        said = asyncio.Event()
        handler = logging.Handler()
        handler.emit = lambda record: said.set() if "suppressed" in record.getMessage() else None  # type: ignore[method-assign]
        logging.getLogger("chaosproxy").addHandler(handler)
        bus = Bus()
        log = EventLog(bus, per_kind=1, window=0.02)
        bus.publish(opened(1))
        bus.publish(opened(2))
        async with asyncio.timeout(60):
            await said.wait()
        bus.publish(opened(3))
        log.close()

    asyncio.run(scenario())
    lines = [line.split(" ", 2)[2] for line in logged.lines()]
    assert [line.split(" client=")[0] for line in lines] == [
        "connection_opened proxy=db connection=1",
        "suppressed 1 connection_opened events suppressed=1 kind=connection_opened",
        "connection_opened proxy=db connection=3",
    ]


def test_a_traceback_follows_in_text_and_is_a_field_in_json(chaosproxy_logger: logging.Logger) -> None:
    lines: list[str] = []
    for log_format in get_args(LogFormat):
        logged = Log(log_format)
        try:
            raise ValueError("why")
        except ValueError:
            chaosproxy_logger.exception("it\nfailed")
        lines += logged.lines()
    first, *traceback, last = lines
    assert first.endswith("ERROR it\\nfailed")
    assert traceback[-1] == "ValueError: why"
    entry = json.loads(last)
    assert (entry["message"], entry["traceback"].endswith("ValueError: why")) == ("it\nfailed", True)


def test_logging_twice_writes_once(chaosproxy_logger: logging.Logger) -> None:
    Log("text")
    logged = Log("text")
    chaosproxy_logger.info("hello")
    assert len(logged.lines()) == 1


@pytest.mark.usefixtures("chaosproxy_logger")
def test_other_libraries_and_warnings_are_logged_in_the_same_way() -> None:
    logged = Log("json")
    logging.getLogger("aiohttp.server").error("it failed")
    logging.getLogger("asyncio").info("of no interest")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = map(json.loads, logged.lines())
    assert (first["logger"], first["level"], first["message"]) == ("aiohttp.server", "ERROR", "it failed")
    assert (second["logger"], second["level"]) == ("py.warnings", "WARNING")
    assert "DeprecationWarning: old" in second["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize("log_format", get_args(LogFormat))
def test_a_reader_that_does_not_read_delays_nothing_and_learns_the_number_of_dropped_lines(
    chaosproxy_logger: logging.Logger, log_format: LogFormat
) -> None:
    reading, writing = os.pipe()
    handler = start_logging(log_format, descriptor=writing)
    for _ in range(30_000):
        chaosproxy_logger.info("x" * 100)
    assert (dropped := handler.writer.dropped) > 10_000
    seen = b""
    while b"dropped=" not in seen and b'"dropped": ' not in seen:
        seen = seen[-1000:] + os.read(reading, 1 << 20)
    last = seen.splitlines()[-1].decode()
    message = f"dropped {dropped} log lines, because the reader of the log did not take them in time"
    if log_format == "text":
        assert last.endswith(f"Z WARNING {message} dropped={dropped}")
    else:
        assert {"message": message, "level": "WARNING", "dropped": dropped}.items() <= json.loads(last).items()
    os.close(reading)
    handler.close()
    os.close(writing)


def test_the_documentation_lists_every_event_with_its_fields() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    table = text[text.index("\n| event |") :]
    documented = {
        event: set(re.findall(r"`(\w+)`", names))
        for kinds, names in re.findall(r"^\| (`.*?`) \|[^|]*\| (.*) \|$", table, re.MULTILINE)
        for event in re.findall(r"`(\w+)`", kinds)
    }
    published = {
        kind.kind: {field.name for field in fields(kind)} - {"at"}
        for name in events.__all__
        if isinstance(kind := getattr(events, name), type) and issubclass(kind, Event) and kind.kind != Event.kind
    }
    assert documented == published
