"""Failed attempts of clients, from all events that tell of one, each counted once.

A failed attempt is a turn on which the client gave up, a turn that failed, a dial that failed, or a connection that
a fault refused. A dial may also have a `TurnFailed`, which has the better data and is then used alone. A give-up that
is pending is skipped: its final event follows, or the client had only half-closed.
A dropped SYN is not a failed attempt: the client's kernel repeats it without the client's knowledge.

Turns of conversations that are pipelined, push or one-way are skipped: there, a turn has no clear answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.events import ClientGaveUp, TurnFailed
from chaosproxy.reaction.facts import ProxyFacts, host_of

__all__ = ["FailedAttempt", "failed_attempts"]


_WITH_ANSWERS = ("turns", "server-first", "")


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt of a client that failed."""

    opened: float
    ended: float
    host: str
    """Empty if it is not known."""
    connection: int | None
    gave_up: bool
    """Whether the client itself ended it."""
    number: int = 1
    """The attempts that one event tells of; more than 1 where similar ones have no event of their own."""


def failed_attempts(proxy: ProxyFacts) -> list[FailedAttempt]:
    """Return the failed attempts at a proxy in the order in which they ended."""
    turns: list[ClientGaveUp | TurnFailed] = [*proxy.gave_up, *proxy.failed]
    found = [
        FailedAttempt(one.at - one.waited_s, one.at, host_of(one.client), one.connection, isinstance(one, ClientGaveUp))
        for one in turns
        if one.shape in _WITH_ANSWERS and not (isinstance(one, ClientGaveUp) and one.is_pending)
    ]
    known = {one.connection for one in found}
    found += [
        FailedAttempt(one.at - one.after_s, one.at, "", one.connection, False)
        for one in proxy.dial_failed
        if one.connection not in known
    ]
    found += [
        FailedAttempt(one.at, one.at, host_of(one.client), None, False, one.suppressed + 1)
        for one in proxy.attempts
        if one.met != "unanswered"
    ]
    return sorted(found, key=lambda one: one.ended)
