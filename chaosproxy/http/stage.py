"""A message fault: settings that open a stage which treats whole messages.

A MessageStage is a Stage that is given Parts. At each head it calls `choose`, which decides whether
the stage treats the message: first by the fault's match, then by its probability, count and so on. If
it does, the stage treats that head and all other parts of the message. Parts of other messages,
interim responses (1xx) and responses that a fault injects pass unchanged.

In a pipe, message faults are between two stages of this module. Framing cuts the stream
into Parts; Gate is the last stage that handles messages:

    Framing → message faults, in the order given → Gate → faults on the stream

Invariants:
- A stage keeps only state of the current message. State that must outlast the fault (a loss, an
  injected response, the end of the connection) belongs to the Conversation, which both directions
  share. The pipe performs its effects: it wakes Framing, and sets the time at which the Gate closes
  the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.faults.base import NEVER, Close, Depth, Fault, HalfClose, Opening, Reset, Send, Stage, Step
from chaosproxy.http.conversation import UPGRADED, Conversation
from chaosproxy.http.effects import EndAt
from chaosproxy.http.exchange import Exchange
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses

__all__ = ["Framing", "Gate", "MessageFault", "MessageOpening", "MessageStage"]


_SMALLEST_PIECE, _LARGEST_PIECE = 4 * 1024, 32 * 1024
"""The bytes framed in one step: few at first and while messages or chunks are tiny, which takes about 1 µs per byte."""
_FEW = 16
"""The most Parts of one piece after which the next piece may be larger."""


@dataclass(frozen=True, slots=True)
class MessageOpening(Opening):
    """The arguments with which a message fault opens a stage."""

    conversation: Conversation
    name: str
    """The name of the fault."""
    on: MessageKind
    """The messages that this stage treats."""
    since: float
    """The time at which the fault began, on the first of its connections."""
    choose: Callable[[Exchange], bool]
    """Returns True if the stage must treat the message of this exchange; called once per message, at its head."""


class MessageFault(Fault):
    """A fault type that treats HTTP messages."""

    __slots__ = ()

    depth: ClassVar[Depth] = "message"
    matches_sni: ClassVar[bool] = False
    treats: ClassVar[MessageKind | None] = "request"
    """The messages that it treats; None if the fault's direction determines them."""

    def side(self) -> MessageKind | None:
        """Return the messages that these settings treat; None if the fault's direction determines them."""
        return self.treats

    def open(self, opening: Opening) -> Stage | None:
        assert isinstance(opening, MessageOpening)
        return self.open_stage(opening)

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        """Return a stage for one direction of one connection."""
        raise NotImplementedError(self.type)


class MessageStage(Stage):
    """A stage that treats the messages that it chooses. This base class leaves them unchanged."""

    def __init__(self, opening: MessageOpening, on: MessageKind) -> None:
        self.conversation = opening.conversation
        self.name = opening.name
        self._choose = opening.choose
        self._on = on
        self._current = -1
        """The number of the exchange whose message is being treated; -1 if none is."""

    def on_step(self, step: Step) -> Iterable[Step]:
        if not isinstance(step, Part):  # the current message will not be completed: release its held parts
            held = [*self.let_go()]
            for one in held:
                one.due = step.due
            return (*held, step)
        if step.on != self._on or step.is_injected or step.kind == "interim":
            return (step,)
        exchange = step.exchange
        if step.kind == "head":
            if not self._can_treat(step) or not self._choose(exchange):
                self._current = -1
                return (step,)
            self._current = exchange.number
            return self.on_head(step)
        return self.on_rest(step) if exchange.number == self._current else (step,)

    def treats(self, part: Part) -> bool:
        """Return whether a part belongs to the message that is being treated."""
        return part.on == self._on and not part.is_injected and part.exchange.number == self._current

    def _can_treat(self, head: Part) -> bool:
        """Return True if the head is complete, belongs to an exchange, and messages are paired for certain."""
        is_paired = self.conversation.stream_reason in (None, UPGRADED)
        return head.exchange.number > 0 and not head.is_incomplete and is_paired

    def on_head(self, head: Part) -> Iterable[Step]:
        """Return the steps for the head of a message that is to be treated."""
        return (head,)

    def on_rest(self, part: Part) -> Iterable[Step]:
        """Return the steps for another part of that message."""
        return (part,)

    def mark(self, head: Part) -> None:
        """Note that this fault changes a response, so that it can be announced; changed requests are not announced."""
        if self._on == "response":
            head.exchange.changed_by.append(self.name)

    def take_over(self, old: Stage) -> None:
        if type(old) is type(self):  # a stage of another kind has no state that this one could continue
            self._current = old._current


