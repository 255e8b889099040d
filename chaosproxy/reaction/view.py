"""The reactions as JSON: the shape that `GET /v1/reactions` and report.json promise. Times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from chaosproxy.reaction.failover import Failover
from chaosproxy.reaction.reactions import ProxyReaction, Reactions, WindowReaction
from chaosproxy.reaction.story import proxy_story, window_story
from chaosproxy.reaction.turns import Turns, turns_of

__all__ = ["view"]

Json = dict[str, object]


def view(reactions: Reactions, date: Callable[[float], str]) -> Json:
    """Return the reactions as JSON values; `date` returns a time of the journal as RFC 3339."""
    facts = reactions.facts
    return {
        "proxies": {
            name: _proxy(turns_of(proxy, facts), reactions.latest_of(name))
            for name, proxy in facts.proxies.items()
            if name in reactions.proxies
        },
        "services": {name: _service(moves) for name, moves in reactions.failovers().items()},
        "windows": [_window(one, facts.end, date) for one in reactions.windows],
        "windows_left_out": reactions.left_out,
    }


def _proxy(turns: Turns, told: ProxyReaction | None) -> Json:
    return {
        "turns": _turns(turns),
        **(_nothing() if told is None else _reaction(told)),
        "story": [] if told is None else proxy_story(told),
    }


def _turns(turns: Turns) -> Json:
    return {
        "answered": turns.answered, "failed": turns.failed, "open": turns.open,
        "felt_s": {"p50": _rounded(turns.felt_p50_s), "p99": _rounded(turns.felt_p99_s)},
    }  # fmt: skip


def _nothing() -> Json:
    """Return the reaction of a proxy on which no fault was."""
    return {
        "gave_up": {
            "count": 0, "waited_s": _waited(None, None, None), "inferred_timeout_s": None, "timeouts": [],
            "none_within_s": None, "unclear": 0,
        },
        "kept_out": 0,
        "retries": {
            "amplification": None, "backoff": None, "backoff_of": None, "factor": None, "first_gap_s": None,
            "step_s": None, "cap_s": None, "jittered": None, "attempts_max": None, "reconnects": 0,
            "double_effects": 0, "count": 0, "confidence": None,
        },
        "circuit_breaker": None,
        "recovered_after_s": None,
    }  # fmt: skip


def _reaction(told: ProxyReaction) -> Json:
    gave_up, retries, breaker = told.gave_up, told.retries, told.breaker
    backoff = retries.backoff or retries.reconnect_backoff
    recovery, aftermath = told.recovery, told.aftermath
    return {
        "gave_up": {
            "count": gave_up.count,
            "waited_s": _waited(gave_up.min_s, gave_up.p50_s, gave_up.max_s),
            "inferred_timeout_s": _rounded(gave_up.inferred_timeout_s),
            "timeouts": [asdict(one) for one in gave_up.timeouts],
            "none_within_s": _rounded(gave_up.none_within_s),
            "unclear": gave_up.unclear,
        },
        "kept_out": told.kept_out,
        "retries": {
            "amplification": _rounded(retries.amplification),
            "backoff": None if backoff is None else backoff.law,
            "backoff_of": None if backoff is None else "retries" if retries.backoff else "reconnects",
            "factor": None if backoff is None else _rounded(backoff.factor),
            "first_gap_s": None if backoff is None else _rounded(backoff.first_gap_s),
            "step_s": None if backoff is None else _rounded(backoff.step_s),
            "cap_s": None if backoff is None else _rounded(backoff.cap_s),
            "jittered": None if backoff is None else backoff.jittered,
            "attempts_max": retries.attempts_max,
            "reconnects": retries.reconnects,
            "double_effects": retries.double_effects,
            "count": retries.retries,
            "confidence": None if backoff is None else backoff.confidence,
        },
        "circuit_breaker": None
        if breaker is None
        else {
            "opened_after": breaker.opened_after, "open_s": _rounded(breaker.open_s), "trials": breaker.trials,
            "closed": breaker.closed, "confidence": breaker.confidence,
        },
        "recovered_after_s": None if recovery is None else _rounded(recovery.recovered_after_s),
        "recovery": None if recovery is None else asdict(recovery),
        "aftermath": None if aftermath is None else asdict(aftermath),
        "false_deaths": asdict(told.false_deaths),
        "advice": None if told.advice is None else asdict(told.advice),
        "spread_to": [] if told.bulkhead is None else [one.proxy for one in told.bulkhead.spread],
    }  # fmt: skip


def _waited(least: float | None, median: float | None, most: float | None) -> Json:
    return {"min": _rounded(least), "p50": _rounded(median), "max": _rounded(most)}


def _service(moves: Sequence[Failover]) -> Json:
    flaps = max((one.flaps for one in moves), default=0)
    return {"failovers": [_failover(one) for one in moves], "flaps": flaps}


def _failover(move: Failover) -> Json:
    return {
        "from": move.old, "to": move.new, "detect_s": _rounded(move.detect_s), "after_s": _rounded(move.after_s),
        "share": _rounded(move.share), "failed_back_after_s": _rounded(move.failed_back_after_s),
        "stayed": [*move.stayed], "split_s": _rounded(move.split_s),
    }  # fmt: skip


def _window(told: WindowReaction, end: float, date: Callable[[float], str]) -> Json:
    window = told.window
    return {
        "faults": [*window.faults],
        "types": [*window.types],
        "proxies": {one.proxy: _reaction(one) for one in told.proxies},
        "started": date(window.started),
        "ended": None if window.ended is None else date(window.ended),
        "touched": {"connections": told.connections, "messages": told.messages},
        "story": [*window_story(told, end)],
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
