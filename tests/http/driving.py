"""A conversation driven without sockets, in each way in which a pipe may treat its bytes.

glance   what is one whole message passes, all else is only counted (no fault)
frame    cut into Parts, which go straight through the gate
chain    Framing and Gate as stages of a Chain (message faults that leave all alone)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chaosproxy.faults.base import Close, HalfClose, Send, Step
from chaosproxy.faults.chain import Chain, Link
from chaosproxy.http.context import HttpContext, HttpSettings
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.effects import Effect, EndAt, GoPlain, WakeDownstream
from chaosproxy.http.exchange import InjectedResponse
from chaosproxy.http.part import Part
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses
from chaosproxy.http.stage import Framing, Gate
from chaosproxy.http.states import Requesting
from chaosproxy.net.http.readers import RequestReader, ResponseReader
from chaosproxy.net.stream.turn_counts import FailedTurns, ProxyTurns
from chaosproxy.net.stream.turns import Turns
from chaosproxy.tallies import FaultTally, ProxyTally
from tests.http.recording import RecordedConversation

How = Literal["glance", "frame", "chain"]
HOWS: tuple[How, ...] = ("glance", "frame", "chain")
Side = Literal["client", "server"]
Event = tuple[Side, bytes | None]
"""What a side sends: bytes, or None for its end-of-stream."""


@dataclass
class Direction:
    """One direction, its bytes on their way, and what came out."""

    stream: Requests | Responses
    how: How = "glance"
    out: bytearray = field(default_factory=bytearray)
    parts: list[Part] = field(default_factory=list)
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.follow = following(self)
        self.gate = Gate(self.stream.conversation, self.stream.on)
        self.framing = Framing(self.stream)
        self.chain = Chain(self._leave)

    def switch(self, how: How) -> None:
        """Faults have come or gone."""
        if how == self.how:
            return
        if self.how == "frame":
            for step in self.framing.let_go():
                self._leave(step)
        if self.how == "chain":
            self.chain.arrange([], 0.0)
            self._advance()
        if how == "chain":
            self.chain.arrange([Link("", self.framing, FaultTally()), Link(" ", self.gate, FaultTally())], 0.0)
        self.how = how

    def passes(self, data: bytes) -> bool:
        """Feed what arrived; whether a glance was enough, and it passed without more care."""
        before = self.follow.out.taken_in
        self.follow.data_received(data)
        return self.follow.out.taken_in == before

    def feed(self, data: bytes) -> None:
        """Take in what arrived."""
        if self.how == "chain":
            self.chain.push(Send(0.0, data))
            self._advance()
        elif self.how == "frame":
            self._through_gate(self.stream.frame(data, 0.0))
        else:
            self.follow.data_received(data)

    def end(self) -> None:
        """The end-of-stream."""
        if self.how == "chain":
            self.chain.push(HalfClose(0.0))
            self._advance()
        elif self.how == "frame":
            self._through_gate(self.framing.on_step(HalfClose(0.0)))
        else:
            self.stream.stream_ended(0.0)

    def settle(self) -> None:
        """It may be over, for what happened in the other direction, or a fault may have something to say."""
        if self.how == "glance":
            return
        if self.how == "chain":
            self.framing.wake(0.0)
            self._advance()
        else:
            self._through_gate(self.framing.on_alarm(0.0))

    def _advance(self) -> None:
        while self.chain.advance(0.0) == 0.0:
            pass  # it was too much for once

    def _through_gate(self, steps: Iterable[Step]) -> None:
        for step in steps:
            for one in self.gate.on_step(step):
                self._leave(one)

    def _leave(self, step: Step) -> None:
        if isinstance(step, Send):
            assert step.data or step.__class__ is Part
            self.out += step.data
            if isinstance(step, Part):
                self.parts.append(step)
        elif isinstance(step, Close):
            self.is_closed = True

    @property
    def held(self) -> bytes:
        """What has come in and not gone out."""
        return b"" if self.how == "glance" else self.stream.framer.kept


class _Pipe:
    """As much of a pipe as what feeds it asks for: nothing acts, and all goes out."""

    chain = None
    bypass = False

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self.bytes = 0
        self.taken_in = 0
        """Chunks that took more than a glance."""
        self.conversation = direction.stream.conversation
        self.ends = self.scheduler = self.sink = self
        self.turns = Turns(ProxyTurns("proxy", lambda event: None, FailedTurns(b"key")), 1, "h:1", 0.0)

    def clock(self) -> float:
        return 0.0

    def write(self, data: bytes) -> None:
        self._direction.out += data

    def take_in(self, data: bytes) -> None:
        self.taken_in += 1
        if self._direction.stream.account(data, 0.0)[0]:
            self.write(data)


def following(direction: Direction) -> Any:  # Any: its pipe is none
    """What feeds a direction in which no fault acts."""
    side = RequestReader if direction.stream.on == "request" else ResponseReader
    pipe: Any = _Pipe(direction)
    return side(pipe, pipe)


class Driven:
    """Both directions of a connection, `after` another one of the same proxy, or the first of a proxy of its own."""

    def __init__(self, *, how: How = "glance", after: Driven | None = None, **settings: bool | int) -> None:
        if after is None:
            self.reasons: list[str] = []
            self.tally = ProxyTally()
            self.context = HttpContext(self.tally, self.reasons.append)
            self.context.configure(HttpSettings(**settings), ())  # type: ignore[arg-type]  # tests name what there is
        else:
            self.reasons, self.tally, self.context = after.reasons, after.tally, after.context
        self._counted = self._all_statuses
        self.conversation = RecordedConversation(self.context)
        self.client = Direction(Requests(self.conversation))
        self.server = Direction(Responses(self.conversation))
        self.switch(how)

    def switch(self, how: How) -> None:
        for direction in (self.client, self.server):
            direction.switch(how)

    @property
    def is_refused(self) -> bool:
        """True if the connection is reset, and no bytes pass."""
        return self.conversation.states.requests is Requesting.REFUSED

    def play(self, events: Iterable[Event]) -> Driven:
        """Feed what each side sends, until the connection is refused."""
        for side, data in events:
            direction = self.client if side == "client" else self.server
            if data is None:
                direction.end()
            else:
                direction.feed(data)
            if self.is_refused:
                break
            for effect in effects_of(self.conversation):
                self._perform(effect)
        return self

    def _perform(self, effect: Effect) -> None:
        """Do what a pipe does for an effect, as far as it changes which bytes pass."""
        match effect:
            case GoPlain():
                self.client.settle()
                self.server.settle()
            case WakeDownstream():
                self.server.settle()
            case EndAt():
                self.server.gate.end_at(effect)
                self.server.settle()
            case _:
                pass

    @property
    def statuses(self) -> list[int]:
        """Exchanges that have ended since this connection was made, by the class of their status."""
        return [now - before for now, before in zip(self._all_statuses, self._counted, strict=True)]

    @property
    def _all_statuses(self) -> list[int]:
        return [sum(counts) for counts in zip(*(one.statuses for one in self.tally.routes.values()), strict=True)] or [
            0
        ] * 6

    @property
    def is_between(self) -> bool:
        return self.client.stream.framer.is_between and self.server.stream.framer.is_between


class Aborting(Driven):
    """A fault responds to these requests in place of the server."""

    def __init__(self, *numbers: int) -> None:
        super().__init__(how="frame")
        self.steps: list[Step] = []
        original = self.client.gate.on_step

        def abort(step: Step) -> Iterable[Step]:
            if isinstance(step, Part) and step.kind == "head" and step.exchange.number in numbers:
                self.conversation.inject(step.exchange, InjectedResponse(503, b"ours", "fault", 0.0, False))
            return original(step)

        self.client.gate.on_step = abort  # type: ignore[method-assign]


def effects_of(conversation: Conversation) -> Iterator[Effect]:
    """Take every effect, and those that come of performing them."""
    while (effect := conversation.next_effect()) is not None:
        yield effect


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """`data` in pieces."""
    borders = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    return [data[a:b] for a, b in zip(borders, borders[1:], strict=False) if a < b]


def singly(data: bytes) -> list[bytes]:
    """Byte by byte."""
    return [data[place : place + 1] for place in range(len(data))]
