"""A pipe in HTTP mode: its bytes are framed on their way, and message faults find Parts in its chain.

An HttpPipe is one direction of a connection. It has a message stream (`Requests` or `Responses`),
which frames its bytes, and shares a Conversation with the other direction. Its readers call
`take_in` with every chunk that they cannot forward themselves. While no fault treats messages, the
message stream only counts them, and the bytes pass as in any pipe. While one does, the chain has two
more stages, Framing before the message faults and Gate behind them. After each step `_react` performs
the effects that the conversation has queued, in either direction. The pipe knows the HTTP side of its
proxy as a `Service`.

Invariants:
- Bytes are framed only once: in the chain if Framing is there, else on arrival. If that takes longer than
  the pipe's share of a turn, nothing more is read until the rest is framed: it counts as not yet read.
- Framing stays in the chain while a fault treats messages or has unfinished work, and while it holds
  an injected response or bytes that are not framed yet.
- After an upgrade, or once bytes cannot be framed, the pipes have the readers of plain streams and
  act like any others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, assert_never, cast

from chaosproxy.endings import Ending
from chaosproxy.faults.base import Close, Direction, Send, Step
from chaosproxy.faults.chain import Link, Marker
from chaosproxy.http.caller import CallerStage
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.effects import (
    Effect,
    EndAt,
    GoPlain,
    NoteFailure,
    PauseClient,
    Refuse,
    ResumeClient,
    SendCopies,
    WakeDownstream,
)
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses
from chaosproxy.http.stage import Framing, Gate, MessageStage
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.stream.ports import Ends, Readers
from chaosproxy.net.stream.readers import STREAM_READERS
from chaosproxy.net.stream.source import UNFRAMED
from chaosproxy.tallies import FaultTally

__all__ = ["HttpPipe", "Service"]

_OUTSTANDING = 8
"""A reason to pause, in addition to those of Pipe: too many requests wait for their responses."""


_FRAMING, _GATE = Marker("framing"), Marker("gate")


class Service(Protocol):
    """The HTTP side of the proxy, as an HttpPipe sees it."""

    @property
    def are_watched(self) -> bool:
        """Return True if a fault may treat messages."""

    def caller_link(self, conversation: Conversation, connection: int, before: Link | None) -> Link | None:
        """Return the link that applies the faults that requests ask for; `before` is the current one."""

    def send_copies(self, copies: Iterable[bytes], sender: object) -> None:
        """Send each request of the connection `sender` to the server once more."""


class HttpPipe(Pipe):
    """One direction of a connection in HTTP mode."""

    __slots__ = (
        "_frame", "_is_working", "_lingers", "_ordinal", "_rest", "_service", "bypass", "conversation", "stream",
    )  # fmt: skip

    def __init__(
        self,
        ends: Ends[Pipe],
        direction: Direction,
        limit: int,
        readers: Readers[Pipe],
        stream: Requests | Responses,
        service: Service,
        ordinal: int,
    ) -> None:
        super().__init__(ends, direction, limit, readers)
        self._service = service
        self._ordinal = ordinal
        """The number of the connection."""
        self.stream = stream
        self.conversation: Conversation = stream.conversation
        self.bypass = False
        """True if only message faults act, so that messages that none of them treats may bypass the chain."""
        self._frame: tuple[Link, Link] | None = None
        """The links before and behind all message faults; None until the first message fault acts."""
        self._lingers = False
        """True if Framing stays in the chain only because it holds something."""
        self._rest = b""
        """Bytes that were read, and are framed in a later turn of the loop."""
        self._is_working = False
        """True while framing uses the pipe's share of a turn."""

    # ── faults ────────────────────────────────────────────────────────────────────────

    def arrange(self, links: Sequence[Link], now: float) -> None:
        message = [link for link in links if isinstance(link.stage, MessageStage)]
        stream = [link for link in links if not isinstance(link.stage, MessageStage)]
        self._remove_moved(message, stream, now)
        is_framed = self._is_framed
        are_treated = bool(message) or self._treats_messages
        self._lingers = self._holds_unframed and not are_treated
        if are_treated or self._lingers:
            self.conversation.unfold()
            before, behind = self._framing()
            links = [before, *self._caller(), *message, behind, *stream]
            self.bypass = not stream and not self._sink_is_gone
        else:
            self.bypass = False
        super().arrange(links, now)
        if is_framed and not self._is_framed and self.direction == "downstream":
            self.conversation.let_pass(now)
        self._react(now)

    def _remove_moved(self, message: Sequence[Link], stream: Sequence[Link], now: float) -> None:
        """Remove each fault whose successor of that name is on the other side of the Gate.

        A successor takes over what its predecessor holds. Messages that have passed the Gate must not pass it again.
        """
        if self.chain is None:
            return
        treats = {link.key: True for link in message} | {link.key: False for link in stream}
        stay = [
            link
            for link in self.chain.links
            if treats.get(link.key) in (None, isinstance(link.stage, MessageStage))
        ]
        if len(stay) < len(self.chain.links):
            self.chain.arrange(stay, now)

    @property
    def holder(self) -> str | None:
        """The fault that holds the latest step, or whose loss keeps everything later from the client."""
        held = super().holder
        if held is None and self.direction == "downstream" and self.conversation.is_silent:
            return self.conversation.silence.fault
        return held

    @property
    def _treats_messages(self) -> bool:
        """Return True if a fault treats messages, in either direction, or has unfinished work."""
        if self.ends is None:
            return False
        conversation = self.conversation
        return conversation.is_treated or (conversation.is_framed and self._service.are_watched)

    def _caller(self) -> list[Link]:
        """Return the link that applies the faults that requests ask for, as a list of at most one."""
        if self.direction == "downstream" or self.ends is None:
            return []
        standing = [] if self.chain is None else [one for one in self.chain.links if isinstance(one.stage, CallerStage)]
        link = self._service.caller_link(self.conversation, self._ordinal, standing[0] if standing else None)
        return [] if link is None else [link]

    def _framing(self) -> tuple[Link, Link]:
        if self._frame is None:
            gate = Gate(self.conversation, self.stream.on)
            self._frame = (Link(_FRAMING, Framing(self.stream), FaultTally()), Link(_GATE, gate, FaultTally()))
        return self._frame

    @property
    def _is_framed(self) -> bool:
        """Return True if bytes are framed in the chain."""
        return self.chain is not None and bool(self.chain.links) and isinstance(self.chain.links[0].stage, Framing)

    @property
    def _holds_unframed(self) -> bool:
        """Return True if Framing holds an injected response or unframed bytes, so that it cannot be removed."""
        if self.chain is None or not self._is_framed:
            return False
        framing = self.chain.links[0]
        return bool(framing.timed or framing.waiting)

    def _remove_framing(self, now: float) -> None:
        """Remove Framing, which has stayed only for what it held, if that has left."""
        if self.chain is not None and not self._holds_unframed:
            http = Framing | Gate | MessageStage
            self.arrange([link for link in self.chain.links if not isinstance(link.stage, http)], now)

    # ── bytes and steps ───────────────────────────────────────────────────────────────

    def take_in(self, data: bytes) -> None:
        """Frame bytes that arrived, and forward them, through the chain if there is one."""
        ends, chain = self.ends, self.chain
        if ends is None:
            return
        if self._rest:
            self._rest += data
            return
        now = ends.scheduler.clock()
        try:
            if not self.conversation.is_framed:
                self.go_plain(now)  # the reader was made before, for a socket that was not yet connected
            passes, known = True, len(data)
            if not self._is_framed:
                try:
                    passes, known = self.stream.account(data, now, self._has_time)
                finally:
                    if self._is_working:
                        self._is_working = False
                        ends.scheduler.end()
                if known < len(data):
                    data, self._rest = data[:known], data[known:]
                    self.pause(UNFRAMED)
                    ends.scheduler.defer(self)
            if passes:
                if chain is not None:
                    self.take(Send(now, data))
                elif self.sink is not None:
                    self.sink.write(data)
                    if self.direction == "downstream":
                        self.turns.answer(now)
            self._react(now)
        except Exception:  # a defect ends this connection and no other
            ends.log_bug()
            self.on_bug()

    def _has_time(self) -> bool:
        """Return whether there is time for more framing; the first call begins the pipe's share of this turn."""
        scheduler = self._live.scheduler
        if self._is_working:
            return scheduler.has_time()
        self._is_working = scheduler.begin()
        return self._is_working

    def end_of_stream(self) -> None:
        if self.ends is None:
            return
        now = self._live.scheduler.clock()
        if not self._is_framed:
            self.stream.stream_ended(now)
        super().end_of_stream()
        self._react(now)

    def lose_sink(self) -> None:
        self.bypass = False  # a reader that bypasses the chain writes to the sink
        self._rest = b""
        super().lose_sink()

    def on_due(self, now: float) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self.take_in(rest)
            if not self._rest:
                self.resume(UNFRAMED)
        self.advance(now)

    def advance(self, now: float) -> None:
        super().advance(now)
        if self._lingers:
            self._remove_framing(now)
        self._react(now)
        if self._rest and self.ends is not None:
            self.ends.scheduler.defer(self)  # whatever was scheduled instead

    def _leave(self, step: Step) -> None:
        conversation, ends = self.conversation, self.ends
        if isinstance(step, Close) and conversation.client_gave_up and ends:
            # Report the client's end, not the fault's: the connection's duration then shows the client's timeout.
            ends.close(Ending("client", "fin", conversation.silence.fault))
        else:
            super()._leave(step)

    def _react(self, now: float) -> None:
        """Perform the effects that the conversation has queued, in either direction."""
        while self.ends is not None and (effect := self.conversation.next_effect()) is not None:
            self._perform(effect, self.ends, now)

    def _perform(self, effect: Effect, ends: Ends[Pipe], now: float) -> None:
        upstream, downstream = (self, self._other) if self.direction == "upstream" else (self._other, self)
        match effect:
            case GoPlain():
                upstream.go_plain(now)
                downstream.go_plain(now)
            case Refuse():
                ends.reset(Ending("operator", "reset", error=f"strict: {self.conversation.stream_reason}"))
            case WakeDownstream():
                downstream.wake(now)
            case EndAt():
                downstream.end_at(effect, now)
            case SendCopies(request, copies):
                self._service.send_copies([request] * copies, upstream.ends)
            case NoteFailure(status, fault):
                self.turns.answer_failed(now, status, fault)
            case PauseClient():
                upstream.pause(_OUTSTANDING)
            case ResumeClient():
                upstream.resume(_OUTSTANDING)
            case other:
                assert_never(other)

    def go_plain(self, now: float) -> None:
        """Forward this direction as a plain stream from now on, and release the bytes that were kept back."""
        self.readers = STREAM_READERS[self.direction]
        self.turns.request = None
        self.update_reader()
        if self.stream.framer.kept:
            self.wake(now)

    def wake(self, now: float) -> None:
        """Run the framing, so that it inserts the steps that are ready."""
        if self._is_framed:
            framing, _ = self._stages()
            framing.wake(now)
            self.advance(now)

    def end_at(self, end: EndAt, now: float) -> None:
        """Close the connection at that time."""
        _, gate = self._stages()
        gate.end_at(end)
        self.advance(now)

    def _stages(self) -> tuple[Framing, Gate]:
        framing, gate = (link.stage for link in self._framing())
        assert isinstance(framing, Framing) and isinstance(gate, Gate)
        return framing, gate

    @property
    def _other(self) -> HttpPipe:
        """Return the other direction, which is an HttpPipe too."""
        assert self.ends is not None
        return cast(HttpPipe, self.ends.opposite(self))

    def dispose(self) -> None:
        self.conversation.close()
        super().dispose()
        self._frame = None
        self._rest = b""
