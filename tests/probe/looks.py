"""Looks at a proxy, as a probe takes them."""

from __future__ import annotations

from typing import Any

from chaosproxy.probe.seen import Json

__all__ = ["reaction", "timeout"]


def timeout(seconds: float = 0.5, kind: str = "unknown", confidence: str = "sure") -> dict[str, Any]:  # Any: JSON
    return {"kind": kind, "s": seconds, "spread_s": 0.0, "count": 3, "confidence": confidence}


def reaction(
    *timeouts: Json,
    gave_up: int | None = None,
    backoff: str | None = None,
    attempts: int | None = None,
    double: int = 0,
    breaker: Json | None = None,
    recovered: float | None = None,
    within: float | None = None,
) -> dict[str, Any]:  # Any: JSON
    """Return the reaction in one window, with the keys that a probe reads."""
    return {
        "gave_up": {
            "count": len(timeouts) * 3 if gave_up is None else gave_up,
            "waited_s": {"min": 0.5, "p50": 0.6, "max": 0.7},
            "inferred_timeout_s": timeouts[0]["s"] if timeouts else None,
            "timeouts": [*timeouts],
            "none_within_s": within,
        },
        "retries": {
            "backoff": backoff, "backoff_of": "retries" if backoff else None, "factor": None, "cap_s": None,
            "first_gap_s": 0.3 if backoff else None, "jittered": False if backoff else None, "count": 0, "step_s": None,
            "reconnects": 0, "attempts_max": attempts, "double_effects": double,
            "confidence": "sure" if backoff else None,
        },
        "circuit_breaker": breaker,
        "recovered_after_s": recovered,
        "start": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
