"""What stands before a body: a request's line or a response's status line, and the fields."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fields", "RequestHead", "ResponseHead", "is_upgrade", "values"]

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


def is_upgrade(head: RequestHead) -> bool:
    """Whether what follows the request depends on its answer: CONNECT, or an Upgrade (RFC 9110 §7.8, §9.3.6)."""
    if head.method == "CONNECT":
        return True
    asked = ",".join(values(head.fields, "connection")).lower().split(",")
    return bool(values(head.fields, "upgrade")) and any(one.strip() == "upgrade" for one in asked)
