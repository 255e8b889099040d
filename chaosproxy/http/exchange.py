"""An exchange: one request and its response, and their progress.

    SENDING ── request whole ──▶ WAITING ── response begins ──▶ RESPONDING ── response whole ──▶ DONE
       └─ response begins ─▶ EARLY ── request whole ──▶ RESPONDING
                               └── response whole ──▶ LATE ── request whole ──▶ DONE

The states describe how far the bytes of the exchange have been framed. The end of the exchange is
separate: either the last part of its response is forwarded to the client (`deliver`), or the client
will not get a complete response (`leave_unanswered`). Exactly one of the two happens, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from chaosproxy.http.head import RequestHead, ResponseHead
from chaosproxy.tallies import RouteTally

__all__ = ["TRANSITIONS", "Exchange", "InjectedResponse", "Sign", "State"]


class State(Enum):
    """The progress of an exchange."""

    SENDING = auto()
    """The request is under way."""
    WAITING = auto()
    """The request is whole, and the response has not begun."""
    EARLY = auto()
    """The response has begun, and the request is still under way."""
    RESPONDING = auto()
    """The request is whole, and the response is under way."""
    LATE = auto()
    """The response is whole, and the request is still under way."""
    DONE = auto()
    """Both are whole."""


class Sign(Enum):
    """An event in the life of an exchange."""

    REQUEST_WHOLE = auto()
    RESPONSE_BEGINS = auto()
    RESPONSE_WHOLE = auto()


TRANSITIONS: dict[State, dict[Sign, State]] = {
    State.SENDING: {Sign.REQUEST_WHOLE: State.WAITING, Sign.RESPONSE_BEGINS: State.EARLY},
    State.WAITING: {Sign.RESPONSE_BEGINS: State.RESPONDING},
    State.EARLY: {Sign.REQUEST_WHOLE: State.RESPONDING, Sign.RESPONSE_WHOLE: State.LATE},
    State.RESPONDING: {Sign.RESPONSE_WHOLE: State.DONE},
    State.LATE: {Sign.REQUEST_WHOLE: State.DONE},
    State.DONE: {},
}


@dataclass(frozen=True, slots=True)
class InjectedResponse:
    """A response that a fault sends in place of the server."""

    status: int
    data: bytes
    fault: str
    due: float
    """The time at which it may be sent."""
    then_close: bool
    """True if the connection cannot carry another request, so that it must be closed (RFC 9112 §9.3)."""
    awaits_end: bool = True
    """True if the close waits for the end of the request: an earlier one would reset the connection, and lose this."""


class Exchange:
    """A request and its response."""

    __slots__ = (
        "began", "changed_by", "first_byte", "has_ended", "injected", "is_swallowed", "is_upgrade", "method", "number",
        "request", "response", "state", "tally",
    )  # fmt: skip

    def __init__(self, number: int, method: str, tally: RouteTally, began: float) -> None:
        self.number = number
        """The number of the exchange on its connection, from 1; 0 for a response that belongs to no request."""
        self.method = method
        self.tally = tally
        self.began = began
        """The time at which the request's head was whole."""
        self.state = State.SENDING
        self.has_ended = False
        """True after `deliver` or `leave_unanswered`, which count it."""
        self.request: RequestHead | None = None
        """The head of the request; None if it passed unframed, or does not exist."""
        self.response: ResponseHead | None = None
        """The head of the server's final response; None before it is whole."""
        self.is_upgrade = False
        """True if the response determines whether messages follow."""
        self.is_swallowed = False
        """True if no more of its request is forwarded to the server."""
        self.injected: InjectedResponse | None = None
        """The response that a fault sends in place of the server, if any."""
        self.changed_by: list[str] = []
        """The faults that sent or changed its response, in order."""
        self.first_byte: float | None = None
        """The time at which the first byte of its response was forwarded to the client."""

    @property
    def status(self) -> int:
        """Return the status of its response, from the server or from a fault."""
        if self.response is not None:
            return self.response.status
        assert self.injected is not None
        return self.injected.status

    def sign(self, sign: Sign) -> None:
        """Move to the next state in the table.

        :raises KeyError: the event cannot happen in this state; a defect.
        """
        self.state = TRANSITIONS[self.state][sign]

    def deliver(self, now: float) -> None:
        """End the exchange and count it: the last part of its response is forwarded to the client."""
        self._end()
        first = now if self.first_byte is None else self.first_byte
        self.tally.add(self.status, first - self.began, now - self.began)

    def leave_unanswered(self) -> None:
        """End the exchange and count it: the client gets no complete response."""
        self._end()
        self.tally.statuses[0] += 1

    def _end(self) -> None:
        assert not self.has_ended, f"exchange {self.number} ends twice"
        self.has_ended = True
