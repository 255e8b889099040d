"""An exchange: one request and its answer, and how far they are.

    SENDING ── request whole ──▶ WAITING ── answer begins ──▶ ANSWERING ── answer whole ──▶ DONE
       └─ answer begins ─▶ EARLY ── request whole ──▶ ANSWERING
                             └── answer whole ──▶ LATE ── request whole ──▶ DONE
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from chaosproxy.http.head import RequestHead, ResponseHead
from chaosproxy.tallies import RouteTally

__all__ = ["TRANSITIONS", "Answer", "Exchange", "Sign", "State", "unasked"]


class State(Enum):
    """How far an exchange is."""

    SENDING = auto()
    """The request is under way."""
    WAITING = auto()
    """The request is whole, and nothing of the answer has come."""
    EARLY = auto()
    """The answer has begun before the request is whole."""
    ANSWERING = auto()
    """The request is whole, and the answer is under way."""
    LATE = auto()
    """The answer is whole, and the request is still under way."""
    DONE = auto()
    """Both are whole."""


class Sign(Enum):
    """What happens to an exchange."""

    REQUEST_WHOLE = auto()
    ANSWER_BEGINS = auto()
    ANSWER_WHOLE = auto()


TRANSITIONS: dict[State, dict[Sign, State]] = {
    State.SENDING: {Sign.REQUEST_WHOLE: State.WAITING, Sign.ANSWER_BEGINS: State.EARLY},
    State.WAITING: {Sign.ANSWER_BEGINS: State.ANSWERING},
    State.EARLY: {Sign.REQUEST_WHOLE: State.ANSWERING, Sign.ANSWER_WHOLE: State.LATE},
    State.ANSWERING: {Sign.ANSWER_WHOLE: State.DONE},
    State.LATE: {Sign.REQUEST_WHOLE: State.DONE},
    State.DONE: {},
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that a fault gives in the server's place."""

    status: int
    data: bytes
    fault: str
    due: float
    """When it may be given."""
    then_close: bool
    """The connection cannot go on after it: the client said so, or waits for leave to send its body."""


class Exchange:
    """A request and its answer."""

    __slots__ = (
        "answer", "began", "changed_by", "first_byte", "is_swallowed", "method", "number", "request", "response",
        "state", "tally",
    )  # fmt: skip

    def __init__(self, number: int, method: str, tally: RouteTally, began: float) -> None:
        self.number = number
        """Its number on its connection, from 1."""
        self.method = method
        self.tally = tally
        self.began = began
        """When the request's head was whole."""
        self.state = State.SENDING
        self.request: RequestHead | None = None
        """Its head; None where no fault could want to see it."""
        self.response: ResponseHead | None = None
        """The final answer's head; None before it is there, and where no fault could want to see it."""
        self.is_swallowed = False
        """Nothing more of its request goes on to the server."""
        self.answer: Answer | None = None
        """What a fault answers in the server's place."""
        self.changed_by: list[str] = []
        """The faults that made or changed its answer, in order."""
        self.first_byte: float | None = None
        """When its answer's first byte went on to the client."""

    @property
    def status(self) -> int:
        """Of its answer, whoever gave it; 0 before there is one."""
        if self.answer is not None:
            return self.answer.status
        return 0 if self.response is None else self.response.status

    def sign(self, sign: Sign) -> None:
        """
        :raises KeyError: that cannot happen in its state; a defect.
        """
        self.state = TRANSITIONS[self.state][sign]


def unasked(now: float) -> Exchange:
    """For an answer that nobody has asked for, such as a 408 for a request that did not come."""
    exchange = Exchange(0, "GET", RouteTally(), now)
    exchange.state = State.WAITING
    return exchange
