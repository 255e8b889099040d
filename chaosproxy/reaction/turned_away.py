"""Alternatives that answer a client and do not keep it, such as a standby to which a primary's client connects.

libpq with `target_session_attrs=read-write` connects to each server in turn, reads from its greeting that it is
read-only, and leaves. The greeting is an answered turn, and TLS, a password or `SHOW transaction_read_only` may take a
few more. Without this module, the first of them would be the failover.

A connection is turned away if it is closed after as many bytes of the client as another one: by the client, or by the
server, which may be quicker once the client has said goodbye. A host is turned away if its first connections at the
alternative are, at least three of them, and it usually keeps a connection for many more turns than each of them had. It
is let in with the first connection that is not turned away. In HTTP mode every answer is work.
"""

from __future__ import annotations

from collections import Counter
from itertools import takewhile
from math import inf

from chaosproxy.events import ConnectionClosed
from chaosproxy.reaction.facts import ProxyFacts, host_of
from chaosproxy.reaction.load import answered_in, intervals_around
from chaosproxy.reaction.span import Span, between

__all__ = ["let_in_at"]

_FEWEST = 3
"""Connections that are turned away."""
_KEPT = 1.75
"""Turns of a connection that is kept, per turn of one that is turned away, at least."""
_MOST_TURNS = 5.5
"""A connection with more turns, on average, has done work. TLS, a password (SCRAM) and a question take five."""
_YOUNG = 2.0
"""A connection may still be turned away until it is this many times as old as the oldest that was."""


def let_in_at(host: str, old: ProxyFacts, new: ProxyFacts, baseline: Span, window: Span) -> float | None:
    """Return when a host opened the first connection that it kept at `new`, in seconds; None if it kept none yet.

    Return the window's begin if the host was not turned away.
    """
    if new.protocol == "http":
        return window.begin
    opened = [one for one in between(new.opened, window.begin, window.end) if host_of(one.client) == host]
    closed = {one.connection: one for one in between(new.closed, window.begin, window.end)}
    said = Counter(_said(closed.get(one.connection)) for one in opened)
    away = list(takewhile(lambda one: _is_away(closed.get(one.connection), said), opened))
    rest = opened[len(away) :]
    oldest_s = max((closed[one.connection].lasted_s for one in away), default=0.0)
    is_known = not rest or rest[0].connection in closed or window.end - rest[0].at >= _YOUNG * oldest_s
    if not is_known and len(away) + 1 >= _FEWEST:
        return None
    if len(away) < _FEWEST:
        return window.begin
    end = rest[0].at if rest else window.end
    each = _turns_each(new, host, Span(away[0].at - away[0].dial_s, end), [one.at for one in away])
    usual = sum(host_of(one.client) == host for one in between(old.opened, baseline.begin, baseline.end))
    if each > _MOST_TURNS or answered_in(old, baseline, host) < _KEPT * each * usual:
        return window.begin
    return end if rest else None


def _is_away(closed: ConnectionClosed | None, said: Counter[float]) -> bool:
    bytes_upstream = _said(closed)
    return bytes_upstream < inf and said[bytes_upstream] > 1


def _said(closed: ConnectionClosed | None) -> float:
    """Return the bytes of the client; infinity for a connection that is open, or that another has ended."""
    if closed is None or closed.cause not in ("client", "server"):
        return inf
    return closed.bytes_upstream


def _turns_each(new: ProxyFacts, host: str, span: Span, opened: list[float]) -> float:
    """Return the turns of each connection that was turned away, from the whole intervals before one was kept."""
    whole = [one for one in intervals_around(new, span) if one.at <= span.end]
    seen = sum(at <= whole[-1].at for at in opened) if whole else 0
    turns = sum(one.clients[host][0] for one in whole if host in one.clients)
    return max(1.0, turns / seen) if seen else 1.0
