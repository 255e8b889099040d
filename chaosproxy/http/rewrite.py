"""Change fields of a head in its bytes; every other line stays as it was sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chaosproxy.declare import Kind, MapOf, Text
from chaosproxy.errors import BadValue, shown
from chaosproxy.http.patterns import TOKEN

__all__ = ["FIELDS", "FRAMING_FIELDS", "FieldName", "HeaderName", "edited", "rewritten"]

FRAMING_FIELDS = {
    "connection": "controls this connection",
    "keep-alive": "controls this connection",
    "proxy-connection": "controls this connection",
    "te": "applies only to this connection",
    "trailer": "frames the message",
    "transfer-encoding": "frames the message",
    "content-length": "frames the message",
    "upgrade": "switches the protocol of this connection",
}
"""Fields that no fault may change, with the reason: they are hop-by-hop (RFC 9110 §7.6.1) or frame the message."""

_ANY_CASE = "|".join("".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in name) for name in FRAMING_FIELDS)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class HeaderName(Kind):
    """The name of a request header."""

    __slots__ = ()

    def read(self, value: object) -> str:
        if not isinstance(value, str) or len(value) > 200 or not TOKEN.fullmatch(value):
            raise BadValue("malformed", "is not a header name; use one such as x-tenant")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^{TOKEN.pattern}$(?!\n)", "maxLength": 200}


class FieldName(Kind):
    """The name of a field that a fault may change."""

    __slots__ = ()

    def read(self, value: object) -> str:
        name = Text().read(value)
        if not TOKEN.fullmatch(name):
            message = f"{shown(name)} is not a field name; use letters, digits and dashes, such as X-Tenant"
            raise BadValue("malformed", message)
        if name.lower() in FRAMING_FIELDS:
            message = f"{name} {FRAMING_FIELDS[name.lower()]}, and a change would break the connection; remove it"
            raise BadValue("not-applicable", message)
        return name

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^(?!(?:{_ANY_CASE})$){TOKEN.pattern}$(?!\n)"}

    def __str__(self) -> str:
        return "text"


_FIELD_VALUE = Text(pattern=_VALUE, refusal="has characters that no field can contain; use one line of latin-1 text")
FIELDS = MapOf(_FIELD_VALUE, key=FieldName())
"""Fields of a head, by name."""


def edited(
    head: bytes, *, set: Mapping[str, str] = {}, add: Mapping[str, str] = {}, remove: Iterable[str] = ()
) -> bytes:
    """Return the head without the fields of `remove`, with the fields of `set` replaced and those of `add` appended.

    A set field replaces all fields of that name, at the place and in the spelling of the first; a new one is appended.
    """
    wanted = {name.lower(): (name, value) for name, value in set.items()}
    gone = {name.lower() for name in remove}
    done: dict[str, bool] = {}
    lines = []
    first_line, field_lines = _split(head)
    for line in field_lines:
        spelled = line.partition(b":")[0].decode("latin-1")
        name = spelled.lower()
        if name in gone or name in done:
            continue
        if name in wanted:
            done[name] = True
            line = _line(spelled, wanted[name][1])
        lines.append(line)
    lines += [_line(name, value) for key, (name, value) in wanted.items() if key not in done]
    lines += [_line(name, value) for name, value in add.items()]
    return first_line + b"".join(lines) + b"\r\n"


def rewritten(head: bytes, changes: Mapping[str, Callable[[str], str | None]]) -> bytes:
    """Return the head with changed values of some fields. The keys are names in lower case; None keeps a value."""
    first_line, field_lines = _split(head)
    lines = []
    for line in field_lines:
        name, _, value = line.partition(b":")
        change = changes.get(name.decode("latin-1").lower())
        changed = None if change is None else change(value.strip(b" \t\r\n").decode("latin-1"))
        lines.append(line if changed is None else _line(name.decode("latin-1"), changed))
    return first_line + b"".join(lines) + b"\r\n"


def _split(head: bytes) -> tuple[bytes, list[bytes]]:
    """Return the first line, including empty lines before it, and each field's line, including its line end."""
    text = head.lstrip(b"\r\n")
    start = head.find(b"\r\n", len(head) - len(text)) + 2
    return head[:start], head[start:-2].splitlines(keepends=True)


def _line(name: str, value: str) -> bytes:
    return f"{name}: {value}\r\n".encode("latin-1")
