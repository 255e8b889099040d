"""A pipe in HTTP mode: its bytes are framed on their way, and message faults find Parts in its chain.

Once a connection is no HTTP any more (upgraded, or it cannot be framed), it is a pipe like
any other, with Forward and Disturb.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chaosproxy.faults.base import Close, Direction, Send, Step
from chaosproxy.faults.chain import Link
from chaosproxy.http.caller import CallerStage
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses
from chaosproxy.http.stage import Framing, Gate, MessageStage
from chaosproxy.net.http.readers import HttpReader, RequestReader, ResponseReader
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.stream.readers import ChainedReader, PlainReader, Reader
from chaosproxy.tallies import FaultTally

if TYPE_CHECKING:
    from chaosproxy.net.stream.connection import Connection

__all__ = ["HttpPipe"]

_OUTSTANDING = 8
"""Too many requests wait for their answers: a reason to pause, beside those in `pipe`."""


class HttpPipe(Pipe):
    """One direction of a connection in HTTP mode."""

    __slots__ = ("_frame", "bypass", "conversation", "stream")

    def __init__(
        self, connection: Connection, direction: Direction, limit: int, stream: Requests | Responses
    ) -> None:
        super().__init__(connection, direction, limit)
        self.stream = stream
        self.conversation: Conversation = stream.conversation
        self.bypass = False
        """Nothing but message faults acts: what none of them wants need not go through the chain."""
        self._frame: tuple[Link, Link] | None = None
        """What stands before and behind all message faults, once there have been some."""

    # ── which faults act ──────────────────────────────────────────────────────────────

    def arrange(self, links: Sequence[Link], now: float) -> None:
        message = [link for link in links if isinstance(link.stage, MessageStage)]
        stream = [link for link in links if not isinstance(link.stage, MessageStage)]
        is_framed = self._is_framed
        if is_framed:
            self._drain(now)
        if message or self._treats_messages or self._holds_unframed:
            self.conversation.spell_out()
            before, behind = self._framing()
            links = [before, *self._caller(), *message, behind, *stream]
            self.bypass = not stream
        else:
            self.bypass = False
        super().arrange(links, now)
        if is_framed and not self._is_framed and self.direction == "downstream":
            self.conversation.let_pass(now)

    @property
    def _treats_messages(self) -> bool:
        """A fault treats messages, of this direction or the other, or has begun to and must come to an end."""
        connection = self.connection
        if connection is None:
            return False
        conversation = self.conversation
        return conversation.is_treated or (conversation.over is None and connection.proxy.http.are_watched)

    def _caller(self) -> list[Link]:
        """What obeys requests that ask for faults themselves."""
        if self.direction == "downstream" or self.connection is None:
            return []
        standing = [] if self.chain is None else [one for one in self.chain.links if isinstance(one.stage, CallerStage)]
        link = self.connection.proxy.http.caller_link(self.connection, standing[0] if standing else None)
        return [] if link is None else [link]

    def _framing(self) -> tuple[Link, Link]:
        if self._frame is None:
            gate = Gate(self.conversation, self.stream.on)
            self._frame = (Link("", Framing(self.stream), FaultTally()), Link(" ", gate, FaultTally()))
        return self._frame

    @property
    def _is_framed(self) -> bool:
        """What goes through the chain is framed there."""
        return self.chain is not None and bool(self.chain.links) and isinstance(self.chain.links[0].stage, Framing)

    def _drain(self, now: float) -> None:
        """What has not yet been framed must be, before framing may end."""
        left = -1
        while self.chain is not None and self.chain.links and len(self.chain.links[0].waiting) not in (0, left):
            left = len(self.chain.links[0].waiting)
            self.chain.advance(now)

    @property
    def _holds_unframed(self) -> bool:
        """An answer that a request asked for, and asked to be late, holds what follows: framing cannot end yet."""
        return self._is_framed and self.chain is not None and bool(self.chain.links[0].timed)

    def _protocol(self, protocol: type[Reader]) -> type[Reader]:
        if self.conversation.over is None and protocol in (PlainReader, ChainedReader):
            return RequestReader if self.direction == "upstream" else ResponseReader
        return protocol

    # ── what flows ────────────────────────────────────────────────────────────────────

    def take_in(self, data: bytes) -> None:
        """Frame what arrived, and pass it on, through the chain where there is one."""
        connection, chain = self.connection, self.chain
        if connection is None:
            return
        now = connection.scheduler.clock()
        try:
            if not self._is_framed:
                self.stream.account(data, now)
            if self.conversation.reset_over:
                self._refuse()
            elif chain is not None:
                self.take(Send(now, data))
            elif self.sink is not None:
                self.sink.write(data)
                self._react(now)
        except Exception:  # a defect ends this connection and no other
            connection.log_bug()
            self.on_bug()

    def end_of_stream(self) -> None:
        if self.connection is None:
            return
        now = self._scheduler.clock()
        if not self._is_framed:
            self.stream.stream_ended(now)
        super().end_of_stream()
        self._react(now)

    def advance(self, now: float) -> None:
        super().advance(now)
        self._react(now)

    def _leave(self, step: Step) -> None:
        conversation, connection = self.conversation, self.connection
        if isinstance(step, Close) and conversation.client_ended and conversation.obligations.is_silent and connection:
            # It is the client that has waited no longer: that is what its time-out is measured by.
            fault = conversation.obligations.silenced_by
            connection.close("peer", f"client closed first, unanswered for fault {fault}")
        else:
            super()._leave(step)

    def _react(self, now: float) -> None:
        """See to what this direction's messages mean for the other one, and for the server."""
        conversation, connection = self.conversation, self.connection
        if connection is None:
            return
        if conversation.reset_over:
            self._refuse()
            return
        if conversation.over is not None:
            self._go_plain(now)
        if conversation.wakes_downstream:
            conversation.wakes_downstream = False
            connection.downstream.wake(now)  # type: ignore[attr-defined]  # in HTTP mode both are MessagePipes
        if conversation.copies:
            copies, conversation.copies = conversation.copies, None
            connection.proxy.http.send_copies(copies)
        self._slow_client()

    def wake(self, now: float) -> None:
        """An answer that a fault gives may be ready, or the end be near."""
        if self._is_framed:
            framing, gate = (link.stage for link in self._framing())
            assert isinstance(framing, Framing) and isinstance(gate, Gate)
            gate.wake()
            if framing.alarm > now:  # not from within
                framing.wake(now)
                self.advance(now)

    def _slow_client(self) -> None:
        """A client that asks much faster than it is answered has to wait."""
        assert self.connection is not None
        waiting, limit = self.conversation.outstanding, self.conversation.context.settings.pipeline_limit
        if self.conversation.obligations.is_silent or self.conversation.over is not None:
            # Silent, it would wait for ever, and its end not be seen; of a stream nobody counts answers.
            self.connection.upstream.resume(_OUTSTANDING)
        elif waiting > limit:
            self.connection.upstream.pause(_OUTSTANDING)
        elif waiting <= limit // 2:
            self.connection.upstream.resume(_OUTSTANDING)

    def _go_plain(self, now: float) -> None:
        """These are no messages any more: both directions go on as streams."""
        assert self.connection is not None
        for pipe in (self.connection.upstream, self.connection.downstream):
            if pipe.source is not None and isinstance(pipe.source.get_protocol(), HttpReader):
                pipe.source.set_protocol(pipe.reader())
            if pipe.stream.framer.kept:  # type: ignore[attr-defined]  # in HTTP mode both are MessagePipes
                pipe.wake(now)  # type: ignore[attr-defined]

    def _refuse(self) -> None:
        """The proxy is strict."""
        if self.connection is not None:
            self.connection.reset("operator", f"reset by strict: {self.conversation.over}")

    def dispose(self) -> None:
        super().dispose()
        self._frame = None
