"""The standard descriptors: open where a program expects them, and never a reason to wait.

A parent may start chaosproxy with closed descriptors. The next socket would then get the number 0, 1 or 2:
a message for stderr would go to a client, and uvloop ends the process with SIGABRT when it closes such a
socket. So every command first opens /dev/null in their place.

`serve` and `demo` also replace `sys.stderr` (`unblock_stderr`), because the interpreter, warnings and click
write to it, and a reader that does not read would stop the process.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

if TYPE_CHECKING:
    from chaosproxy.observe import LogHandler

__all__ = ["Group", "ReadyLine", "open_missing", "unblock_stderr"]

_PATIENCE = 1.0
"""Seconds after which a ready line that stdout does not take is logged."""

logger = logging.getLogger(__name__)


class Group(click.Group):
    """The group of all commands; it opens missing standard descriptors before anything else is opened."""

    def make_context(  # Any: click's own parameters
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return super().make_context(info_name, args, parent, obj=open_missing(), **extra)


def open_missing() -> frozenset[int]:
    """Open /dev/null in place of each standard descriptor that is closed; return their numbers."""
    missing = frozenset(number for number in (0, 1, 2) if not _is_open(number))
    for number in sorted(missing):  # the lowest free number is taken
        opened = os.open(os.devnull, os.O_RDWR)
        assert opened == number
        os.set_inheritable(number, True)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _text(number))
    return missing


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError as error:
        return error.errno != errno.EBADF
    return True


def _text(number: int) -> TextIO:
    return open(number, "w" if number else "r", encoding="utf-8", errors="backslashreplace", closefd=False)


def unblock_stderr(log: LogHandler) -> None:
    """Pass everything that this process writes to stderr to the log's thread, and log unhandled exceptions."""
    from chaosproxy.observe import LineStream

    sys.stderr = cast(TextIO, LineStream(log.writer, 2))
    sys.excepthook = lambda kind, error, trace: logger.critical("a defect ends chaosproxy", exc_info=error)
    threading.excepthook = lambda args: logger.error("a thread failed", exc_info=args.exc_value)
    sys.unraisablehook = lambda args: logger.error(
        "an exception could not be raised: %s", args.err_msg or "in a destructor", exc_info=args.exc_value
    )


class ReadyLine:
    """Prints one line on stdout, without waiting for the reader; logs that it could not be written."""

    def __init__(self, missing: Sequence[int] | frozenset[int]) -> None:
        from chaosproxy.observe import LineWriter

        self._stdout_is_missing = 1 in missing
        self._writer = LineWriter(1, lambda lines: b"", failed=self._log_failure)

    def print(self, line: str) -> None:
        """Print `line`; call this on the loop."""
        if self._stdout_is_missing:
            logger.warning("stdout is closed, so the ready line was not printed: %s", line)
            return
        self._writer.put(f"{line}\n".encode())
        asyncio.get_running_loop().call_later(_PATIENCE, self._check, line)

    def close(self) -> None:
        """Flush stdout, as far as its reader takes the line."""
        self._writer.close()

    def _check(self, line: str) -> None:
        if not self._writer.is_idle:
            logger.warning("stdout is full, so the ready line waits for its reader: %s", line)

    @staticmethod
    def _log_failure(error: OSError) -> None:
        logger.warning("the ready line was not printed, since stdout cannot be written: %s", error.strerror)
