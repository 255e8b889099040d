"""Show text from elsewhere, such as a name, a path or a message of another program, on a terminal or in a log."""

from __future__ import annotations

import json
import re

__all__ = ["IPV4", "IPV6", "NOT_SHOWN", "escaped", "is_one_line", "value_text"]

_HIDDEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")
"""Characters that str.isprintable accepts, but that are shown as nothing (Default_Ignorable_Code_Point)."""


NOT_SHOWN = (
    r"\x00-\x1f\x7f-\xa0\xad"
    "\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f"
    "\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ue000-\uf8ff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff"
)
"""For patterns, within brackets: the characters that are not shown, in every version of Unicode. The space is shown.

These are control and format characters, other spaces, characters for private use and those of _HIDDEN. Others, to which
Unicode gave no meaning so far, are shown escaped.
"""


_NOT_SHOWN = re.compile(f"[{NOT_SHOWN}\ud800-\udfff]")
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = rf"({_OCTET}\.){{3}}{_OCTET}"
_GROUP = "[0-9A-Fa-f]{1,4}"
_TOO_MANY = rf"(?!:*({_GROUP}:+){{7}}{_GROUP}|:*({_GROUP}:+){{6}}{IPV4})"
"""Eight groups, of which an IPv4 address counts as two, leave none for `::`."""
IPV6 = (
    rf"(({_GROUP}:){{7}}{_GROUP}|({_GROUP}:){{6}}{IPV4}"
    rf"|{_TOO_MANY}({_GROUP}(:{_GROUP})*)?::(({_GROUP}:)*({_GROUP}|{IPV4}))?)"
    "(%[0-9A-Za-z._~-]{1,15})?"
)
"""Patterns of the addresses that `ipaddress` reads; that of IPv6 with the name of an interface as its zone."""


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return the text with each character escaped that is not shown, as in Python: `\x1b`, `\u202e`.

    These are control characters, which a terminal obeys; direction marks, which reorder a line; and characters without
    a width, which make two names look the same. The characters in `keep` stay.
    """
    if text.isprintable() and (text.isascii() or not _HIDDEN.search(text)):
        return text
    return "".join(char if char in keep or _is_shown(char) else _escape(char) for char in text)


def value_text(value: object) -> str:
    """Return a JSON value as a line of the log shows it after `key=`: in quotes where it could be misread."""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value and escaped(value) == value and not set(value) & set(' "=')
    return value if plain else json.dumps(value)


def is_one_line(text: str) -> bool:
    """Return whether a text has no characters of NOT_SHOWN and no half of a surrogate pair."""
    return not _NOT_SHOWN.search(text)


def _is_shown(char: str) -> bool:
    return char.isprintable() and not _HIDDEN.match(char)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
