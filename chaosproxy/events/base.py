"""The fields that all events share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

__all__ = [
    "Event",
    "PartitionEvent",
    "ProxyEvent",
]


@dataclass(slots=True, kw_only=True)
class Event:
    """Something that has happened."""

    kind: ClassVar[str] = "event"
    is_logged: ClassVar[bool] = True
    """False for events that only count, which the log leaves out."""
    is_inferred: ClassVar[bool] = False
    """True for events that were inferred from others, from which nothing is inferred again."""
    at: float = field(default=0.0)
    """Seconds on the data plane's clock."""


@dataclass(slots=True, kw_only=True)
class ProxyEvent(Event):
    """Something that has happened to one proxy."""

    proxy: str


@dataclass(slots=True, kw_only=True)
class PartitionEvent(Event):
    """Something that has happened to one partition."""

    partition: str
