"""Routes: a bounded set of names for the paths of an API, so that metrics never contain a path as sent.

A template has segments: literal text, `{name}` for one segment that is not empty, and at the
end `**` for one or more segments, which may be a single empty one. So `/static/**` matches
`/static/` and everything below, but not `/static`. Paths are compared in the normal form of
`chaosproxy.http.patterns`, and `/health/` does not match `/health`.

If several templates match, the most specific counts: from the left, segment by segment, text
before `{name}` before `**`. The order of the templates does not matter: two templates that
differ only in their names are refused as duplicates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from chaosproxy.declare import Kind, Text
from chaosproxy.errors import BadValue, shown
from chaosproxy.http.patterns import Memo, normal_path, split_target, wire
from chaosproxy.text import NOT_SHOWN, is_one_line

__all__ = ["OTHER", "RouteTemplate", "Routes", "duplicates"]

OTHER = "other"
"""The label of a path that matches no template. It cannot be a template, since each begins with `/`."""

_LONGEST = 200
_LONGEST_REMEMBERED = 512
_NAME = re.compile(r"\{[A-Za-z_][A-Za-z0-9_-]*\}")
_SEGMENT = rf"({_NAME.pattern}|[^/*?{{}}{NOT_SHOWN}]*)"
_PATTERN = rf"^(?!.*({_NAME.pattern}).*\1)(/{_SEGMENT})*/({_SEGMENT}|\*\*)$(?!\n)"


class RouteTemplate(Kind):
    """A template for paths: `/users/{id}/orders`, `/static/**`."""

    __slots__ = ()

    def read(self, value: object) -> str:
        template = Text(longest=_LONGEST).read(value)
        if not template.startswith("/"):
            raise BadValue("malformed", f"{shown(template)} does not begin with /; use a path such as /users/{{id}}")
        if "?" in template:
            raise BadValue("malformed", f"{shown(template)} has a `?`, which ends a path; use the path alone")
        if not is_one_line(template):
            message = f"{shown(template)} has characters that cannot be printed; use their encoded form, such as %00"
            raise BadValue("malformed", message)
        _check_segments(template)
        return template

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": _PATTERN, "maxLength": _LONGEST}

    def __str__(self) -> str:
        return "route"


def _check_segments(template: str) -> None:
    segments = template.split("/")[1:]
    names = [segment for segment in segments if _NAME.fullmatch(segment)]
    for place, segment in enumerate(segments):
        if segment == "**" and place == len(segments) - 1:
            continue
        if "*" in segment:
            message = f"{shown(template)} has {shown(segment)}; use {{id}} for one segment, or ** at the end"
            raise BadValue("malformed", message)
        if ("{" in segment or "}" in segment) and not _NAME.fullmatch(segment):
            balanced = segment.count("{") == segment.count("}")
            what = "a segment that is not a whole {name}" if balanced else "unbalanced braces"
            message = f"{shown(template)} has {what}, {shown(segment)}; use a whole segment such as {{id}}"
            raise BadValue("malformed", message)
    if len(names) != len(set(names)):
        raise BadValue("duplicate", f"{shown(template)} has one name twice; use a different name for each segment")


def duplicates(templates: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Find each template that matches the same paths as an earlier one: its index, and the error."""
    seen: dict[tuple[str, ...], int] = {}
    for index, template in enumerate(templates):
        first = seen.setdefault(tuple(_shape(template)), index)
        if first != index:
            yield index, f"{shown(template)} matches the same paths as {shown(templates[first])}; remove one of them"


class Routes:
    """The templates, prepared for fast look-ups."""

    __slots__ = ("_labels",)

    def __init__(self, templates: Sequence[str]) -> None:
        """Prepare templates that `RouteTemplate` has read, without duplicates."""
        root = _Node()
        for template in templates:
            root.add(_shape(template), template)
        self._labels = Memo(partial(_label, root), _is_short)

    def label(self, target: str | bytes) -> str:
        """Return the template that matches a request's target; `other` if none does."""
        return self._labels[target]


def _is_short(target: str | bytes) -> bool:
    return len(target) <= _LONGEST_REMEMBERED


_ONE, _REST = "{}", "**"
"""`{name}` and `**` in a shape. They differ from every literal, since literals contain no brace and no star."""


def _shape(template: str) -> list[str]:
    segments = template.split("/")[1:]
    return [
        _ONE if _NAME.fullmatch(segment) else _REST if segment == "**" else normal_path(wire(segment))
        for segment in segments
    ]


class _Node:
    """A node of the tree of templates: those with the same beginning."""

    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.here: str | None = None
        self.rest: str | None = None

    def add(self, shape: Sequence[str], template: str) -> None:
        node = self
        for segment in shape:
            if segment == _REST:
                node.rest = template
                return
            node = node.children.setdefault(segment, _Node())
        node.here = template

    def find(self, segments: Sequence[str], at: int) -> str | None:
        """Return the most specific template that matches; each node is visited at most once for any path."""
        if at == len(segments):
            return self.here
        segment = segments[at]
        literal = self.children.get(segment) if segment != _ONE else None
        if literal is not None and (found := literal.find(segments, at + 1)) is not None:
            return found
        if segment and (one := self.children.get(_ONE)) and (found := one.find(segments, at + 1)) is not None:
            return found
        return self.rest


def _label(root: _Node, target: str | bytes) -> str:
    text = target if isinstance(target, str) else target.decode("latin-1")
    _, path, _ = split_target(text)
    if not path.startswith("/"):
        return OTHER
    return root.find(normal_path(path).split("/")[1:], 0) or OTHER
