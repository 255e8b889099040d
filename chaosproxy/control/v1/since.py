"""Read `since`: a time in the past, as the duration since then or as a date."""

from __future__ import annotations

import re
from datetime import datetime

from chaosproxy.control.wall import WallClock
from chaosproxy.errors import BadValue, shown
from chaosproxy.units import parse_duration

__all__ = ["read_since"]

_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_LIKE_A_DATE = re.compile(r"\d{4}-")
_EXAMPLE = "2026-03-01T09:30:00Z"


def read_since(text: str, now: float, wall: WallClock) -> float:
    """Return the time on the data plane's clock that `10s`, or a date of RFC 3339, stands for.

    :raises BadValue: the text is neither; the message is for the user.
    """
    if _LIKE_A_DATE.match(text):
        try:
            if _DATE.fullmatch(text):
                return wall.moment(datetime.fromisoformat(text.upper()))
        except (ValueError, OverflowError):  # the 30th of February; the year 0
            pass
        hint = "; in a URL, write + as %2B" if re.search(r" \d\d:\d\d$", text) else ""
        raise BadValue("malformed", f"{shown(text)} is not a date; use RFC 3339, such as {_EXAMPLE}{hint}")
    try:
        return now - parse_duration(text)
    except BadValue as bad:
        raise BadValue(bad.code, f"{bad}, or a date such as {_EXAMPLE}") from None
