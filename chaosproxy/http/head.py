"""The head of a message: the request line or status line, and the fields."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fields", "RequestHead", "ResponseHead", "body_length", "values"]

Fields = tuple[tuple[str, str], ...]
"""(name, value) per field line, in order, with duplicates: names as sent, values stripped, both latin-1."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body."""

    method: str
    target: str
    """As sent: origin-form, absolute-form, authority-form or `*`."""
    version: str
    """`1.1`"""
    fields: Fields


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response without its body."""

    status: int
    reason: str
    version: str
    fields: Fields


def values(fields: Fields, name: str) -> list[str]:
    """Return the value of every field line of that name, in order; case does not matter in names."""
    wanted = name.lower()
    return [value for given, value in fields if given.lower() == wanted]


def body_length(fields: Fields) -> int | None:
    """Return the length of a body that its head gives; None where it gives none. Responses to HEAD have no body."""
    lengths = values(fields, "content-length")
    return int(lengths[0]) if lengths and not values(fields, "transfer-encoding") else None
