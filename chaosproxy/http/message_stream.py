"""One direction of a connection in HTTP mode: bytes in, Parts out.

Its bytes take one of two paths:

    account   no message fault acts: count the messages; the bytes pass unchanged
    frame     message faults act: cut the bytes into Parts
"""

from __future__ import annotations

from chaosproxy.faults.base import Send, Step
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.exchange import Exchange
from chaosproxy.http.framing import Emit, Framer, HasTime, PieceKind
from chaosproxy.http.parse import Body, HeadParser, Unframed
from chaosproxy.http.part import MessageKind, Part, PartKind
from chaosproxy.http.states import Treatment

__all__ = ["MessageStream"]


class MessageStream:
    """One direction. The framer, the stages and the pipe call the methods without an underscore."""

    __slots__ = ("_collected", "_now", "conversation", "current", "framer")

    on: MessageKind

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.framer = Framer(conversation.context.settings.head_limit)
        conversation.framed_by(self.framer, self.on)
        self.current: Exchange | None = None
        """The exchange whose message is under way."""
        self._now = 0.0
        self._collected: list[Step] | None = None
        """The Parts of the bytes being framed; None if messages are only counted."""

    def treatment(self) -> Treatment:
        """Return the treatment of bytes that arrive now."""
        raise NotImplementedError

    # ── bytes that no message fault treats ────────────────────────────────────────────

    def account(self, data: bytes, now: float, has_time: HasTime | None = None) -> tuple[bool, int]:
        """Count the messages in `data`; return whether it may pass, and for how many of its bytes this is known.

        If these are not all, `has_time` has returned False, and this method must be called with the others.
        """
        known = len(data)
        if self.treatment() is Treatment.FRAME and not self.framer.skip(known):
            known = self._feed(data, now, None, has_time)
            self.framer.let_go()
        return self.treatment() is not Treatment.DROP, known

    def stream_ended(self, now: float) -> None:
        """Count a message that ends with the stream; its bytes have passed already."""
        if self.treatment() is Treatment.FRAME:
            self._now = now
            self.conversation.unfold()
            self.framer.end_of_stream(self)
            self.conversation.update()

    # ── bytes that go through message faults ──────────────────────────────────────────

    def frame(self, data: bytes, now: float) -> list[Step]:
        """Return `data` as Parts, and the rest that cannot be framed as a plain Send; drop it if bytes are dropped."""
        if self.treatment() is Treatment.DROP:
            return []
        if self.treatment() is Treatment.PASS:
            return [Send(now, self.framer.let_go() + data)]
        steps = self._collected = []
        try:
            self._feed(data, now, self._emit)
        finally:
            self._collected = None
        rest = self.framer.rest
        if rest and self.treatment() is not Treatment.DROP:
            steps.append(Send(now, rest))
        return steps

    def left_over(self, now: float) -> list[Step]:
        """Return the beginning of a head that was kept back, if bytes now pass unframed; else nothing."""
        kept = self.framer.let_go() if self.treatment() is Treatment.PASS else b""
        return [Send(now, kept)] if kept else []

    def end_of_stream(self, now: float) -> list[Step]:
        """Return the steps before the end-of-stream: the end of a body, or the beginning of a head."""
        if self.treatment() is not Treatment.FRAME:
            return self.left_over(now)
        steps = self._collected = []
        self._now = now
        self.conversation.unfold()
        try:
            kept = self.framer.let_go()
            self.framer.end_of_stream(self, self._emit)
        finally:
            self._collected = None
            self.conversation.update()
        return [*steps, Send(now, kept)] if kept else steps

    # ── for the framer ────────────────────────────────────────────────────────────────

    def _feed(self, data: bytes, now: float, emit: Emit, has_time: HasTime | None = None) -> int:
        """Frame `data`; return the number of bytes that are done. Those that cannot be framed are in `framer.rest`."""
        self._now = now
        self.conversation.unfold()
        try:
            return self.framer.feed(data, self, emit, has_time)
        except Unframed as unframed:
            self._not_framed(str(unframed))
            return len(data)
        finally:
            self.conversation.update()

    def _not_framed(self, reason: str) -> None:
        """Note that this direction can no longer be framed."""
        raise NotImplementedError

    def _emit(self, kind: PieceKind, data: bytes, last: bool) -> None:
        raise NotImplementedError

    def _collect(self, kind: PartKind, data: bytes, last: bool, exchange: Exchange) -> None:
        assert self._collected is not None
        is_incomplete = kind == "head" and self.framer.passed > 0
        self._collected.append(Part(self._now, data, self.on, kind, exchange, last, is_incomplete=is_incomplete))

    def make_parser(self) -> HeadParser:
        raise NotImplementedError

    def head_done(self, parser: HeadParser) -> Body:
        raise NotImplementedError

    def ended(self) -> None:
        raise NotImplementedError
