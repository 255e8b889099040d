"""http_truncate: a body ends before it is complete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Choice, Given, Not, Rule, Share, Size, param
from chaosproxy.faults.base import Close, Reset, Stage, Step
from chaosproxy.http.head import body_length
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpTruncate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTruncate(MessageFault):
    """Cuts a body short, then closes or resets the connection; its head is not changed.

    `share` is the part of the body that passes, `size` the number of bytes; a body that is not
    longer passes whole, and the connection stays open. `direction: upstream` cuts the body of
    the request. If the head does not give the length of the body, its share is known only at its
    end: the body is held until then, or until the proxy's `hold_limit` is reached, and the
    bytes held by then count as its length.
    """

    type: ClassVar[str] = "http_truncate"
    summary: ClassVar[str] = "cuts bodies short, then ends the connection"
    models: ClassVar[str] = "A server that crashed while it responded, a proxy that ran out of memory or time."
    example: ClassVar[str] = "{type: http_truncate, share: 50%}"
    treats: ClassVar[MessageKind | None] = None

    share: float | None = param(Share(), "the part of the body that passes", default=None, example="50%")
    size: int | None = param(Size(), "the bytes of the body that pass", default=None, example="1KiB")
    then: str = param(
        Choice("close", "reset"), "how the connection ends", default="close", example="reset"
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            ("share",), "missing", "is missing, as is size; add one of the two, such as share: 50%",
            Not(Given("share")), Not(Given("size")),
        ),
        Rule(
            ("share",), "invalid-together", "cannot be combined with size; use one of the two",
            Given("share"), Given("size"),
        ),
    )  # fmt: skip

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Cutting(self, opening, opening.on)


class _Cutting(MessageStage):
    def __init__(self, settings: HttpTruncate, opening: MessageOpening, on: MessageKind) -> None:
        super().__init__(opening, on)
        self._settings = settings
        self._limit = opening.conversation.context.settings.hold_limit
        self._left: int | None = None
        """Bytes of the body that still pass; None while their number is not known."""
        self._is_longer = False
        """True if the body is known to be longer than its part that passes."""
        self._is_cut = False
        self._held: list[Part] = []
        """The parts of a body of unknown length that are held."""

    def on_head(self, head: Part) -> Iterable[Step]:
        settings, length = self._settings, self._length(head)
        self._is_cut, self._held, self._is_longer = False, [], length is not None
        if head.last:
            return (head,)
        if settings.size is not None:
            self._left = settings.size
        else:
            assert settings.share is not None
            self._left = None if length is None else int(length * settings.share)
        if self._left is not None and length is not None and self._left >= length:
            self._current = -1
            return (head,)
        self.mark(head)
        return (head, *self._cut(head.due)) if self._left == 0 and self._is_longer else (head,)

    def on_rest(self, part: Part) -> Iterable[Step]:
        if self._is_cut:
            return ()
        if self._left is None and self._settings.size is not None:  # the setting was a share when the head passed
            self._left = self._settings.size
        if self._left is None:
            return self._hold(part)
        if part.kind != "body":
            return (part,)
        return self._pass(part)

    def _pass(self, part: Part) -> Iterable[Step]:
        assert self._left is not None
        if len(part.data) <= self._left:
            self._left -= len(part.data)
            return (part,) if self._left or part.last or not self._is_longer else (part, *self._cut(part.due))
        kept, self._left = part.with_data(part.data[: self._left]), 0
        kept.last = False
        return (kept, *self._cut(part.due)) if kept.data else self._cut(part.due)

    def _hold(self, part: Part) -> Iterable[Step]:
        """Hold a body of unknown length until its end, or until `hold_limit`; then cut it."""
        assert self._settings.share is not None
        self._held.append(part)
        length = sum(len(one.data) for one in self._held if one.kind == "body")
        if not part.last and length < self._limit:
            return ()
        held, self._held = self._held, []
        for one in held:
            one.due = part.due
        self._left = int(length * self._settings.share)
        if self._left >= length:
            self._current = -1
            return held
        self._is_longer = True
        steps: list[Step] = []
        for one in held:
            steps += () if self._is_cut else [one] if one.kind != "body" else self._pass(one)
        return steps

    def _cut(self, due: float) -> tuple[Step]:
        self._is_cut = True
        return (Close(due) if self._settings.then == "close" else Reset(due),)

    def _length(self, head: Part) -> int | None:
        message = head.exchange.request if self._on == "request" else head.exchange.response
        assert message is not None
        return body_length(message.fields)

    def let_go(self) -> Iterable[Step]:
        held, self._held = self._held, []
        return held

    def take_over(self, old: Stage) -> None:
        super().take_over(old)
        if isinstance(old, _Cutting):
            self._left, self._is_cut, self._is_longer = old._left, old._is_cut, old._is_longer
