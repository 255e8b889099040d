"""A moment that all stages of one fault count from, so that they act in step."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Origin"]


@dataclass(slots=True)
class Origin:
    """Where a rhythm that all connections of a proxy share begins: when the first stage is opened."""

    at: float | None = None
    """Seconds on the data plane's clock; None until the first stage is opened."""

    def begin(self, now: float) -> float:
        """The moment the rhythm began, which is `now` for the first that asks."""
        if self.at is None:
            self.at = now
        return self.at
