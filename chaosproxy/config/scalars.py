"""Resolve plain (unquoted) scalars by the core schema of YAML 1.2.2, §10.3.2.

`on`, `yes`, `12:30` and `2024-01-01` are text. YAML 1.1 made them flags, a number and a date.
"""

from __future__ import annotations

import re

from chaosproxy.errors import BadValue

__all__ = ["Scalar", "resolve"]

Scalar = str | int | float | bool | None

_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MOST_DIGITS = 400


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar.

    :raises BadValue: the scalar is a number with too many digits; the message is for the user.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    whole, based, real = _INT.fullmatch(text), _BASED.fullmatch(text), _FLOAT.fullmatch(text)
    if (whole or based or real) and len(text) > _MOST_DIGITS:
        message = f"the number has {len(text)} characters; use at most {_MOST_DIGITS}, or put text in quotes"
        raise BadValue("too-large", message)
    if whole:
        return int(text)
    if based:
        return int(text[2:], 8 if text[1] == "o" else 16)
    if real:
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text
