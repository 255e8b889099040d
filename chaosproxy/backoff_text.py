"""The law of a back-off in words, as each page and command says it."""

from __future__ import annotations

from chaosproxy.units import seconds_text

__all__ = ["backoff_text"]


def backoff_text(
    law: str, first_gap_s: float | None, step_s: float | None, factor: float | None, cap_s: float | None,
    is_jittered: bool,
) -> str:  # fmt: skip
    """Return words such as "after 0.1 s: exponential back-off × 2, at most 1.6 s, no jitter"; times are in seconds."""
    first = seconds_text(first_gap_s or 0.0)
    words = {
        "none": "at once, without a pause",
        "constant": f"every {first}",
        "linear": f"after {first}, and {seconds_text(step_s or 0.0)} later each time",
        "exponential": f"after {first}: exponential back-off × {factor or 0.0:.2g}",
    }[law]
    cap = "" if cap_s is None else f", at most {seconds_text(cap_s)}"
    return f"{words}{cap}, {'with jitter' if is_jittered else 'no jitter'}"
