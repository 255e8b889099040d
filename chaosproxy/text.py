"""Show text from elsewhere, such as a name, a path or a message of another program, on a terminal or in a log."""

from __future__ import annotations

import re

__all__ = ["escaped"]

_HIDDEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")
"""Characters that str.isprintable accepts, but that are shown as nothing (Default_Ignorable_Code_Point)."""


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return the text with each character escaped that is not shown, as in Python: `\x1b`, `\u202e`.

    These are control characters, which a terminal obeys; direction marks, which reorder a line; and characters without
    a width, which make two names look the same. The characters in `keep` stay.
    """
    if text.isprintable() and (text.isascii() or not _HIDDEN.search(text)):
        return text
    return "".join(char if char in keep or _is_shown(char) else _escape(char) for char in text)


def _is_shown(char: str) -> bool:
    return char.isprintable() and not _HIDDEN.match(char)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
