"""An exchange: one request and its response, and how far they are.

    SENDING ── request whole ──▶ WAITING ── response begins ──▶ RESPONDING ── response whole ──▶ DONE
       └─ response begins ─▶ EARLY ── request whole ──▶ RESPONDING
                               └── response whole ──▶ LATE ── request whole ──▶ DONE

That is how far its bytes have been framed. Its end is another matter: the last of its
response goes on to the client (`deliver`), or it is known that none will
(`leave_unanswered`). One of the two happens, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from chaosproxy.http.head import RequestHead, ResponseHead
from chaosproxy.tallies import RouteTally

__all__ = ["TRANSITIONS", "Exchange", "InjectedResponse", "Sign", "State"]


class State(Enum):
    """How far an exchange is."""

    SENDING = auto()
    """The request is under way."""
    WAITING = auto()
    """The request is whole, and nothing of the response has come."""
    EARLY = auto()
    """The response has begun before the request is whole."""
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
    """A response that a fault gives in place of the server."""

    status: int
    data: bytes
    fault: str
    due: float
    """When it may be given."""
    then_close: bool
    """The connection cannot go on after it: the client said so, or waits for permission to send its body."""
    awaits_end: bool = True
    """It is closed once the request is whole: an earlier close would reset it, and take the response with it."""


class Exchange:
    """A request and its response."""

    __slots__ = (
        "began", "changed_by", "first_byte", "has_ended", "injected", "is_swallowed", "is_upgrade", "method", "number",
        "request", "response", "state", "tally",
    )  # fmt: skip

    def __init__(self, number: int, method: str, tally: RouteTally, began: float) -> None:
        self.number = number
        """Its number on its connection, from 1; 0 for a response that belongs to no request."""
        self.method = method
        self.tally = tally
        self.began = began
        """When the request's head was whole."""
        self.state = State.SENDING
        self.has_ended = False
        """It is counted: the client has its response, or never will."""
        self.request: RequestHead | None = None
        """Its head; None where no fault reads it."""
        self.response: ResponseHead | None = None
        """The head of the final response; None before it is there, and where no fault reads it."""
        self.is_upgrade = False
        """Whether messages follow depends on its response."""
        self.is_swallowed = False
        """Nothing more of its request goes on to the server."""
        self.injected: InjectedResponse | None = None
        """The response that a fault gives in place of the server."""
        self.changed_by: list[str] = []
        """The faults that made or changed its response, in order."""
        self.first_byte: float | None = None
        """When the first byte of its response went on to the client."""

    @property
    def status(self) -> int:
        """The status of its response, from the server or from a fault."""
        if self.response is not None:
            return self.response.status
        assert self.injected is not None
        return self.injected.status

    def sign(self, sign: Sign) -> None:
        """Move to the state that the table gives.

        :raises KeyError: the event cannot happen in this state; a defect.
        """
        self.state = TRANSITIONS[self.state][sign]

    def deliver(self, now: float) -> None:
        """End it: the last of its response goes on to the client."""
        self._end()
        first = now if self.first_byte is None else self.first_byte
        self.tally.add(self.status, first - self.began, now - self.began)

    def leave_unanswered(self) -> None:
        """End it: the client gets no response."""
        self._end()
        self.tally.statuses[0] += 1

    def _end(self) -> None:
        assert not self.has_ended, f"exchange {self.number} ends twice"
        self.has_ended = True
