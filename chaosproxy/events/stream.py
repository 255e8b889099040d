"""The event that a reader of the event stream receives in place of those that it missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.events.base import Event

__all__ = ["Lagged"]


@dataclass(slots=True, kw_only=True)
class Lagged(Event):
    """A reader missed events, since the ring had dropped them. It is sent to that reader alone."""

    kind: ClassVar[str] = "lagged"
    missed: int
    """The number of events that it missed."""
