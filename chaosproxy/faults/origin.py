"""A point in time that all stages of one fault share, so that they act in phase."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Origin"]


@dataclass(slots=True)
class Origin:
    """The start of a period that all connections of a proxy share: the time at which the first stage is opened."""

    at: float | None = None
    """Seconds on the data plane's clock; None until the first stage is opened."""

    def begin(self, now: float) -> float:
        """Return the start; the first call sets it to `now`."""
        if self.at is None:
            self.at = now
        return self.at
