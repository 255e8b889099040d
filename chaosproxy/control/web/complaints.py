"""Log what clients of the control server do wrong, in few lines: a client can do it any number of times."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Complaints"]

WINDOW = 10.0
"""Seconds in which at most one line of a kind is written."""

logger = logging.getLogger(__name__)


class Timer(Protocol):
    """A call that is pending."""

    def cancel(self) -> None: ...


@dataclass(slots=True)
class _Window:
    timer: Timer
    suppressed: int = 0


class Complaints:
    """Writes the first complaint of a kind at once; of all others in the same window it writes only the number."""

    def __init__(self, call_later: Callable[[float, Callable[[str], None], str], Timer]) -> None:
        self._call_later = call_later
        self._windows: dict[str, _Window] = {}

    def log(self, kind: str, message: str, **fields: str) -> None:
        """Write a line; only count it if one of this kind was written in the same window."""
        if (window := self._windows.get(kind)) is not None:
            window.suppressed += 1
            return
        self._windows[kind] = _Window(self._call_later(WINDOW, self._end_window, kind))
        logger.warning(message, extra={"fields": fields})

    def close(self) -> None:
        """Write the numbers of suppressed complaints."""
        for kind in list(self._windows):
            self._windows[kind].timer.cancel()
            self._end_window(kind)

    def _end_window(self, kind: str) -> None:
        suppressed = self._windows.pop(kind).suppressed
        if suppressed:
            message = f"control port: {kind}: suppressed {suppressed} more in {WINDOW:g} s"
            logger.warning(message, extra={"fields": {"suppressed": suppressed}})
