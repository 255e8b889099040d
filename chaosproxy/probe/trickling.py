"""A trickle under which a read time-out and a deadline differ.

Each answer takes `_LASTS` times the time-out, in pieces that come much faster than the time-out. So a deadline ends
it, a client with a read time-out gets it whole, and both show while the fault is on. See `reaction.trickle`.
"""

from __future__ import annotations

from chaosproxy.units import format_duration, format_size, seconds_text

__all__ = ["trickle"]

_LASTS = 2.5
"""An answer lasts this many times the time-out: `reaction.trickle` asks for 1.3 times, plus an idle time of half."""
_FASTER = 5
"""Pieces per time-out."""
_SLOWEST = 2
"""The fewest pieces per time-out: fewer would let a read time-out fire on a busy machine."""
_LONGEST_GAP_S = 1.0
_ROUNDS = 4
"""Answers that one client gets one after the other; three are needed."""


def trickle(timeout_s: float, answer_bytes: float, longest_s: float) -> tuple[dict[str, str], float, float] | str:
    """Return the settings of a `slicer`, and the least and the most seconds for which it is to be on; or why not.

    `answer_bytes` is the mean size of an answer, `longest_s` the most that the fault may last.
    """
    lasts = _LASTS * timeout_s
    if lasts * 1.2 > longest_s:
        needed = seconds_text(lasts * 1.2 + 1)
        return f"a trickle that outlasts the time-out of {seconds_text(timeout_s)} needs --for {needed} or more"
    gap = min(timeout_s / _FASTER, _LONGEST_GAP_S)
    if answer_bytes * gap < lasts:  # not even pieces of one byte make it last
        gap = lasts / max(answer_bytes, 1.0)
    if gap > timeout_s / _SLOWEST:
        return f"answers of {answer_bytes:.0f} bytes are too short to trickle"
    size = max(1, round(answer_bytes * gap / lasts))
    settings = {"size": format_size(size), "gap": format_duration(max(0.001, round(gap, 3)))}
    return settings, lasts, min(longest_s, _ROUNDS * lasts + 3.0)
