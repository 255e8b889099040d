"""The actions that the pipes of a connection in HTTP mode must perform: a small closed set of values.

A `Conversation` is pure, so it returns each effect once (`next_effect`), and a pipe performs it:

    match effect:
        case GoPlain():      swap the readers of both sockets
        ...
        case other:          assert_never(other)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "Effect", "EndAt", "GoPlain", "NoteFailure", "PauseClient", "Refuse", "ResumeClient", "SendCopies",
    "WakeDownstream", "is_failure",
]  # fmt: skip


def is_failure(status: int) -> bool:
    """Return whether a status means that the server could not do its work, or would not now (RFC 6585 §4)."""
    return status >= 500 or status == 429


@dataclass(frozen=True, slots=True)
class GoPlain:
    """Forward both directions as plain streams, each with the beginning of a head that its framer kept back."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Reset the connection: it cannot be framed, and the proxy is strict."""


@dataclass(frozen=True, slots=True)
class WakeDownstream:
    """Run the framing of the downstream pipe, since an injected response or the end may be next."""


@dataclass(frozen=True, slots=True)
class EndAt:
    """Close the connection at a time, even if the fault is removed before."""

    at: float
    """Seconds on the data plane's clock."""
    fault: str


@dataclass(frozen=True, slots=True)
class SendCopies:
    """Send a request to the server again, each copy on a separate connection."""

    request: bytes
    copies: int


@dataclass(frozen=True, slots=True)
class PauseClient:
    """Stop reading from the client: too many of its requests wait for their responses."""


@dataclass(frozen=True, slots=True)
class ResumeClient:
    """Read from the client again."""


@dataclass(frozen=True, slots=True)
class NoteFailure:
    """Note that a request has failed: its response says so by its status, or comes from a fault."""

    status: int
    fault: str
    """The fault that has sent it in place of the server; empty if none has."""


Effect: TypeAlias = GoPlain | Refuse | WakeDownstream | EndAt | SendCopies | PauseClient | ResumeClient | NoteFailure
