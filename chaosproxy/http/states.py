"""The states of a connection in HTTP mode, as tables.

Five small machines describe a connection. Each is an enum of states and a table of arrows:

    REQUESTS    the treatment of bytes from the client
    RESPONSES   the treatment of bytes from the server
    LOSSES      the kind of messages that a fault has lost, so that later ones are not delivered
    SENDERS     the sides that may still send
    INTAKE      reading from the client, or not

An Event is a fact about the connection. `Conversation` determines which event has happened: it
knows the exchanges, the unfinished work of faults, and whether the proxy is strict. This module
has all the consequences of an event: the next state of every machine (`States.on`), the
treatment of bytes in each state (`treatment`), and the actions of the pipes (EFFECTS). Facts that
are numbers (the first exchange with a lost message, the time of the end) belong to Conversation.

Invariants:
- A machine ignores the events that do not occur in its table.
- An event that occurs in a machine's table, but not in the row of its current state, cannot
  happen in that state. It is a defect and raises KeyError.

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
    """A fact about the connection; the value describes it."""

    UPGRADE_REQUESTED = "a request asks for an upgrade or a tunnel"
    UPGRADE_REFUSED = "the final response to that request does not accept the upgrade or tunnel"
    UPGRADED = "the response to that request accepts the upgrade or tunnel"
    UNFRAMED = "bytes cannot be framed, and no fault has unfinished work"
    FORBIDDEN = "bytes cannot be framed, and the proxy is strict"
    DOUBTED = "bytes from the client cannot be framed, and earlier bytes may still be on their way through the faults"
    REQUEST_BROKEN = "the bytes before them have passed the faults, and a fault has unfinished work"
    RESPONSE_BROKEN = "bytes from the server cannot be framed while a fault has unfinished work"
    UNSOLICITED = "a response begins that belongs to no request"
    INJECTED = "a fault responds in place of the server"
    RESPONSE_LOST = "a fault loses a response"
    REQUEST_LOST = "a fault loses a request"
    CLIENT_ENDED = "the client's stream ends"
    SERVER_ENDED = "the server's stream ends, breaks off, or can no longer be framed"
    BACKLOG_FULL = "more requests than `pipeline_limit` wait for their responses"
    BACKLOG_DRAINED = "at most half as many wait, or the limit no longer applies"


class Treatment(Enum):
    """The treatment of bytes that arrive."""

    FRAME = "framed"
    PASS = "forwarded unchanged"
    DROP = "dropped"


class _ByteState(Enum):
    """A state of the bytes from one side: their treatment, and the reason for it."""

    def __init__(self, treatment: Treatment, meaning: str) -> None:
        self.treatment = treatment
        self.meaning = meaning


class Requesting(_ByteState):
    """The treatment of bytes from the client."""

    MESSAGES = Treatment.FRAME, "requests are forwarded"
    UPGRADING = Treatment.FRAME, "an upgrade is requested: the bytes behind it cannot be framed before its response"
    DOUBTFUL = Treatment.PASS, "bytes that cannot be framed are on their way through the faults"
    BROKEN = Treatment.DROP, "the connection ends after the responses to earlier requests"
    STREAM = Treatment.PASS, "there are no messages any more"
    REFUSED = Treatment.DROP, "the connection is reset"


class Responding(_ByteState):
    """The treatment of bytes from the server."""

    MESSAGES = Treatment.FRAME, "responses are paired with requests and forwarded"
    UNSOLICITED = Treatment.FRAME, "the latest response belongs to no request, so the next one cannot be paired"
    BROKEN = Treatment.DROP, "the connection ends, or no later response is delivered"
    STREAM = Treatment.PASS, "there are no messages any more"
    REFUSED = Treatment.DROP, "the connection is reset"


class Losses(Enum):
    """The messages that a fault has lost on this connection; the state outlasts the fault."""

    NOTHING = "every message is delivered"
    RESPONSES = "from one exchange on, no response reaches the client"
    REQUESTS = "from one exchange on, no request reaches the server and no response the client"


class Senders(Enum):
    """The sides that may still send."""

    BOTH = "client and server"
    CLIENT = "the client"
    SERVER = "the server"
    NEITHER = "no side"


class Intake(Enum):
    """The limit on unanswered requests, which may stop the reading from the client."""

    OPEN = "the proxy reads from the client"
    PAUSED = "the proxy does not read from the client until enough of its requests are answered"


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
"""The actions of the pipes when an event happens; other events need none."""


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
        """Move every machine whose table has the event.

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
        """Return True if a complete message may pass without being framed."""
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
