"""A reader's way through the ring of events, and the text of Server-Sent Events. Pure.

The text is that of section 9.2 of the HTML standard (WHATWG). The id of an event is its number in the ring, also for
a reader that receives only some of them. So the id of the last event that arrived says where to resume.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chaosproxy.events import Event, Lagged
from chaosproxy.journal.form import values_of
from chaosproxy.journal.ring import Ring

__all__ = ["BATCH", "Cursor", "EventFilter", "Message", "comment", "event_text", "messages_in"]

BATCH = 100
"""The most events that a cursor looks at in one step, which takes about 20 µs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """The events that a reader asks for; all of them by default."""

    proxies: frozenset[str] | None = None
    """Events of these proxies alone. Those of partitions, services and the process have none."""
    kinds: frozenset[str] | None = None
    since: float = -math.inf
    """A time on the clock of the events."""
    since_until: int = 0
    """Events up to this number pass only if they are not older than `since`; later ones are new, whatever their `at`
    is: a give-up is published when it is known, and has the time at which the client left."""

    def passes(self, number: int, event: Event) -> bool:
        """Return whether the reader receives an event."""
        if self.kinds is not None and event.kind not in self.kinds:
            return False
        if self.proxies is not None and getattr(event, "proxy", None) not in self.proxies:
            return False
        return number > self.since_until or event.at >= self.since


class Cursor:
    """A position in a ring; takes the events after it, in batches.

    If the ring has dropped events that come next, a `Lagged` stands in their place. It has the number of the last of
    them, so that a reader which resumes after it does not count them again.
    """

    def __init__(self, ring: Ring, after: int, wanted: EventFilter | None = None, end: int | None = None) -> None:
        """Begin after the number `after`, and end with the number `end`; None for no end."""
        self._ring = ring
        self._wanted = wanted or EventFilter()
        self.position = after
        """The number of the last event that was taken or passed over."""
        self.end = end

    @property
    def is_at_end(self) -> bool:
        """True if nothing is left to take now."""
        return self.position >= (self._ring.last if self.end is None else self.end)

    def take(self) -> list[tuple[int, Event]]:
        """Go on by up to `BATCH` events; return those that pass the filter, with their numbers."""
        found: list[tuple[int, Event]] = []
        dropped = self._ring.first - 1 if self.end is None else min(self._ring.first - 1, self.end)
        if self.position < dropped:
            _, oldest = next(self._ring.after(dropped, 1))
            found.append((dropped, Lagged(at=oldest.at, missed=dropped - self.position)))
            self.position = dropped
        most = BATCH if self.end is None else min(BATCH, self.end - self.position)
        for number, event in self._ring.after(self.position, most):
            self.position = number
            if self._wanted.passes(number, event):
                found.append((number, event))
        return found


def event_text(number: int, event: Event, date: str) -> bytes:
    """Return an event as a Server-Sent Event. `date` is its time as RFC 3339."""
    values = values_of(event)
    data = json.dumps({"kind": event.kind, "at": date, **values})  # ASCII on one line: no field can end early
    return f"id: {number}\nevent: {event.kind}\ndata: {data}\n\n".encode()


def comment(text: str, number: int | None = None) -> bytes:
    """Return a comment, which readers ignore; with a number, they resume after it instead of after their last event.

    A block without data dispatches no event, but sets the last event id.
    """
    position = "" if number is None else f"id: {number}\n"
    return f": {text}\n{position}\n".encode()


@dataclass(frozen=True, slots=True)
class Message:
    """One block of a stream."""

    last_id: str
    """The last id until now; empty before the first."""
    data: str | None
    """The data of the event; None for a block without data, such as a heartbeat."""


def messages_in(chunks: Iterable[bytes], last_id: str = "") -> Iterator[Message]:
    """Parse a stream into its blocks. An incomplete block at the end is discarded, as the standard says.

    Lines end with LF or CRLF. A CR alone, which the standard also allows, does not end one: no chaosproxy
    sends it.
    """
    rest = b""
    data: list[str] = []
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").decode(errors="replace").partition(":")
            value = value.removeprefix(" ")
            if not line.strip(b"\r"):
                yield Message(last_id, "\n".join(data) if data else None)
                data = []
            elif name == "id" and "\0" not in value:
                last_id = value
            elif name == "data":
                data.append(value)
