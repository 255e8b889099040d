"""The state that all connections of one proxy in HTTP mode share: settings, routes and caches.

Every request needs the facts about its request line (Line): the tally, and whether a fault may
treat it. They are cached, because finding them takes longer than all other work on a request that
no fault treats. Complete messages are cached too, because polls, health checks and load tests repeat
them byte for byte. The caches are cleared when settings or faults change.
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
"""Methods that metrics name (RFC 9110 §9, RFC 5789); others count as `other`, to bound the number of series."""

_KEPT = 4096
"""The maximum number of request lines in the cache."""

LONGEST_KEPT = 2048
"""The maximum length of a cached message, in bytes. One of each length makes at most 2 MiB per direction."""
KEPT_EACH = 16
"""Cache the messages of every 16th exchange of a connection, from the first on. Messages that repeat are then
recognised soon, and messages that never repeat cost little more."""

_NO_RULES = Rules(())


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The settings of a proxy's HTTP mode."""

    strict: bool = False
    """Reset a connection that cannot be framed, instead of forwarding it as a plain stream."""
    announce: bool = False
    """Add a header to each response that faults sent or changed, with their names."""
    head_limit: int = 64 * 1024
    """The maximum length of a head, in bytes."""
    hold_limit: int = 2**20
    """The maximum number of bytes of one body that a fault may hold."""
    pipeline_limit: int = 1000
    """The maximum number of requests of one connection that wait for responses; beyond it, reading pauses."""
    obeys_callers: bool = False
    """Apply the faults that requests ask for in their fields."""


@dataclass(frozen=True, slots=True)
class Line:
    """The facts about all requests with one request line."""

    method: str
    tally: RouteTally
    passes: bool
    """True if they may pass unframed: no fault treats them or their responses, and the line is HTTP/1.1 in its strict
    spelling. HEAD and CONNECT never pass, since their responses are framed differently."""


class HttpContext:
    """The state that all connections of one proxy share."""

    def __init__(self, tally: ProxyTally, on_not_framed: Callable[[str], None]) -> None:
        self.settings = HttpSettings()
        self.head_limit = self.settings.head_limit
        self.obeys_callers = False
        self._routes = Routes(())
        self._tally = tally
        self._on_not_framed = on_not_framed
        self._rules = _NO_RULES
        self.lines: dict[bytes, Line] = {}
        """The facts by request line."""
        # Comparing a message with a cached one takes a tenth of the time of parsing it. The key is the length, because
        # the hash of a message would have to be computed from all its bytes.
        self.latest_requests: dict[int, tuple[bytes, Line]] = {}
        """By length: a complete request that may pass unframed, and its Line."""
        self.latest_responses: dict[int, tuple[bytes, int]] = {}
        """By length: a complete response, and the class of its status."""

    def configure(self, settings: HttpSettings, routes: Sequence[str]) -> None:
        """Use these settings and routes from now on."""
        self.settings = settings
        # These two are copied, because the readers read them for every request.
        self.head_limit, self.obeys_callers = settings.head_limit, settings.obeys_callers
        self._routes = Routes(routes)
        self._forget()

    def _forget(self) -> None:
        """Clear the caches, because the rules, routes or limits have changed."""
        self.lines.clear()
        self.latest_requests.clear()
        self.latest_responses.clear()

    def not_framed(self, reason: str) -> None:
        """Count and report a connection that can no longer be framed."""
        self._tally.not_framed += 1
        self._on_not_framed(reason)

    def use_rules(self, rules: Rules) -> None:
        """Use these matchers of message faults from now on."""
        self._rules = rules
        self._forget()

    def look_up(self, line: bytes) -> Line:
        """Return the facts about a request line such as `GET /path HTTP/1.1`, and cache them."""
        start, _, version = line.rpartition(b" ")
        method, _, target = start.partition(b" ")
        name = method.decode("latin-1")
        passes = version == b"HTTP/1.1" and REQUEST_START.fullmatch(start) is not None and name not in _SPECIAL
        passes = passes and not self._rules.any_line(method, target)
        found = Line(name, self.tally_of(name, target), passes)
        if len(self.lines) >= _KEPT:
            self.lines.clear()
        self.lines[line] = found
        return found

    def tally_of(self, method: str, target: bytes | str) -> RouteTally:
        """Return the tally of exchanges with that method and route."""
        key = (method if method in _METHODS else "other", self._routes.label(target))
        tally = self._tally.routes.get(key)
        if tally is None:
            tally = self._tally.routes[key] = RouteTally()
        return tally


_SPECIAL = {"HEAD", "CONNECT"}
