"""http_clock_skew: dates in responses, as from a server whose clock is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import ClassVar

from chaosproxy.declare import Duration, Given, Not, Number, Rule, Set, Struct, param
from chaosproxy.faults.base import Step
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.rewrite import rewritten
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpClockSkew", "Jump"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """A clock that is set to another time while it runs."""

    at: float = param(Duration(), "time after the fault began", example="30s")
    by: float = param(Duration(signed=True), "how far the clock jumps; backward if negative", example="-1h")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpClockSkew(MessageFault):
    """Shifts the times in a response, as if the server's clock were wrong.

    The shift is the sum of `offset`, `drift` millionths of the time since the fault began, and
    `jump` from its time on; negative values shift backward. The fault shifts the dates in Date,
    Expires, Last-Modified, Retry-After and the expiry of Set-Cookie, in the whole seconds of HTTP
    (RFC 9110 §5.6.7). It also shifts Age, as a cache computes it (never below 0). Seconds in
    Retry-After and Max-Age stay, because they do not depend on a clock.
    """

    type: ClassVar[str] = "http_clock_skew"
    summary: ClassVar[str] = "shifts the dates in responses: a server whose clock is wrong"
    models: ClassVar[str] = "A node without time synchronisation, a virtual machine that was paused, a wrong zone."
    example: ClassVar[str] = "{type: http_clock_skew, offset: -5m, drift: 200}"
    treats: ClassVar[MessageKind] = "response"

    offset: float = param(Duration(signed=True), "how far the clock is ahead", default=0.0, example="-5m")
    drift: float = param(
        Number(minimum=-1e6, maximum=1e6),
        "how much too fast the clock runs, in millionths (ppm)",
        default=0.0,
        example="200",
    )
    jump: Jump | None = param(Struct(Jump), "a jump while the clock runs", default=None, example="{at: 30s, by: -1h}")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            ("offset",), "missing", "is missing, as are drift and jump; add one of the three, such as offset: -5m",
            Not(Set("offset")), Not(Set("drift")), Not(Given("jump")),
        ),
    )  # fmt: skip

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Skewing(self, opening)

    def skew(self, since: float) -> float:
        """Return the seconds by which the clock is ahead, `since` seconds after the fault began."""
        jumped = self.jump.by if self.jump is not None and since >= self.jump.at else 0.0
        return self.offset + self.drift * 1e-6 * since + jumped


class _Skewing(MessageStage):
    def __init__(self, settings: HttpClockSkew, opening: MessageOpening) -> None:
        super().__init__(opening, "response")
        self._settings = settings
        self._since = opening.since

    def on_head(self, head: Part) -> Iterable[Step]:
        self.mark(head)
        skew = self._settings.skew(head.due - self._since)
        return (head.with_data(rewritten(head.data, _changes(skew))),)


def _changes(skew: float) -> dict[str, Callable[[str], str | None]]:
    def date(value: str) -> str | None:
        return shifted(value, skew)

    def age(value: str) -> str | None:
        return str(max(0, int(value) + round(skew))) if value.isascii() and value.isdigit() else None

    def cookie(value: str) -> str | None:
        return _EXPIRY.sub(lambda found: f"{found[1]}{shifted(found[2], skew) or found[2]}", value)

    return {
        "date": date, "expires": date, "last-modified": date, "retry-after": date, "age": age, "set-cookie": cookie,
    }  # fmt: skip


_EXPIRY = re.compile(r"(;\s*expires\s*=\s*)([^;]+)", re.IGNORECASE)


def shifted(date: str, seconds: float) -> str | None:
    """Return an HTTP date moved by some seconds; None if the text is not a date, or it is out of range."""
    try:
        moved = parsedate_to_datetime(date).replace(tzinfo=UTC) + timedelta(seconds=round(seconds))
        return format_datetime(moved, usegmt=True)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


