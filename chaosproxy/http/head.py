"""The head of a message: the request line or status line, and the fields."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fields", "RequestHead", "ResponseHead", "body_length", "values"]

Fields = tuple[tuple[str, str], ...]
"""One (name, value) per field line, in order, with duplicates: names as sent, values stripped, both latin-1."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body."""

    method: str
    target: str
    """The target as sent: origin-form, absolute-form, authority-form or `*`."""
    version: str
    """Such as `1.1`."""
    fields: Fields


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response without its body."""

    status: int
    reason: str
    version: str
    fields: Fields


def values(fields: Fields, name: str) -> list[str]:
    """Return the value of every field line with that name, in order; names are case-insensitive."""
    wanted = name.lower()
    return [value for given, value in fields if given.lower() == wanted]


def body_length(fields: Fields) -> int | None:
    """Return the length of the body as the fields give it; None if they do not. Responses to HEAD have no body."""
    lengths = values(fields, "content-length")
    return int(lengths[0]) if lengths and not values(fields, "transfer-encoding") else None