class Framing(Stage):
    """The first stage: it cuts the stream into Parts, and inserts the responses that faults send."""

    def __init__(self, stream: Requests | Responses) -> None:
        self._stream = stream
        self.quantum = _SMALLEST_PIECE

    def wake(self, now: float) -> None:
        """Run as soon as possible, and insert an injected response, or a head that need not be kept back."""
        self.alarm = now

    def on_step(self, step: Step) -> Iterable[Step]:
        if isinstance(step, Send):
            parts = self._stream.frame(step.data, step.due)
            self.quantum = min(2 * self.quantum, _LARGEST_PIECE) if len(parts) <= _FEW else _SMALLEST_PIECE
            return parts
        if isinstance(step, HalfClose):
            return (*self._stream.end_of_stream(step.due), step)
        if isinstance(step, Reset) and isinstance(self._stream, Responses):
            self._stream.conversation.server_ends(step.due)
        return (step,)

    def on_alarm(self, now: float) -> Iterable[Step]:
        self.alarm = NEVER
        steps = self._stream.left_over(now)
        return [*steps, *self._stream.injected_responses(now)] if isinstance(self._stream, Responses) else steps

    def let_go(self) -> Iterable[Step]:
        kept = self._stream.framer.let_go()
        return (Send(NEVER, kept),) if kept else ()


class Gate(Stage):
    """The last stage that handles messages: it drops lost messages, and counts delivered responses.

    The downstream gate also closes the connection at the time that a fault has set.
    """

    def __init__(self, conversation: Conversation, on: MessageKind) -> None:
        self._conversation = conversation
        self._on = on
        self._end: EndAt | None = None

    def end_at(self, end: EndAt) -> None:
        """Close the connection at that time; the latest call counts."""
        self._end, self.alarm = end, end.at

    def on_alarm(self, now: float) -> Iterable[Step]:
        assert self._end is not None
        self.alarm = NEVER
        return (Close(self._end.at, self._end.fault),)

    def on_step(self, step: Step) -> Iterable[Step]:
        return self._upstream(step) if self._on == "request" else self._downstream(step)

    def _upstream(self, step: Step) -> Iterable[Step]:
        conversation = self._conversation
        if isinstance(step, Part):
            return () if conversation.is_dropped(step.exchange) else (step,)
        if isinstance(step, Send):
            conversation.settle_doubt()
            return () if conversation.drops_requests else (step,)
        return (step,)

    def _downstream(self, step: Step) -> Iterable[Step]:
        if isinstance(step, Part):
            return self._response(step)
        is_fault = isinstance(step, Close | Reset) and step.origin is not None
        return () if self._conversation.is_silent and not is_fault else (step,)

    def _response(self, part: Part) -> Iterable[Step]:
        exchange, conversation = part.exchange, self._conversation
        if not conversation.is_answered(exchange):
            return ()
        if part.kind == "head":
            exchange.first_byte = part.due
            if exchange.changed_by and conversation.context.settings.announce:
                part = part.with_data(_announced(part.data, exchange.changed_by))
        if part.last and part.kind != "interim":
            conversation.delivered(exchange, part.due)
        return (part,) if part.data else ()


def _announced(head: bytes, faults: Iterable[str]) -> bytes:
    """Return the head with a line that names the faults that sent or changed this response."""
    names = ", ".join(dict.fromkeys(faults)).encode("ascii", "backslashreplace")
    end = head.find(b"\r\n\r\n", len(head) - len(head.lstrip(b"\r\n"))) + 2
    return head[:end] + b"X-Chaosproxy-Fault: " + names + b"\r\n" + head[end:]
