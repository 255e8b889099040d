"""Write events and messages to stderr, one line each, as text or as JSON.

The number of lines per kind of event and second is limited, since a thousand connections may end at
once. One more line then gives the number of suppressed events. Unprintable characters are escaped, so
data from a peer cannot start a new line.

Logging never blocks: a thread writes the lines (`observe.writer`). They are formatted where they are
logged, since their values belong to that thread. This takes 10 µs per line, and a thread that formats
would delay the loop more than that: it may keep the interpreter's lock for 5 ms.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from chaosproxy.events import (
    Bus,
    ConnectionAttempt,
    ConnectionClosed,
    DialFailed,
    Event,
    HeldLimitReached,
    LeaseExpired,
    ListenFailed,
    LoopStalled,
    MessageTouched,
    TlsFailed,
    TooManyConnections,
)
from chaosproxy.observe.writer import LineWriter
from chaosproxy.text import escaped, value_text

__all__ = ["EventLog", "JsonFormatter", "LogFormat", "LogHandler", "TextFormatter", "start_logging"]

LogFormat = Literal["text", "json"]
Value = str | int | float | bool | None

_WITH_TOTALS = (ConnectionAttempt, MessageTouched, TooManyConnections)
"""Events that stand for `suppressed` further ones."""

logger = logging.getLogger("chaosproxy.events")


class EventLog:
    """Writes the events of a bus to the log, at most `per_kind` of each kind per `window` seconds.

    Create it inside a running loop.
    """

    def __init__(self, bus: Bus, *, per_kind: int = 20, window: float = 1.0) -> None:
        self._per_kind = per_kind
        self._window = window
        self._quotas: dict[str, _Quota] = {}
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = bus.subscribe(self._on_event)

    def close(self) -> None:
        """Stop writing events, and log the numbers of those suppressed until now."""
        self._unsubscribe()
        for kind, quota in self._quotas.items():
            if quota.timer is not None:
                quota.timer.cancel()
                self._end_window(kind)

    def _on_event(self, event: Event) -> None:
        if not event.is_logged:
            return
        quota = self._quotas.get(event.kind)
        if quota is None:
            quota = self._quotas[event.kind] = _Quota()
        loop = self._loop
        if quota.timer is None and (now := loop.time()) >= quota.ends_at:
            quota.ends_at = now + self._window
            quota.written = 0
        # A total of suppressed events is limited by its sender, and must not be lost.
        if quota.written < self._per_kind or (isinstance(event, _WITH_TOTALS) and event.suppressed):
            quota.written += 1
            _write(event)
            return
        quota.suppressed += 1
        if quota.timer is None:  # a timer is needed only if events were suppressed
            quota.timer = loop.call_at(quota.ends_at, self._end_window, event.kind)

    def _end_window(self, kind: str) -> None:
        quota = self._quotas[kind]
        message = f"suppressed {quota.suppressed} {kind} events"
        logger.info(message, extra={"fields": {"suppressed": quota.suppressed, "kind": kind}})
        self._quotas[kind] = _Quota()


class _Quota:
    """The numbers of events of one kind in the current window."""

    __slots__ = ("ends_at", "suppressed", "timer", "written")

    def __init__(self) -> None:
        self.ends_at = 0.0
        self.written = 0
        self.suppressed = 0
        self.timer: asyncio.TimerHandle | None = None


def _write(event: Event) -> None:
    level = logging.INFO
    if isinstance(event, DialFailed | TlsFailed | LoopStalled | TooManyConnections | HeldLimitReached | LeaseExpired):
        level = logging.WARNING
    elif isinstance(event, ListenFailed) or isinstance(event, ConnectionClosed) and event.cause == "bug":
        level = logging.ERROR
    values = {field.name: getattr(event, field.name) for field in fields(event) if field.name != "at"}
    logger.log(level, event.kind, extra={"fields": values})


class TextFormatter(logging.Formatter):
    """One line per record: `2026-01-31T12:00:00.123Z INFO connection_closed proxy=db connection=7 cause=client …`"""

    def format(self, record: logging.LogRecord) -> str:
        pairs = [f"{key}={value_text(value)}" for key, value in _fields_of(record).items()]
        message = escaped(record.getMessage())
        line = " ".join([_moment(record), record.levelname, message, *pairs])
        if record.exc_info:
            line += "\n" + escaped(self.formatException(record.exc_info), keep="\n")
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, event (or message), and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        key = "event" if record.name == logger.name else "message"
        entry: dict[str, Value] = {
            "time": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            key: record.getMessage(),
        }
        entry.update(_fields_of(record))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class LogHandler(logging.Handler):
    """Passes each record, as a line, to a LineWriter."""

    def __init__(self, formatter: logging.Formatter, descriptor: int) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.writer = LineWriter(descriptor, partial(_line_about_dropped, formatter))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.put(_encoded(self.format(record)))
        except Exception:  # an argument that cannot be formatted must not stop the caller
            self.handleError(record)

    def close(self) -> None:
        """Write the last lines, as far as the reader takes them within a second."""
        self.writer.close()
        super().close()


def start_logging(log_format: LogFormat, level: int = logging.INFO, descriptor: int = 2) -> LogHandler:
    """Write everything that is logged in this process to a descriptor, by default stderr; return the handler.

    `level` applies to chaosproxy. Other libraries, such as asyncio and aiohttp, log warnings and errors.
    """
    handler = LogHandler(JsonFormatter() if log_format == "json" else TextFormatter(), descriptor)
    own, root = logging.getLogger("chaosproxy"), logging.getLogger()
    for old in [one for one in (*own.handlers, *root.handlers) if isinstance(one, LogHandler)]:
        own.removeHandler(old)
        root.removeHandler(old)
        old.close()
    own.addHandler(handler)
    root.addHandler(handler)
    own.setLevel(level)
    own.propagate = False
    logging.captureWarnings(True)
    return handler


def _line_about_dropped(formatter: logging.Formatter, lines: int) -> bytes:
    message = f"dropped {lines} log lines, because the reader of the log did not take them in time"
    record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
    record.fields = {"dropped": lines}
    return _encoded(formatter.format(record))


def _encoded(line: str) -> bytes:
    return f"{line}\n".encode(errors="backslashreplace")


def _fields_of(record: logging.LogRecord) -> Mapping[str, Value]:
    found: Mapping[str, Value] = getattr(record, "fields", {})
    return found


def _moment(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
