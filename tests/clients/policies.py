"""The policies of the HTTP client programs, and whether what chaosproxy tells of one is right. Pure.

A claim is right if the client's settings say the same: a time-out within 5 %, or 20 ms below 400 ms; a factor or a
first gap within 10 %; a breaker's seconds within 0.15 s; numbers of attempts and failures exactly. It is missing if the
fault must have shown it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, NamedTuple

__all__ = ["FAULTS", "POLICIES", "Fault", "Json", "Policy", "Verdict", "is_near", "judge"]

Json = dict[str, Any]  # Any: JSON

Failure = Literal["silence", "end", "kept out", "status"]


@dataclass(frozen=True)
class Fault:
    """A fault, and how calls fail under it."""

    settings: Json
    failure: Failure
    needs_http: bool = False
    is_short: bool = False
    """True if each connection fails only once, and new ones are kept out, so that little can be told."""


FAULTS: Mapping[str, Fault] = {
    "stall": Fault({"type": "stall"}, "silence"),
    "blackhole": Fault({"type": "blackhole"}, "silence"),
    "partition": Fault({"type": "partition", "direction": "downstream", "mode": "stream"}, "silence", is_short=True),
    "lost_request": Fault({"type": "http_drop_request"}, "silence", needs_http=True),
    "lost_answer": Fault({"type": "http_drop_response"}, "silence", needs_http=True),
    "reset": Fault({"type": "reset"}, "kept out"),
    "reset_request": Fault({"type": "reset", "direction": "upstream", "size": "0B"}, "end"),
    "refuse": Fault({"type": "refuse", "existing": "reset"}, "kept out"),
    "unreachable": Fault({"type": "unreachable", "mode": "stream"}, "kept out"),
    "abort": Fault({"type": "http_abort", "status": 503}, "status", needs_http=True),
}


@dataclass(frozen=True)
class Policy:
    """The settings of a client."""

    timeout_s: float | None = None
    """None if it waits for ever."""
    kind: Literal["read", "total"] = "read"
    retries: frozenset[Failure] = frozenset()
    """The failures after which it tries again. `kept out` shows only if the host has one client."""
    law: str | None = None
    """Of its back-off; None if it has too few gaps for one."""
    factor: float | None = None
    first_gap_s: float | None = None
    """None if the first retry comes at once, before the law begins."""
    is_jittered: bool = False
    attempts: int | None = None
    breaker: tuple[int, float] | None = None
    """Failures in a row after which it opens, and the seconds for which it does."""
    opens: frozenset[Failure] = frozenset()
    """The failures that its breaker counts."""
    workers: int = 3
    protocol: str = "http"


_ANY: frozenset[Failure] = frozenset(("silence", "end", "kept out"))

_CUT: frozenset[Failure] = frozenset(("end",))
"""aiohttp sends an idempotent request once more if the server ends the connection, which no setting says."""

POLICIES: Mapping[str, Policy] = {
    "requests_read": Policy(0.5),
    "requests_retry": Policy(
        0.3, retries=_ANY, law="exponential", factor=2.0, attempts=6,
    ),
    "requests_503": Policy(
        0.3, retries=_ANY | {"status"}, law="exponential", factor=2.0, attempts=6,
    ),
    "requests_post": Policy(0.3, retries=_ANY, attempts=3),
    "httpx_read": Policy(0.4),
    "urllib_read": Policy(0.8, protocol="tcp"),
    "urllib_none": Policy(None),
    "raw_constant": Policy(0.25, retries=_ANY, law="constant", first_gap_s=0.3, attempts=4, protocol="tcp"),
    "tenacity_jitter": Policy(
        0.3, retries=_ANY, law="exponential", factor=2.0, is_jittered=True, attempts=5,
    ),
    "pybreaker_opens": Policy(0.3, breaker=(5, 2.0), opens=_ANY, workers=1),
    "pybreaker_503": Policy(5.0, breaker=(5, 2.0), opens=_ANY | {"status"}, workers=1),
    "aiohttp_total": Policy(0.6, "total", retries=_CUT, attempts=2),
    "aiohttp_connect": Policy(None, retries=_CUT, attempts=2),
    "aiohttp_read": Policy(0.35, retries=_CUT, attempts=2),
    "node_fetch": Policy(0.45, "total"),
    "node_http": Policy(0.55),
    "curl_total": Policy(0.7, "total"),
    "curl_retry": Policy(
        0.4, "total", retries=frozenset(("silence", "status")), law="exponential", factor=2.0, first_gap_s=1.0,
        attempts=4,
    ),
}  # fmt: skip
"""By the name of the program."""


_BRIEF_S = 1.0
"""The longest time-out with which a call fails often enough for a breaker to open in some seconds."""


class Verdict(NamedTuple):
    """What became of one claim."""

    claim: Literal["time-out", "kind", "none within", "back-off", "attempts", "breaker"]
    is_right: bool | None
    """None if it is missing."""
    told: object


def is_near(told_s: float, s: float) -> bool:
    """Whether a time-out is right."""
    return abs(told_s - s) <= (0.05 * s if s >= 0.4 else 0.02)


def judge(policy: Policy, fault: Fault, told: Json, workers: int | None = None) -> list[Verdict]:
    """Return what became of each claim about a client that runs with so many workers (default: the policy's)."""
    count = policy.workers if workers is None else workers
    return [
        *_timeout(policy, fault, told["gave_up"]), *_retries(policy, fault, told["retries"], count),
        *_breaker(policy, fault, told["circuit_breaker"]),
    ]  # fmt: skip


def _timeout(policy: Policy, fault: Fault, gave_up: Json) -> Iterator[Verdict]:
    possible = [policy.timeout_s] if policy.timeout_s is not None and fault.failure == "silence" else []
    for one in gave_up["timeouts"]:
        yield Verdict("time-out", any(is_near(one["s"], s) for s in possible), one)
        if one["kind"] != "unknown":
            yield Verdict("kind", one["kind"] == policy.kind, one)
    # A client that breaks its circuit asks too rarely to give up often.
    if possible and not gave_up["timeouts"] and not fault.is_short and policy.breaker is None:
        yield Verdict("time-out", None, gave_up)
    within = gave_up["none_within_s"]
    if within is not None:
        yield Verdict("none within", policy.timeout_s is None or policy.timeout_s > 0.9 * within, gave_up)
    elif policy.timeout_s is None and fault.failure == "silence" and not fault.is_short:
        yield Verdict("none within", None, gave_up)


def _retries(policy: Policy, fault: Fault, retries: Json, workers: int) -> Iterator[Verdict]:
    has_law = fault.failure in policy.retries and policy.law is not None
    are_seen = not fault.is_short and (fault.failure != "kept out" or workers == 1)
    if retries["backoff"] is not None:
        yield Verdict("back-off", has_law and _is_law(policy, retries), retries)
    elif has_law and are_seen and not policy.is_jittered:
        yield Verdict("back-off", None, retries)
    if retries["attempts_max"] is not None:
        is_right = fault.failure in policy.retries and retries["attempts_max"] == policy.attempts
        yield Verdict("attempts", is_right, retries)
    elif fault.failure in policy.retries and policy.attempts and are_seen and fault.failure != "kept out":
        yield Verdict("attempts", None, retries)


def _is_law(policy: Policy, retries: Json) -> bool:
    if retries["backoff"] != policy.law:
        return False
    pairs = [(retries["factor"], policy.factor)]
    if not policy.is_jittered:
        pairs.append((retries["first_gap_s"], policy.first_gap_s))
    return all(told is not None and abs(told - value) <= 0.1 * value for told, value in pairs if value is not None)


def _breaker(policy: Policy, fault: Fault, breaker: Json | None) -> Iterator[Verdict]:
    has_one = policy.breaker is not None and fault.failure in policy.opens
    if breaker is None:
        fails_often = fault.failure == "status" or (
            fault.failure == "silence" and (policy.timeout_s or inf) <= _BRIEF_S
        )
        if has_one and fails_often and not fault.is_short:
            yield Verdict("breaker", None, breaker)
    elif policy.breaker is None or not has_one:
        yield Verdict("breaker", False, breaker)
    else:
        after, seconds = policy.breaker
        is_right = breaker["opened_after"] == after and abs(breaker["open_s"] - seconds) <= 0.15
        yield Verdict("breaker", is_right, breaker)
