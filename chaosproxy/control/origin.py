"""Where a desired thing comes from."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made a proxy, a fault or a partition, and when."""

    by: str
    """rest, file, demo, scenario …"""
    since: float
    """On the data plane's clock."""
