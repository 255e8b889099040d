"""The reactions in sentences: what a person reads first.

Every sentence states something that was observed or inferred; the number of observations stands in it, and the
confidence of an inference behind it. A fault on which nothing happened says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from chaosproxy.backoff_text import backoff_text
from chaosproxy.reaction.backoff import Backoff
from chaosproxy.reaction.failover import Failover
from chaosproxy.reaction.gave_up import GaveUp
from chaosproxy.reaction.reactions import ProxyReaction, Reactions, WindowReaction
from chaosproxy.reaction.retries import Retries
from chaosproxy.reaction.timeouts import TimeOut
from chaosproxy.units import seconds_text

__all__ = ["proxy_story", "story", "window_story"]

_LONG_S = 0.5
"""Seconds of a wait that are worth a sentence if no client gave up."""
_KINDS = {
    "connect": "a connect time-out", "read": "a read time-out", "total": "a deadline for the whole answer",
    "idle": "an idle time-out", "unknown": "a time-out",
}  # fmt: skip


def story(reactions: Reactions) -> list[str]:
    """Return the whole story, window by window; details are indented."""
    lines = [line for window in reactions.windows for line in window_story(window, reactions.facts.end)]
    return lines or ["no fault was on, so no reaction can be told"]


def window_story(told: WindowReaction, end: float) -> Iterator[str]:
    """Yield the story of one window; `end` is the end of the journal."""
    window = told.window
    names = " and ".join(f"`{fault}`" for fault in window.faults)
    state = "was on" if window.ended is not None else "is on"
    seconds = (end if window.ended is None else window.ended) - window.started
    if not told.connections and not told.messages and not any(one.kept_out for one in told.proxies):
        yield f"{names} {state} ({seconds:.1f} s) and touched nothing"
        return
    touched = _number(told.connections, "connection")
    if told.messages:
        touched += f" and {_number(told.messages, 'message')}"
    for one in told.proxies:
        yield f"{one.proxy}, while {names} {state} ({seconds:.1f} s, touched {touched}):"
        for line in proxy_story(one):
            yield f"  {line}"
    for move in told.failovers:
        yield f"  {_failover(move)}"


def proxy_story(one: ProxyReaction) -> list[str]:
    """Return what happened on one proxy in one window, and after it."""
    lines = [*_gave_up(one.gave_up), *_retries(one.retries), *_others(one)]
    if one.kept_out and not one.turns.answered and not one.turns.open:
        nothing = "" if lines else "no client could ask anything: "
        lines.append(f"{nothing}{_number(one.kept_out, 'attempt')} to connect failed")
    elif not lines:
        if one.turns.answered or one.turns.open:
            lines.append(f"no client gave up: {_number(one.turns.answered, 'turn')} answered, {one.turns.open} open")
        else:
            lines.append("no client asked anything")
    return [*lines, *_after(one)]


def _gave_up(gave_up: GaveUp) -> Iterator[str]:
    for timeout in gave_up.timeouts:
        yield (
            f"{timeout.count} of {_number(gave_up.count, 'client')} gave up after {_spread(timeout)}"
            f" ({timeout.confidence}): {_KINDS[timeout.kind]} of {seconds_text(timeout.s)}"
        )
    if gave_up.count and not gave_up.timeouts and gave_up.min_s is not None and gave_up.max_s is not None:
        between = (
            f"after {seconds_text(gave_up.min_s)}" if gave_up.count == 1
            else f"between {seconds_text(gave_up.min_s)} and {seconds_text(gave_up.max_s)}"
        )  # fmt: skip
        yield f"{_number(gave_up.count, 'client')} gave up {between}: too few or too different to say why"
    if gave_up.deadline is not None:
        yield f"a call ends after {_spread(gave_up.deadline)} over all its attempts ({gave_up.deadline.confidence})"
    for timeout in gave_up.server_timeouts:
        yield f"the server ended {_number(timeout.count, 'turn')} after {_spread(timeout)} ({timeout.confidence})"
    if gave_up.unclear and not gave_up.count:
        yield f"{_number(gave_up.unclear, 'client')} ended while waiting: given up or half-closed, which is not known"
    if gave_up.waiting is not None and (gave_up.none_within_s or 0.0) >= _LONG_S:
        waited = _number(gave_up.waiting.turns, "turn")
        yield f"no time-out within {seconds_text(gave_up.waiting.longest_s)}: {waited} waited, and no client gave up"


def _rhythm(backoff: Backoff) -> str:
    text = backoff_text(
        backoff.law, backoff.first_gap_s, backoff.step_s, backoff.factor, backoff.cap_s, backoff.jittered
    )
    return f"{text} ({backoff.confidence})"


def _retries(retries: Retries) -> Iterator[str]:
    if retries.backoff is not None:
        yield f"they tried again {_rhythm(retries.backoff)}"
    elif retries.retries:
        yield f"{_number(retries.retries, 'retry', 'retries')}: too few to say in which rhythm"
    if retries.attempts_max is not None:
        yield f"at most {_number(retries.attempts_max, 'attempt')}"
    if retries.reconnect_backoff is not None:
        yield f"they connected again {_rhythm(retries.reconnect_backoff)}"
    if retries.reconnects:
        yield f"{_number(retries.reconnects, 'reconnect')}"
    if retries.amplification is not None and retries.amplification >= 1.05:
        yield f"the load was {retries.amplification:.2g} times the work"
    if retries.double_effects:
        yield f"{_number(retries.double_effects, 'retry', 'retries')} of requests that the server had answered already"
    if retries.herd is not None:
        yield f"a herd: up to {retries.herd.most} connections came together, {retries.herd.times} times"


def _others(one: ProxyReaction) -> Iterator[str]:
    failed = one.turns.failed - one.gave_up.count
    if failed > 0:
        yield f"{_number(failed, 'turn')} failed"
    if (breaker := one.breaker) is not None:
        after = "" if breaker.opened_after is None else f" after {breaker.opened_after} failures in a row"
        trials = _number(breaker.trials, "trial")
        yield f"a circuit breaker opened{after}, for {seconds_text(breaker.open_s)}, {trials} ({breaker.confidence})"
    if one.bulkhead is not None:
        for spread in one.bulkhead.spread:
            what = "slower" if spread.slowed else "less"
            rates = f"{spread.rate_before:.3g}/s before, {spread.rate_during:.3g}/s now"
            yield f"the fault spread to {spread.proxy}: {what} ({rates})"
    if one.false_deaths.count and one.false_deaths.late_s_p50 is not None:
        late = seconds_text(one.false_deaths.late_s_p50)
        yield f"{_number(one.false_deaths.count, 'answer')} came after the client had given up, {late} late"


def _after(one: ProxyReaction) -> Iterator[str]:
    recovery, aftermath = one.recovery, one.aftermath
    if recovery is not None:
        parts = []
        if recovery.first_good_turn_s is not None:
            parts.append(f"first good turn {seconds_text(recovery.first_good_turn_s)}")
        if recovery.recovered_after_s is not None:
            parts.append(f"back to normal {seconds_text(recovery.recovered_after_s)}")
        elif recovery.verdict == "not recovered":
            parts.append(f"not back to normal within {seconds_text(recovery.seen_s)}")
        if parts:
            yield f"after the heal: {', '.join(parts)}"
    if aftermath is not None:
        if aftermath.dead_sockets:
            yield f"{_number(aftermath.dead_sockets, 'connection')} stayed dead until the client dropped it"
        if aftermath.metastable:
            yield "30 s after the heal it is still overloaded: the storm feeds itself"


def _failover(move: Failover) -> str:
    noticed = "" if move.detect_s is None else f" ({seconds_text(move.detect_s)} to notice)"
    share = "all" if move.share >= 0.95 else f"{move.share:.0%}"
    back = "" if move.failed_back_after_s is None else f"; back {seconds_text(move.failed_back_after_s)} after the heal"
    when = f"{seconds_text(move.after_s)} after the fault{noticed}"
    return f"service {move.service} moved to {move.new} {when}, {share} of its load{back}"


def _spread(timeout: TimeOut) -> str:
    return f"{timeout.s:.2f} s ± {timeout.spread_s / 2:.2f}"


def _number(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
