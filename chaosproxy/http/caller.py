"""Faults that a request asks for in its header, as with Envoy. They are off unless the proxy enables them.

    x-chaosproxy-delay: 300ms     the request is held for that time, at most `max_delay`
    x-chaosproxy-abort: 503       chaosproxy responds with that status, and the server never gets the request

If they are on, both fields are removed before the request reaches the server, even if `allow` or a
malformed value prevents the fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chaosproxy.declare import Choice, Duration, Flag, ListOf, Whole, param
from chaosproxy.faults.base import Step
from chaosproxy.http.faults.abort import injected_response
from chaosproxy.http.head import values
from chaosproxy.http.part import Part
from chaosproxy.http.rewrite import edited
from chaosproxy.http.stage import MessageOpening, MessageStage

__all__ = ["ABORT_FIELD", "CALLER", "DELAY_FIELD", "CallerFaults", "CallerStage"]

DELAY_FIELD = "x-chaosproxy-delay"
ABORT_FIELD = "x-chaosproxy-abort"
CALLER = "caller"
"""The name of these faults in metrics, events and announcements."""

_DELAY = Duration()
_STATUS = Whole(minimum=200, maximum=599)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerFaults:
    """The faults that a request may ask for."""

    headers: bool = param(Flag(), "apply the fields x-chaosproxy-delay and x-chaosproxy-abort", default=False)
    max_delay: float = param(Duration(), "the longest delay that a request gets", default=5.0, example="5s")
    allow: tuple[str, ...] = param(
        ListOf(Choice("http_delay", "http_abort")),
        "faults that requests may ask for",
        default=("http_delay", "http_abort"),
        example="[http_delay]",
    )


class CallerStage(MessageStage):
    """A stage that applies the faults that requests ask for."""

    def __init__(self, settings: CallerFaults, opening: MessageOpening) -> None:
        super().__init__(opening, "request")
        self._settings = settings

    def on_head(self, head: Part) -> Iterable[Step]:
        request = head.exchange.request
        assert request is not None
        delay, status = values(request.fields, DELAY_FIELD), values(request.fields, ABORT_FIELD)
        head = head.with_data(edited(head.data, remove=(DELAY_FIELD, ABORT_FIELD)))
        if delay and "http_delay" in self._settings.allow:
            head.due += min(_read_delay(delay[0]), self._settings.max_delay)
        if status and "http_abort" in self._settings.allow and (code := _read_status(status[0])):
            response = injected_response(head.exchange, code, {}, None, self.name, head.due)
            self.conversation.inject(head.exchange, response)
            return ()
        return (head,)


def asks(fields: Iterable[tuple[str, str]]) -> bool:
    """Return True if a request's fields ask for a fault."""
    return any(name.lower() in (DELAY_FIELD, ABORT_FIELD) for name, _ in fields)


def _read_delay(text: str) -> float:
    """Return a delay in seconds; 0 for text that cannot be read."""
    try:
        return _DELAY.read(text)
    except ValueError:
        return 0.0


def _read_status(text: str) -> int | None:
    try:
        return _STATUS.read(int(text))
    except ValueError:
        return None
