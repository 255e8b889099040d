"""The bounds by which turns are judged, and the values that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from chaosproxy.endings import How
from chaosproxy.events import Shape, WaitingFor

__all__ = ["AT_ONCE", "DIGESTED", "DOUBTED_FOR", "PAUSE", "About", "Doubt"]

AT_ONCE = 0.020
"""Seconds between the last byte and the end of a tool that half-closes, at most."""
PAUSE = 0.1
"""Seconds without a byte after which a client that sends in its open turn does not wait for an answer."""
DOUBTED_FOR = 0.5
"""Seconds after an end-of-stream at which a turn in doubt is published as given up, with `is_pending`."""
DIGESTED = 256
"""The first bytes of a turn, which are compared with those of failed turns."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """The end of a client that has given up, unless it has only half-closed."""

    at: float
    waiting_for: WaitingFor
    faults: tuple[str, ...]
    """The faults that touched the connection then."""
    held_by: str | None
    how: How


class About(TypedDict):
    """The fields that all events of a turn share."""

    proxy: str
    connection: int
    turn: int
    client: str
    digest: str
    request: str
    shape: Shape
