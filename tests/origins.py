"""JSON without who made a thing and when: what is left is the same each time."""

from __future__ import annotations

from typing import Any

__all__ = ["without_origins"]

ORIGIN = {"by", "since", "age_s"}


def without_origins(value: Any) -> Any:  # Any: JSON
    """Leave out the three keys wherever all of them stand together: a clock's jump has a `by` of its own."""
    if isinstance(value, dict):
        kept = value.keys() - ORIGIN if value.keys() >= ORIGIN else value.keys()
        return {key: without_origins(one) for key, one in value.items() if key in kept}
    return [without_origins(one) for one in value] if isinstance(value, list) else value
