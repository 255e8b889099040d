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

__all__ = ["Effect", "EndAt", "GoPlain", "PauseClient", "Refuse", "ResumeClient", "SendCopies", "WakeDownstream"]


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


Effect: TypeAlias = GoPlain | Refuse | WakeDownstream | EndAt | SendCopies | PauseClient | ResumeClient
