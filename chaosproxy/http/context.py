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

__all__ = ["KEPT_EACH", "LONGEST_KEPT", "HttpSettings", "Line", "HttpContext"]

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
"""Methods that metrics name (RFC 9110 §9, RFC 5789); all else is `other`, so that nobody can make series at will."""

_KEPT = 4096
"""Request lines kept."""

LONGEST_KEPT = 2048
"""Whole messages up to this length are kept, in bytes: with one of each length, at most 2 MiB each way."""
KEPT_EACH = 16
"""Of a connection's exchanges, the messages of each so-manieth are kept, from the first on. What comes again is known
soon, and what never does is not made dearer by being kept."""

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
    passes: bool
    """No fault can want them or their answers; the line is spelled as HTTP/1.1 has it, and says neither HEAD nor
    CONNECT, whose answers are framed in ways of their own."""


class HttpContext:
    """Shared by all connections of one proxy."""

    def __init__(self, tally: ProxyTally, on_not_framed: Callable[[str], None]) -> None:
        self.settings = HttpSettings()
        self.head_limit = self.settings.head_limit
        self.obeys_callers = False
        self._routes = Routes(())
        self._tally = tally
        self._on_not_framed = on_not_framed
        self._wanted = NOBODY
        self.lines: dict[bytes, Line] = {}
        """By request line."""
        # Polls, health checks and load come again byte for byte. To compare them costs a tenth of parsing them, and to
        # find by its length what they are compared with costs no hash of the whole.
        self.latest_requests: dict[int, tuple[bytes, Line]] = {}
        """By length: a whole request that passes, and its line."""
        self.latest_responses: dict[int, tuple[bytes, int]] = {}
        """By length: a whole response, and the class of its status."""

    def configure(self, settings: HttpSettings, routes: Sequence[str]) -> None:
        """These hold from now on."""
        self.settings = settings
        self.head_limit, self.obeys_callers = settings.head_limit, settings.obeys_callers  # asked for by every request
        self._routes = Routes(routes)
        self._forget()

    def _forget(self) -> None:
        """What is known was found out under rules, routes and limits that hold no longer."""
        self.lines.clear()
        self.latest_requests.clear()
        self.latest_responses.clear()

    def not_framed(self, reason: str) -> None:
        """A connection cannot be framed, and is a stream from now on."""
        self._tally.not_framed += 1
        self._on_not_framed(reason)

    def want(self, rules: Rules) -> None:
        """These are from now on the messages that faults may want."""
        self._wanted = rules
        self._forget()

    def look_up(self, line: bytes) -> Line:
        """`GET /path HTTP/1.1`; finds out, and keeps it."""
        start, _, version = line.rpartition(b" ")
        method, _, target = start.partition(b" ")
        name = method.decode("latin-1")
        passes = version == b"HTTP/1.1" and REQUEST_START.fullmatch(start) is not None and name not in _SPECIAL
        passes = passes and not self._wanted.any_line(method, target)
        found = Line(name, self.tally_of(name, target), passes)
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
