"""Waits that may be reactions to a fault: turns that ended unanswered in its window.

Left out, since they would have ended without the fault:
- A wait that began long before the window, or a wait that is as frequent in the baseline. A long poll with a period of
  its own is both. So is a wait longer than one that had lasted for a second when the window began, on the same host
  if it is known.
- Ends of a deploy, a crash or Ctrl-C. They come together, and their waits differ as their openings do. Therefore waits
  of one host that end in one moment after different times are left out, unless others of two moments confirm them.
- A turn of which the event names no fault. None touched it. Before the upstream is reached, none is named.
- A conversation in which the client does not wait for answers: `pipelined`, `push` and `one-way`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from chaosproxy.events import ClientGaveUp, TurnFailed, TurnRepeated
from chaosproxy.reaction.facts import Facts, ProxyFacts, host_of
from chaosproxy.reaction.span import Span, seconds_in
from chaosproxy.reaction.turns import turns_in
from chaosproxy.reaction.window import Window, unfaulted_before

__all__ = ["ALIVE_S", "MOMENT_S", "Wait", "moments", "tight", "tolerance", "waits_of"]

MOMENT_S = 0.05
"""Seconds within which ends are one moment."""
ALIVE_S = 0.1
"""Seconds after which a new process may repeat what an ended one has sent."""
_MOST = 2000
"""Waits of one window that are looked at; these are enough, and keep the work bounded."""
_WAITING = ("", "turns", "server-first")
"""Shapes of conversations in which the client waits for an answer."""
_OFTEN = 4
"""A wait is a reaction if it is this many times as frequent in the window as in the baseline."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A turn that ended unanswered."""

    waited_s: float
    ended_at: float
    host: str
    is_repeated: bool = False
    """True if the turn was repeated within `ALIVE_S` of its end."""
    is_doubtful: bool = False
    """True if it ended together with others, after another time, so it is not evidence itself."""

    @property
    def opened_at(self) -> float:
        """The time at which the wait began."""
        return self.ended_at - self.waited_s


def tolerance(seconds: float) -> float:
    """Return the seconds by which equal waits may differ: 5 %, and at least 20 ms."""
    return max(0.02, 0.05 * seconds)


def tight(seconds: float) -> float:
    """Return the seconds by which waits of one time-out may differ: 2 %, and at least 20 ms."""
    return max(0.02, 0.02 * seconds)


def waits_of(
    events: Sequence[ClientGaveUp] | Sequence[TurnFailed],
    window: Window,
    proxy: ProxyFacts,
    facts: Facts,
    repeated: Sequence[TurnRepeated],
) -> list[Wait]:
    """Return the waits in a window that may be reactions to it: not those that would have ended without a fault."""
    soon = {(one.of_proxy, one.of_connection, one.of_turn) for one in repeated if one.gap_s <= ALIVE_S}
    inside = [
        _wait(event, soon) for event in events
        if window.has(event.at) and (event.faults or _is_connecting(event)) and event.shape in _WAITING
    ]  # fmt: skip
    spans = unfaulted_before(window, proxy.name, facts)
    felt = turns_in(proxy, spans).felt_p99_s or 0.0
    inside = [wait for wait in inside if wait.opened_at >= window.started - max(0.1, 2 * felt)][:_MOST]
    before = sorted(event.waited_s for event in events if any(begin <= event.at < end for begin, end in spans))
    usual = _Usual(before, sorted(wait.waited_s for wait in inside), _OFTEN * _length(window, facts), seconds_in(spans))
    waiting = _waiting_at_start(proxy, spans)
    polling = {
        host_of(event.client) for event in events
        if event.at >= window.started and event.at - event.waited_s <= window.started - 0.8 * waiting
    }  # fmt: skip
    return [
        wait for wait in _apart(inside)
        if not usual.has(wait.waited_s)
        and not (0.2 * wait.waited_s <= waiting <= wait.waited_s and (not polling or wait.host in polling))
    ]  # fmt: skip


def _is_connecting(event: ClientGaveUp | TurnFailed) -> bool:
    return isinstance(event, ClientGaveUp) and event.waiting_for == "connect"


def _wait(event: ClientGaveUp | TurnFailed, soon: set[tuple[str, int, int]]) -> Wait:
    is_repeated = (event.proxy, event.connection, event.turn) in soon
    return Wait(event.waited_s, event.at, host_of(event.client), is_repeated)


def _length(window: Window, facts: Facts) -> float:
    return (facts.end if window.ended is None else window.ended) - window.started


@dataclass(frozen=True, slots=True)
class _Usual:
    """The waits of the baseline, and how many of them a window may have without being a reason for it."""

    before: Sequence[float]
    inside: Sequence[float]
    """Both sorted."""
    weight: float
    seconds: float
    """The length of the baseline."""

    def has(self, waited_s: float) -> bool:
        """Return whether such a wait is about as frequent in the baseline."""
        usual = _near(self.before, waited_s)
        return usual > 0 and _near(self.inside, waited_s) <= usual * self.weight / self.seconds + 3


def _near(waits: Sequence[float], waited_s: float) -> int:
    """Return the number of waits, which are sorted, that are equal to one."""
    by = tolerance(waited_s)
    return bisect_right(waits, waited_s + by) - bisect_left(waits, waited_s - by)


def _waiting_at_start(proxy: ProxyFacts, spans: Sequence[Span]) -> float:
    """Return the age of the oldest open turn when the window began; 0 below a second, which is not a long poll."""
    if not spans:
        return 0.0
    last = [one.longest_open_s for one in proxy.counted if spans[-1][0] < one.at <= spans[-1][1]]
    return last[-1] if last and last[-1] >= 1.0 else 0.0


def _apart(waits: Sequence[Wait]) -> Iterator[Wait]:
    """Leave out the waits of one host that ended together after different times, unless others confirm some of them."""
    for host in sorted({wait.host for wait in waits}):
        own = sorted((wait for wait in waits if wait.host == host), key=lambda wait: wait.waited_s)
        groups = list(moments(own))
        moment_of = {id(wait): index for index, together in enumerate(groups) for wait in together}
        for together in groups:
            opened = [wait.opened_at for wait in together]
            is_one = max(opened) - min(opened) <= 2 * (together[-1].ended_at - together[0].ended_at) + 0.01
            confirmed = [is_one or _is_confirmed(wait, own, moment_of) for wait in together]
            if any(confirmed):
                yield from (
                    replace(wait, is_doubtful=not is_sound) for wait, is_sound in zip(together, confirmed, strict=True)
                )


def _is_confirmed(wait: Wait, own: Sequence[Wait], moment_of: Mapping[int, int]) -> bool:
    """Return whether waits as long ended at two other moments; `own` is sorted."""
    by = tight(wait.waited_s)
    others: set[int] = set()
    for index in range(bisect_left(own, wait.waited_s - by, key=lambda one: one.waited_s), len(own)):
        if own[index].waited_s > wait.waited_s + by or len(others) > 2:
            break
        others.add(moment_of[id(own[index])])
    return len(others) > 2


def moments(waits: Sequence[Wait], apart: float = MOMENT_S) -> Iterator[list[Wait]]:
    """Yield the waits whose ends are one moment together."""
    group: list[Wait] = []
    for wait in sorted(waits, key=lambda wait: wait.ended_at):
        if group and wait.ended_at > group[0].ended_at + apart:
            yield group
            group = []
        group.append(wait)
    if group:
        yield group
