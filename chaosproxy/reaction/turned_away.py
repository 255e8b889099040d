"""Alternatives that answer a client and do not keep it, such as a standby to which a primary's client connects.

libpq with `target_session_attrs=read-write` connects to each server in turn, reads from its greeting that it is
read-only, and leaves. The greeting is an answered turn. Without this module, the first of them would be the failover.

A host is turned away if it usually keeps its connections for several turns, and its first connections at the
alternative are all closed after the same bytes and a single turn each: by the client, or by the server, which may be
quicker once the client has said goodbye. It is let in with the first connection that is not.
"""

from __future__ import annotations

from itertools import takewhile

from chaosproxy.reaction.facts import ProxyFacts, host_of
from chaosproxy.reaction.load import Span, answered_in

__all__ = ["let_in_at"]

_FEWEST = 3
"""Connections that are turned away."""
_KEPT = 1.75
"""Turns per connection of a host that keeps its connections: a greeting alone is one."""
_LEFT = 1.25
"""Turns per connection of a host that is turned away, at most. They are estimated from the counts of intervals."""


def let_in_at(host: str, old: ProxyFacts, new: ProxyFacts, baseline: Span, window: Span) -> float | None:
    """Return when a host opened the first connection that it kept at `new`, in seconds; None if it kept none.

    Return the window's begin if the host was not turned away.
    """
    usual = sum(baseline.has(one.at) and host_of(one.client) == host for one in old.opened)
    if answered_in(old, baseline, host) < _KEPT * usual:
        return window.begin
    opened = sorted(
        (one for one in new.opened if window.has(one.at) and host_of(one.client) == host), key=lambda one: one.at
    )
    left = {
        one.connection: one.bytes_upstream
        for one in new.closed
        if one.cause in ("client", "server") and window.has(one.at)
    }
    said = left.get(opened[0].connection) if opened else None
    if said is None:
        return window.begin
    away = list(takewhile(lambda one: left.get(one.connection) == said, opened))
    end = opened[len(away)].at if len(away) < len(opened) else window.end
    turns = answered_in(new, Span(away[0].at - away[0].dial_s, end), host)
    if len(away) < _FEWEST or turns > _LEFT * len(away):
        return window.begin
    return end if len(away) < len(opened) else None
