"""The states of a connection in HTTP mode, as tables.

Five small machines describe a connection. Each is an enum of states and a table of arrows:

    REQUESTS    how bytes from the client are treated
    RESPONSES   how bytes from the server are treated
    LOSSES      what a fault has lost, and so what reaches nobody any more
    SENDERS     which sides may still send
    INTAKE      whether the client is read from

An Event is a fact about the connection. `Conversation` finds out which one has happened: it
knows the exchanges, the unfinished work of faults, and whether the proxy is strict. All that
follows from an event is in this module: the next state of every machine (`States.on`), what
each state allows (`treatment`), and what the pipes must do (EFFECTS). Facts that are numbers
(from which exchange on messages are lost, when the connection ends) belong to Conversation.

A machine ignores the events that its table never names. An event that its table names, but
not in the present state, is a defect and raises KeyError.

docs/http-internals.md shows these tables; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias, TypeVar

from chaosproxy.http.effects import Effect, GoPlain, PauseClient, Refuse, ResumeClient, WakeDownstream

__all__ = [
    "EFFECTS", "INTAKE", "LOSSES", "REQUESTS", "RESPONSES", "SENDERS",
    "Event", "Intake", "Losses", "Requesting", "Responding", "Senders", "States", "Table", "Treatment",
]  # fmt: skip


class Event(Enum):
    """A fact about the connection; the value says it in words."""

    UPGRADE_REQUESTED = "a request asks for an upgrade or a tunnel"
    UPGRADE_REFUSED = "the response to it is an ordinary one"
    UPGRADED = "the response to it grants it"
    UNFRAMED = "bytes cannot be framed, and no fault has unfinished work"
    FORBIDDEN = "bytes cannot be framed, and the proxy is strict"
    DOUBTED = "bytes from the client cannot be framed, and faults have not yet seen all that came before them"
    REQUEST_BROKEN = "faults have seen all before such bytes, and one of them has unfinished work"
    RESPONSE_BROKEN = "bytes from the server cannot be framed while a fault has unfinished work"
    UNSOLICITED = "a response begins that no request asked for"
    INJECTED = "a fault responds in place of the server"
    RESPONSE_LOST = "a fault loses a response"
    REQUEST_LOST = "a fault loses a request"
    CLIENT_ENDED = "the client's stream ends"
    SERVER_ENDED = "the server's stream ends, breaks off, or cannot be framed any more"
    BACKLOG_FULL = "more requests than `pipeline_limit` wait for their responses"
    BACKLOG_DRAINED = "at most half as many wait, or responses are no longer counted"


class Treatment(Enum):
    """What becomes of bytes as they arrive."""

    FRAME = "framed"
    PASS = "passed on as they are"
    DROP = "dropped"


class _ByteState(Enum):
    """How bytes from one side are treated: what the state allows, and why."""

    def __init__(self, treatment: Treatment, meaning: str) -> None:
        self.treatment = treatment
        self.meaning = meaning


class Requesting(_ByteState):
    """How bytes from the client are treated."""

    MESSAGES = Treatment.FRAME, "requests are forwarded"
    UPGRADING = Treatment.FRAME, "an upgrade is requested: bytes that follow cannot be framed before its response"
    DOUBTFUL = Treatment.PASS, "bytes that cannot be framed are on their way through the faults"
    BROKEN = Treatment.DROP, "the connection ends after the responses to the requests before"
    STREAM = Treatment.PASS, "there are no messages any more"
    REFUSED = Treatment.DROP, "the connection is reset"


class Responding(_ByteState):
    """How bytes from the server are treated."""

    MESSAGES = Treatment.FRAME, "responses are paired with requests and forwarded"
    UNSOLICITED = Treatment.FRAME, "the latest response belongs to no request, so the next one cannot be paired"
    BROKEN = Treatment.DROP, "the connection ends, or is silent"
    STREAM = Treatment.PASS, "there are no messages any more"
    REFUSED = Treatment.DROP, "the connection is reset"


class Losses(Enum):
    """What a fault has lost on this connection; this lasts longer than the fault."""

    NOTHING = "every message is delivered"
    RESPONSES = "from one exchange on, nothing is answered"
    REQUESTS = "from one exchange on, no request reaches the server either"


class Senders(Enum):
    """Which sides may still send."""

    BOTH = "client and server"
    CLIENT = "the client"
    SERVER = "the server"
    NEITHER = "no side"


class Intake(Enum):
    """Whether the client is read from, as far as its unanswered requests decide."""

    OPEN = "the client is read from"
    PAUSED = "the client waits until enough of its requests are answered"


S = TypeVar("S", bound=Enum)
Table: TypeAlias = Mapping[S, Mapping[Event, S]]

REQUESTS: Table[Requesting] = {
    Requesting.MESSAGES: {
        Event.UPGRADE_REQUESTED: Requesting.UPGRADING,
        Event.UNFRAMED: Requesting.STREAM,
        Event.FORBIDDEN: Requesting.REFUSED,
        Event.DOUBTED: Requesting.DOUBTFUL,
    },
    Requesting.UPGRADING: {
        Event.UPGRADE_REFUSED: Requesting.MESSAGES,
        Event.UPGRADED: Requesting.STREAM,
        Event.UNFRAMED: Requesting.STREAM,
        Event.FORBIDDEN: Requesting.REFUSED,
        Event.DOUBTED: Requesting.DOUBTFUL,
    },
    Requesting.DOUBTFUL: {
        Event.UPGRADE_REFUSED: Requesting.DOUBTFUL,
        Event.UPGRADED: Requesting.STREAM,
        Event.UNFRAMED: Requesting.STREAM,
        Event.FORBIDDEN: Requesting.REFUSED,
        Event.REQUEST_BROKEN: Requesting.BROKEN,
    },
    Requesting.BROKEN: {
        Event.UPGRADE_REFUSED: Requesting.BROKEN,
        Event.UPGRADED: Requesting.BROKEN,
        Event.FORBIDDEN: Requesting.REFUSED,
    },
    Requesting.STREAM: {},
    Requesting.REFUSED: {},
}

RESPONSES: Table[Responding] = {
    Responding.MESSAGES: {
        Event.UPGRADED: Responding.STREAM,
        Event.UNFRAMED: Responding.STREAM,
        Event.FORBIDDEN: Responding.REFUSED,
        Event.RESPONSE_BROKEN: Responding.BROKEN,
        Event.UNSOLICITED: Responding.UNSOLICITED,
    },
    Responding.UNSOLICITED: {
        Event.UNFRAMED: Responding.STREAM,
        Event.FORBIDDEN: Responding.REFUSED,
        Event.RESPONSE_BROKEN: Responding.BROKEN,
    },
    Responding.BROKEN: {
        Event.UNFRAMED: Responding.BROKEN,
        Event.FORBIDDEN: Responding.REFUSED,
    },
    Responding.STREAM: {
        Event.RESPONSE_BROKEN: Responding.BROKEN,  # behind the response that granted an upgrade, in the same chunk
    },
    Responding.REFUSED: {},
}

LOSSES: Table[Losses] = {
    Losses.NOTHING: {Event.RESPONSE_LOST: Losses.RESPONSES, Event.REQUEST_LOST: Losses.REQUESTS},
    Losses.RESPONSES: {Event.RESPONSE_LOST: Losses.RESPONSES, Event.REQUEST_LOST: Losses.REQUESTS},
    Losses.REQUESTS: {Event.RESPONSE_LOST: Losses.REQUESTS, Event.REQUEST_LOST: Losses.REQUESTS},
}

SENDERS: Table[Senders] = {
    Senders.BOTH: {Event.CLIENT_ENDED: Senders.SERVER, Event.SERVER_ENDED: Senders.CLIENT},
    Senders.CLIENT: {Event.CLIENT_ENDED: Senders.NEITHER, Event.SERVER_ENDED: Senders.CLIENT},
    Senders.SERVER: {Event.SERVER_ENDED: Senders.NEITHER},
    Senders.NEITHER: {Event.SERVER_ENDED: Senders.NEITHER},
}

INTAKE: Table[Intake] = {
    Intake.OPEN: {Event.BACKLOG_FULL: Intake.PAUSED},
    Intake.PAUSED: {Event.BACKLOG_DRAINED: Intake.OPEN},
}

EFFECTS: Mapping[Event, Effect] = {
    Event.UPGRADED: GoPlain(),
    Event.UNFRAMED: GoPlain(),
    Event.FORBIDDEN: Refuse(),
    Event.REQUEST_BROKEN: WakeDownstream(),
    Event.INJECTED: WakeDownstream(),
    Event.BACKLOG_FULL: PauseClient(),
    Event.BACKLOG_DRAINED: ResumeClient(),
}
"""What the pipes must do when an event happens; the others ask nothing of them."""


class States:
    """The state of each machine of one connection."""

    __slots__ = ("intake", "losses", "requests", "responses", "senders")

    def __init__(self) -> None:
        self.requests = Requesting.MESSAGES
        self.responses = Responding.MESSAGES
        self.losses = Losses.NOTHING
        self.senders = Senders.BOTH
        self.intake = Intake.OPEN

    def on(self, event: Event) -> None:
        """Move every machine that the event concerns.

        :raises KeyError: the event cannot happen in a machine's state; a defect.
        """
        if event in _OF_REQUESTS:
            self.requests = REQUESTS[self.requests][event]
        if event in _OF_RESPONSES:
            self.responses = RESPONSES[self.responses][event]
        if event in _OF_LOSSES:
            self.losses = LOSSES[self.losses][event]
        if event in _OF_SENDERS:
            self.senders = SENDERS[self.senders][event]
        if event in _OF_INTAKE:
            self.intake = INTAKE[self.intake][event]

    @property
    def are_ordinary(self) -> bool:
        """Whether a whole message may pass without being framed."""
        return (
            self.requests is Requesting.MESSAGES
            and self.responses is Responding.MESSAGES
            and self.losses is Losses.NOTHING
        )


def _events_of(table: Table[S]) -> frozenset[Event]:
    return frozenset(event for row in table.values() for event in row)


_OF_REQUESTS = _events_of(REQUESTS)
_OF_RESPONSES = _events_of(RESPONSES)
_OF_LOSSES = _events_of(LOSSES)
_OF_SENDERS = _events_of(SENDERS)
_OF_INTAKE = _events_of(INTAKE)
