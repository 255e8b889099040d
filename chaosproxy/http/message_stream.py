"""One direction of a connection in HTTP mode: bytes in, Parts out.

It can be asked in two ways:

    account   count what is in it; all of it passes
    frame     cut it into Parts, for faults to treat
"""

from __future__ import annotations

from chaosproxy.faults.base import Send, Step
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.exchange import Exchange
from chaosproxy.http.framing import Emit, Framer, PieceKind
from chaosproxy.http.parse import Body, HeadParser, Unframed
from chaosproxy.http.part import MessageKind, Part, PartKind

__all__ = ["MessageStream"]


class MessageStream:
    """One direction; the names without an underscore are what the framer and the pipe call."""

    __slots__ = ("_collected", "_now", "conversation", "current", "framer", "is_deaf")

    on: MessageKind

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.framer = Framer(conversation.context.settings.head_limit)
        conversation.framed_by(self.framer)
        self.current: Exchange | None = None
        """Whose message is under way."""
        self.is_deaf = False
        """Nothing more passes: it cannot be framed, and a fault owes something that a stream would belie."""
        self._now = 0.0
        self._collected: list[Step] | None = None
        """Where Parts go while something is framed; None while it is only counted."""

    def account(self, data: bytes, now: float) -> None:
        """Count what is in `data`, all of which passes."""
        if self.conversation.over is None and not self.is_deaf and not self.framer.skip(len(data)):
            self._feed(data, now, None)
            self.framer.let_go()

    def frame(self, data: bytes, now: float) -> list[Step]:
        """`data` as Parts, and as it is where it cannot be framed."""
        if self.is_deaf or self.conversation.reset_over:
            return []
        if self._is_plain:
            return [Send(now, self.framer.let_go() + data)]
        steps = self._collected = []
        try:
            rest = self._feed(data, now, self._emit)
        finally:
            self._collected = None
        if rest and not self.is_deaf and not self.conversation.reset_over:
            steps.append(Send(now, rest))
        return steps

    @property
    def _is_plain(self) -> bool:
        """What comes is not framed any more."""
        return self.conversation.over is not None

    def left_over(self, now: float) -> list[Step]:
        """The beginning of a head that is kept back although these are no messages any more."""
        kept = b"" if self.conversation.over is None or self.conversation.reset_over else self.framer.let_go()
        return [Send(now, kept)] if kept else []

    def stream_ended(self, now: float) -> None:
        """Count a message that ends with the stream; all of it has passed."""
        if self.conversation.over is None and not self.is_deaf:
            self._now = now
            self.conversation.spell_out()
            self.framer.end_of_stream(self)
            self.conversation.mind_business()

    def end_of_stream(self, now: float) -> list[Step]:
        """What goes ahead of the end-of-stream: an end for a body, or the beginning of a head that was kept back."""
        if self._is_plain or self.is_deaf:
            return self.left_over(now)
        steps = self._collected = []
        self._now = now
        self.conversation.spell_out()
        try:
            kept = self.framer.let_go()
            self.framer.end_of_stream(self, self._emit)
        finally:
            self._collected = None
            self.conversation.mind_business()
        return [*steps, Send(now, kept)] if kept else steps

    def _feed(self, data: bytes, now: float, emit: Emit) -> bytes:
        """Answers what could not be framed."""
        self._now = now
        self.conversation.spell_out()
        try:
            self.framer.feed(data, self, emit)
        except Unframed as unframed:
            self._not_framed(str(unframed))
            return self.framer.rest
        finally:
            self.conversation.mind_business()
        return b""

    def _not_framed(self, reason: str) -> None:
        """Nothing can be framed this way from here on."""
        raise NotImplementedError

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        raise NotImplementedError

    def _collect(self, kind: PartKind, data: bytes, last: bool, exchange: Exchange) -> None:
        assert self._collected is not None
        seen_late = kind == "head" and self.framer.passed > 0
        self._collected.append(Part(self._now, data, self.on, kind, exchange, last, seen_late=seen_late))

    def make_parser(self) -> HeadParser:
        raise NotImplementedError

    def head_done(self, parser: HeadParser) -> Body:
        raise NotImplementedError

    def ended(self) -> None:
        raise NotImplementedError
