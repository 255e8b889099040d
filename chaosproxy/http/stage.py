"""What a message fault is: settings that open a stage which treats whole messages.

A MessageStage is a Stage that sees Parts. At each head it asks whether the message is its
own (`choose`: match, probability, count, in that order); if so it is given that head, and
everything else of the message. Parts of other messages, interim answers (1xx) and answers
that another fault gives pass it untouched.

In a pipe, message faults stand between Framing, which cuts the stream into Parts, and Gate,
the last that knows of messages:

    Framing → message faults, in the order given → Gate → faults on the stream
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.faults.base import NEVER, Close, Depth, Fault, HalfClose, Opening, Reset, Send, Stage, Step
from chaosproxy.http.conversation import UPGRADED, Conversation
from chaosproxy.http.exchange import Exchange
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses

__all__ = ["Framing", "Gate", "MessageFault", "MessageOpening", "MessageStage"]


@dataclass(frozen=True, slots=True)
class MessageOpening(Opening):
    """What a message fault is given to open a stage."""

    conversation: Conversation
    name: str
    """The fault's."""
    on: MessageKind
    """Which messages this stage sees."""
    since: float
    """When the fault began, on whatever connection."""
    choose: Callable[[Exchange], bool]
    """Whether the message whose head has come is one of the fault's; asked once per message."""


class MessageFault(Fault):
    """A fault type that treats HTTP messages."""

    __slots__ = ()

    depth: ClassVar[Depth] = "message"
    matches_sni: ClassVar[bool] = False
    treats: ClassVar[MessageKind | None] = "request"
    """What it treats; None where the fault's direction, or its parameter `on`, says it."""

    def side(self) -> MessageKind | None:
        """What these settings treat; None where the fault's direction says it."""
        return self.treats

    def open(self, opening: Opening) -> Stage | None:
        assert isinstance(opening, MessageOpening)
        return self.open_stage(opening)

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        """A stage for one direction of one connection."""
        raise NotImplementedError(self.type)


class MessageStage(Stage):
    """Treats the messages it chooses. As it stands it leaves them alone."""

    def __init__(self, opening: MessageOpening, on: MessageKind) -> None:
        self.conversation = opening.conversation
        self.name = opening.name
        self._choose = opening.choose
        self._on = on
        self._current = -1
        """The number of the exchange whose message is being treated."""

    def on_step(self, step: Step) -> Iterable[Step]:
        if not isinstance(step, Part):  # no more of a message comes: what was held to see all of it goes ahead
            held = [*self.let_go()]
            for one in held:
                one.due = step.due
            return (*held, step)
        if step.on != self._on or step.is_ours or step.kind == "interim":
            return (step,)
        exchange = step.exchange
        if step.kind == "head":
            if not self._can_treat(step) or not self._choose(exchange):
                self._current = -1
                return (step,)
            self._current = exchange.number
            return self.on_head(step)
        return self.on_rest(step) if exchange.number == self._current else (step,)

    def _can_treat(self, head: Part) -> bool:
        """It is whole, of an exchange, and nothing behind which answers could not be told apart."""
        return head.exchange.number > 0 and not head.seen_late and self.conversation.over in (None, UPGRADED)

    def on_head(self, head: Part) -> Iterable[Step]:
        """What becomes of the head of a message that is to be treated."""
        return (head,)

    def on_rest(self, part: Part) -> Iterable[Step]:
        """What becomes of another part of that message."""
        return (part,)

    def mark(self, head: Part) -> None:
        """The answer is about to be changed, and can be announced so; of a request nobody is told."""
        if self._on == "response":
            head.exchange.changed_by.append(self.name)

    def take_over(self, old: Stage) -> None:
        if type(old) is type(self):  # what another has begun to treat it could not go on with
            self._current = old._current


class Framing(Stage):
    """Cuts the stream into Parts, and puts in what faults answer in the server's place."""

    def __init__(self, stream: Requests | Responses) -> None:
        self._stream = stream

    def wake(self, now: float) -> None:
        """An answer of a fault may be ready: it is put in at the next chance."""
        self.alarm = now

    def on_step(self, step: Step) -> Iterable[Step]:
        if isinstance(step, Send):
            return self._stream.frame(step.data, step.due)
        if isinstance(step, HalfClose):
            return (*self._stream.end_of_stream(step.due), step)
        if isinstance(step, Reset) and isinstance(self._stream, Responses):
            self._stream.conversation.server_ends(step.due)
        return (step,)

    def on_alarm(self, now: float) -> Iterable[Step]:
        self.alarm = NEVER
        steps = self._stream.left_over(now)
        return [*steps, *self._stream.own_answers(now)] if isinstance(self._stream, Responses) else steps

    def let_go(self) -> Iterable[Step]:
        kept = self._stream.framer.let_go()
        return (Send(NEVER, kept),) if kept else ()


class Gate(Stage):
    """The last that knows of messages: nothing passes of what is lost; the rest is counted as it goes.

    The one downstream also ends the connection where a fault has said when.
    """

    def __init__(self, conversation: Conversation, on: MessageKind) -> None:
        self._conversation = conversation
        self._on = on

    def wake(self) -> None:
        """A fault may have said when the connection ends."""
        self.alarm = self._conversation.obligations.ends_at

    def on_alarm(self, now: float) -> Iterable[Step]:
        end = Close(self.alarm, self._conversation.obligations.ended_by)
        self.alarm = NEVER
        return (end,)

    def on_step(self, step: Step) -> Iterable[Step]:
        return self._upstream(step) if self._on == "request" else self._downstream(step)

    def _upstream(self, step: Step) -> Iterable[Step]:
        conversation = self._conversation
        if isinstance(step, Part):
            is_lost = step.exchange.is_swallowed or step.exchange.number >= conversation.obligations.lost_from
            return () if is_lost else (step,)
        if isinstance(step, Send):
            conversation.settle_doubt()
            return () if conversation.loses_requests else (step,)
        return (step,)

    def _downstream(self, step: Step) -> Iterable[Step]:
        if isinstance(step, Part):
            return self._answer(step)
        is_fault = isinstance(step, Close | Reset) and step.origin is not None
        return () if self._conversation.obligations.is_silent and not is_fault else (step,)

    def _answer(self, part: Part) -> Iterable[Step]:
        exchange, conversation = part.exchange, self._conversation
        if conversation.obligations.is_silent and not 0 < exchange.number < conversation.obligations.silent_from:
            return ()
        if part.kind == "head":
            exchange.first_byte = part.due
            if exchange.changed_by and conversation.context.settings.announce:
                part = part.with_data(_announced(part.data, exchange.changed_by))
        if part.last and part.kind != "interim":
            conversation.heard(exchange, part.due)
        return (part,) if part.data else ()


def _announced(head: bytes, faults: Iterable[str]) -> bytes:
    """The head with a line that says which faults made or changed this answer."""
    names = ", ".join(dict.fromkeys(faults)).encode("ascii", "backslashreplace")
    end = head.find(b"\r\n\r\n", len(head) - len(head.lstrip(b"\r\n"))) + 2
    return head[:end] + b"X-Chaosproxy-Fault: " + names + b"\r\n" + head[end:]
