"""What stands before a body: a request's line or a response's status line, and the fields."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fields", "RequestHead", "ResponseHead", "body_length", "values"]

Fields = tuple[tuple[str, str], ...]
"""(name, value) per field line, in order, duplicates kept: names as they came, values stripped, both latin-1."""


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
    """The value of every field line of that name, in order; names are compared without regard to case."""
    wanted = name.lower()
    return [value for given, value in fields if given.lower() == wanted]


def body_length(fields: Fields) -> int | None:
    """The length of a body as its head gives it; None where it does not. Answers to HEAD give one, and have none."""
    lengths = values(fields, "content-length")
    return int(lengths[0]) if lengths and not values(fields, "transfer-encoding") else None
