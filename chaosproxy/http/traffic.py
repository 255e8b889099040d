"""What all connections of one proxy in HTTP mode share: its settings, its routes, and who may want which request.

Every request asks by its request line; the answer is kept, since it takes longer to find
than all else that is done for a request in which no fault is interested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chaosproxy.http.match import Rules
from chaosproxy.http.parse import REQUEST_START
from chaosproxy.http.routes import Routes
from chaosproxy.tallies import ProxyTally, RouteTally

__all__ = ["HttpSettings", "Line", "Traffic"]

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
"""Methods that metrics name (RFC 9110 §9, RFC 5789); all else is `other`, so that nobody can make series at will."""

_KEPT = 4096
"""Request lines kept."""

NOBODY = Rules(())


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """What a proxy's HTTP mode is told."""

    strict: bool = False
    """What cannot be framed is reset instead of passed on as it came."""
    announce: bool = False
    """Answers that a fault made or changed say so in a header."""
    head_limit: int = 64 * 1024
    """The longest head, in bytes."""
    hold_limit: int = 2**20
    """How much of one body a fault may hold, in bytes."""
    pipeline_limit: int = 1000
    """Requests of one connection that may wait for their answers before its client is slowed."""
    obeys_callers: bool = False
    """A request may ask for faults itself."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is known about all requests with one request line."""

    method: str
    tally: RouteTally
    watched: bool
    """A fault may want them or their answers."""
    simple: bool
    """The line is spelled as it should be, and their answers are framed like any other: neither HEAD nor CONNECT."""


class Traffic:
    """Shared by all connections of one proxy."""

    def __init__(self, tally: ProxyTally, on_unframed: Callable[[str], None]) -> None:
        self.settings = HttpSettings()
        self._routes = Routes(())
        self._tally = tally
        self._on_unframed = on_unframed
        self._wanted = NOBODY
        self.lines: dict[bytes, Line] = {}
        """By method and target, as they stand in the request line."""

    def configure(self, settings: HttpSettings, routes: Sequence[str]) -> None:
        """These hold from now on."""
        self.settings = settings
        self._routes = Routes(routes)
        self.lines.clear()

    def unframed(self, reason: str) -> None:
        """A connection cannot be framed, and is a stream from now on."""
        self._tally.unframed += 1
        self._on_unframed(reason)

    def want(self, rules: Rules) -> None:
        """These are from now on the messages that faults may want."""
        self._wanted = rules
        self.lines.clear()

    def look_up(self, line: bytes) -> Line:
        """`GET /path`, without the version; finds out, and keeps it."""
        method, _, target = line.partition(b" ")
        name = method.decode("latin-1")
        simple = name not in _SPECIAL and REQUEST_START.fullmatch(line) is not None
        found = Line(name, self.tally_of(name, target), self._wanted.any_line(method, target), simple)
        if len(self.lines) >= _KEPT:
            self.lines.clear()
        self.lines[line] = found
        return found

    def tally_of(self, method: str, target: bytes | str) -> RouteTally:
        """Where exchanges of that method and route are counted."""
        key = (method if method in _METHODS else "other", self._routes.label(target))
        tally = self._tally.routes.get(key)
        if tally is None:
            tally = self._tally.routes[key] = RouteTally()
        return tally


_SPECIAL = {"HEAD", "CONNECT"}
