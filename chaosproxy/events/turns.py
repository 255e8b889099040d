"""Events of turns: what a client sends until the server answers, and the answer.

A turn opens with the first byte that arrives from the client while none is open. It is answered when the first
byte of the server after that has left for the client. In HTTP mode, each exchange is a turn.

An answered turn has no event. It is counted in `TurnsCounted`, once per proxy and second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from chaosproxy.endings import How
from chaosproxy.events.base import ProxyEvent

__all__ = [
    "AnswerCut",
    "AnswerLate",
    "ClientGaveUp",
    "FailedBy",
    "HalfClosed",
    "Shape",
    "TurnEvent",
    "TurnFailed",
    "TurnRepeated",
    "TurnsCounted",
    "WaitingFor",
]

WaitingFor = Literal["connect", "greeting", "answer"]
"""The goal of a wait: the upstream connection, the first bytes of a server that speaks first, or an answer."""

FailedBy = Literal[
    "server_closed", "server_reset", "network", "injected", "operator", "bug", "dial_failed", "status"
]
"""The reason why a turn failed: the server or the network ended; a fault, the operator or a defect ended the
connection, or answered in the server's place; the upstream was not reached; or HTTP's status is 429 or 5xx."""

Shape = Literal["turns", "server-first", "pipelined", "push", "one-way", ""]
"""The shape of a conversation so far; empty before its first turn. Claims about time-outs need one of the first two."""


@dataclass(slots=True, kw_only=True)
class TurnEvent(ProxyEvent):
    """Something that has happened to one turn."""

    connection: int
    turn: int
    """The number of the turn on its connection, from 1; 0 before the first."""
    client: str
    """The address of the client."""
    digest: str
    """Equal for turns that begin with the same bytes (in HTTP mode: the same request); empty if there are none."""
    request: str = ""
    """HTTP: method and route, such as `POST /orders/*`; else empty."""
    shape: Shape = ""


@dataclass(slots=True, kw_only=True)
class ClientGaveUp(TurnEvent):
    """The client ended while it waited; `at` is the time of its end, and the event may come later."""

    kind: ClassVar[str] = "client_gave_up"
    waiting_for: WaitingFor
    waited_s: float
    """Seconds from the opening of the turn, or from accept, to the client's end."""
    quiet_s: float
    """Seconds from the turn's last byte of the client, or from accept, to the client's end."""
    how: How
    held_by: str | None = None
    """The fault that held the request or the answer; None if none did."""
    faults: tuple[str, ...] = ()
    """The faults that touched the connection then."""
    answer_arrived: bool = False
    """True if the server had answered, and a fault held or dropped the answer."""
    is_pending: bool = False
    """True if the client may have half-closed and still wait. Another event follows: this one again, without
    `is_pending`, or `turn_half_closed`."""


@dataclass(slots=True, kw_only=True)
class HalfClosed(TurnEvent):
    """A client that seemed to have given up has accepted an answer: it had only half-closed."""

    kind: ClassVar[str] = "turn_half_closed"


@dataclass(slots=True, kw_only=True)
class TurnFailed(TurnEvent):
    """A turn ended without an answer, or with an error, and not because the client gave up."""

    kind: ClassVar[str] = "turn_failed"
    reason: FailedBy
    status: int | None = None
    """HTTP: the status of the answer; None without one."""
    waited_s: float
    """Seconds from the opening of the turn to its end."""
    fault: str = ""
    """The fault that ended it or answered it; empty if none did."""
    faults: tuple[str, ...] = ()
    """The faults that touched the connection then."""
    answer_arrived: bool = False
    """True if the server had answered, and a fault held or dropped the answer."""


@dataclass(slots=True, kw_only=True)
class TurnRepeated(TurnEvent):
    """A turn opened with the bytes of one that had failed in the last 60 s, from the same host."""

    kind: ClassVar[str] = "turn_repeated"
    of_proxy: str
    of_connection: int
    of_turn: int
    """The failed turn."""
    gap_s: float
    """Seconds from the end of the failed turn to the opening of this one."""
    attempt: int
    """2 for the first repetition, and so on."""


@dataclass(slots=True, kw_only=True)
class AnswerCut(TurnEvent):
    """The client ended while a fault still held a part of its answer, of which the first byte had left before."""

    kind: ClassVar[str] = "answer_cut"
    waited_s: float
    """Seconds from the opening of the turn to the client's end."""
    quiet_s: float
    """Seconds from the latest byte that had left for the client to its end."""
    how: How
    faults: tuple[str, ...] = ()
    """The faults that touched the connection then."""


@dataclass(slots=True, kw_only=True)
class AnswerLate(TurnEvent):
    """The server's answer arrived after its client had given up on it."""

    kind: ClassVar[str] = "answer_late"
    waited_s: float
    """Seconds that the client waited before it gave up."""
    late_s: float
    """Seconds from then until the answer arrived."""


@dataclass(slots=True, kw_only=True)
class TurnsCounted(ProxyEvent):
    """The turns of one proxy in the interval of `seconds` that ends at `at`.

    An interval lasts one second at most, and ends when a fault is added, changed or removed. There is none for an
    interval in which nothing happened and no turn was open.
    """

    kind: ClassVar[str] = "turns_counted"
    is_logged: ClassVar[bool] = False
    seconds: float
    answered: int = 0
    failed: int = 0
    """Turns that failed, without those on which the client gave up."""
    gave_up: int = 0
    repeated: int = 0
    """Turns that repeat a failed one."""
    opened: int = 0
    """Clients accepted."""
    closed: int = 0
    """Connections that ended."""
    open: int = 0
    """Turns open at the end of the interval."""
    longest_open_s: float = 0.0
    """The age of the oldest of these."""
    longest_answer_s: float = 0.0
    """The longest time from the opening of a turn until a byte of its answer left a fault in this interval, after the
    first byte."""
    felt: dict[int, int] = field(default_factory=dict)
    """Seconds from the opening of an answered turn to its answer, as the counts of a `LogHistogram`."""
    service: dict[int, int] = field(default_factory=dict)
    """The same, from the request leaving for the server to the arrival of the answer."""
    clients: dict[str, tuple[int, float, float]] = field(default_factory=dict)
    """By host of the client: answered turns, and the seconds from the first and the last answer to `at`. The hosts
    beyond 64 are together under the empty name."""
    faults: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By active fault: the connections and the messages on which it has acted since it was added."""
