"""The origin of a proxy, a fault or a partition."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """The maker of a proxy, a fault or a partition, and the time at which it was made."""

    by: str
    """The maker: rest, file, demo, scenario …"""
    since: float
    """The time, on the data plane's clock."""
    lease: str | None = None
    """The id of the lease that holds it; None if none does."""
