"""Patterns: the comparison of text (exact, by glob or by regular expression), and the path of a target.

The Kinds below (PathPattern, HostGlob, Wanted and so on) read patterns from YAML and REST.
`path_test` and `glob` prepare a pattern as a Test, a function of the text. The callers convert
text to the form that the Test expects (`normal_path`, `wire`, `host_and_port`).

A path is compared in one form, that of RFC 3986 §6.2.2 without the removal of dot segments:
`%7E` is `~` (an unreserved character needs no encoding), `%c3` is `%C3`, and characters that no
path may contain (spaces, control characters, non-ASCII) are encoded as UTF-8. `%2F` is not
`/`, and `/a/../b` stays as sent, since servers differ in how they treat both. Patterns are
converted to the same form, so that `/café` is `/caf%C3%A9`.

Invariant: a test takes time linear in the text, because patterns arrive over REST and all
connections share one loop. So regular expressions, and globs with `**` before their end, run
on RE2. The other globs run on `re`, as expressions that never backtrack over a star.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

import re2

from chaosproxy.declare import MOST_ITEMS, Kind, Text, too_many
from chaosproxy.errors import BadValue, shown

__all__ = [
    "TOKEN", "HostGlob", "MediaGlob", "Memo", "Method", "OneOrMore", "PathPattern", "Test", "Wanted",
    "glob", "host_and_port", "normal_path", "octets", "path_test", "split_target", "wire",
]  # fmt: skip

Test: TypeAlias = Callable[[str], object]
"""Returns a true value if a text matches, else a false one."""

_LONGEST = 500
_LARGEST_PROGRAM = 500
"""The maximum number of instructions of a compiled regular expression."""
_MOST_WORK = 4_000_000
"""The maximum of instructions times characters. RE2 may visit each instruction for each character, if an expression
such as `~.*a.{480}` has more states than fit into memory: 35 ms at this limit; 270 ms for a path of 64 KB without."""
_MEMORY = 1 << 20
"""Bytes for a regular expression's automaton; if its states do not fit, RE2 drops them and starts again."""

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NOT_NORMAL = re.compile(r"%[0-9A-Fa-f]{2}|[^!-~]")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a method or a field: RFC 9110 §5.6.2."""
_NAME, _PORT = "[A-Za-z0-9._*-]", r"([0-9]{1,5}|\*)"
_HOST = re.compile(
    rf"(?!\.(:|$))({_NAME}+(:{_PORT})?|{_NAME}*:{_NAME}*:[:A-Za-z0-9._*-]*{_NAME}|\[[:A-Za-z0-9._*-]+\](:{_PORT})?)"
)
"""A host, perhaps with a port; an IPv6 address without one; or an IPv6 address in brackets."""
_MEDIA_TYPE = re.compile(r"(?=[^/*]*[/*])[!#$&*+.^_0-9A-Za-z-]+(/[!#$&*+.^_0-9A-Za-z-]+)?")
_GLOB = r"(/([^?*]|\*(?!\*))*\**|(/|\*\*)([!->@-~]{0,200}|[^?]{0,35}))"
"""The globs of the schema. One with `**` before its end becomes a program of RE2, whose length is limited."""
_IN_CLASS = "(a-z|A-Z|0-9|[A-Za-z0-9_.~%/])+-?"
_CLASS = rf"\[\^?{_IN_CLASS}\]"
_ATOM = rf"(([A-Za-z0-9/_.~%:@&=-]|\\[dDwWsS.*+?|()-]|{_CLASS})[*+?]?|(\\d|\[{_IN_CLASS}\])\{{[1-9]\}})"
_EXPRESSION = rf"(?=.{{1,100}}$)({_ATOM}|\({_ATOM}+(\|{_ATOM}+)*\)[*+?]?)+"
"""The regular expressions of the schema, which are never too large. RE2 reads more than a pattern can describe."""
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?]*)")

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V], Generic[K, V]):
    """A cache of a pure function: a dict that calls the function for a missing key. A hit is one look-up in C.

    It holds at most `MOST` results and drops all of them when it is full. A hit then needs no
    bookkeeping, and traffic whose targets never repeat costs no more than without a cache.
    """

    __slots__ = ("_compute", "_keep")

    MOST = 4096

    def __init__(self, compute: Callable[[K], V], keep: Callable[[K], bool]) -> None:
        """Cache the results of `compute` for the keys of which `keep` returns True: those that are short enough."""
        super().__init__()
        self._compute, self._keep = compute, keep

    def __missing__(self, key: K) -> V:
        result = self._compute(key)
        if self._keep(key):
            if len(self) >= self.MOST:
                self.clear()
            self[key] = result
        return result


def wire(text: str) -> str:
    """Return text as its UTF-8 looks when it is decoded as latin-1, the decoding of heads."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def octets(text: str) -> bytes:
    """Encode text of a head as the bytes that were sent; text that no head can contain (as in tests) as UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def split_target(target: str) -> tuple[str | None, str, str]:
    """Return (authority, path, query) of a request's target as sent.

    The authority is None unless the target is in absolute-form; the path of `http://host` is
    `/`. A target that is not a path (`*`, or `host:port` after CONNECT) counts as its own path:
    globs begin with `/`, so only `**` and regular expressions can match it.
    """
    authority = None
    if not target.startswith("/") and (absolute := _ABSOLUTE.match(target)):
        authority, rest = absolute[1], target[absolute.end() :]
        target = rest if rest.startswith("/") else f"/{rest}"
    path, _, query = target.partition("?")
    return authority, path, query


def host_and_port(text: str) -> tuple[str, str]:
    """Return host and port of an authority without user; the port may be empty. An IPv6 host has no brackets."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host.removesuffix("."), port


def normal_path(path: str) -> str:
    """Return a path in its normal form for comparison: printable ASCII without a space."""
    return _NOT_NORMAL.sub(_encoded, path)


def _encoded(found: re.Match[str]) -> str:
    text = found[0]
    if len(text) == 3:
        char = chr(int(text[1:], 16))
        return char if char in _UNRESERVED else text.upper()
    return "".join(f"%{byte:02X}" for byte in octets(text))


def path_test(pattern: str) -> Test:
    """Return the test for paths in their normal form; see `PathPattern`.

    :raises BadValue: the regular expression cannot be used; the message is for the user.
    """
    if pattern.startswith("~"):
        return _Regex(pattern[1:])
    pattern = normal_path(wire(pattern))
    if "*" not in pattern:
        return pattern.__eq__
    before, spans, after = pattern.partition("**")
    if after.strip("*"):
        return _Regex(_glob_as_regex(pattern))
    return _linear(before.split("*"), "[^/]", open_end=bool(spans))


def glob(pattern: str) -> Test:
    """Return the test that compares a whole text with a pattern; `*` matches any characters, or none."""
    if "*" not in pattern:
        return pattern.__eq__
    return _linear(re.split(r"\*+", pattern), ".", open_end=False)


def _linear(chunks: list[str], star: str, *, open_end: bool) -> Test:
    """Return the test for literals with stars between them; with an open end, any text may follow the last.

    Each literal is searched once, from its first possible place, without backtracking (`(?>…)`): the
    first match leaves the most text for the others. Only the last literal must be at the end.
    """
    first, *others = (re.escape(chunk) for chunk in chunks)
    end = ".*" if open_end else f"{star}*{others.pop()}"
    searches = (f"(?>{star}*?{chunk})" for chunk in others)
    return re.compile(f"{first}{''.join(searches)}{end}", re.DOTALL).fullmatch


def _glob_as_regex(pattern: str) -> str:
    literals_and_stars = re.split(r"((?:/\*\*+)+/|\*\*+|\*)", pattern)
    return "".join(
        re.escape(part) if place % 2 == 0 else "/(?:.*/)?" if part[0] == "/" else ".*" if len(part) > 1 else "[^/]*"
        for place, part in enumerate(literals_and_stars)
    )


class _Regex:
    """A regular expression that a whole path must match.

    :raises BadValue: it cannot be used; the message is for the user.
    """

    __slots__ = ("_longest", "_match", "_start")

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        # A path is ASCII without line ends. Without these two options each `.` is seven instructions.
        options.encoding, options.dot_nl = re2.Options.Encoding.LATIN1, True
        options.max_mem, options.never_capture, options.log_errors = _MEMORY, True, False
        try:
            size = re2.compile(pattern.encode("ascii"), options).programsize
        except UnicodeEncodeError:
            message = "has characters that no path contains; use their encoded form, such as %C3%A9 for é"
            raise BadValue("malformed", message) from None
        except re2.error as error:
            raise BadValue("malformed", _why_not(error)) from None
        if size > _LARGEST_PROGRAM:
            message = "is too large with its repetitions expanded; use fewer or smaller {…}"
            raise BadValue("too-large", message)
        # A set of one expression takes 0.6 µs for a match; `compile(…).fullmatch` takes 1.5 µs, to make a Match object.
        only = re2.Set.FullMatchSet(options)
        only.Add(pattern.encode("ascii"))
        only.Compile()
        self._match: Test = only.Match
        self._longest = _MOST_WORK // size
        # The beginning that every match has: a path without it takes 0.2 µs instead of 1.0 µs.
        self._start = "" if "|" in pattern else cast(re.Match[str], _LITERAL_START.match(pattern))[0]

    def __call__(self, path: str) -> object:
        return path.startswith(self._start) and len(path) <= self._longest and self._match(path)


_LITERAL_START = re.compile(r"([/A-Za-z0-9_-]+(?![?*+{]))?")
"""The literal beginning of an expression, without a character that is repeated."""

_UNSUPPORTED = {"(?=": "look-ahead", "(?!": "look-ahead", "(?<": "look-behind", "(?>": "atomic groups", "(?P": "(?P…)"}


def _why_not(error: Exception) -> str:
    said = error.args[0]
    reason: str = said.decode("latin-1") if isinstance(said, bytes) else str(said)
    what, _, where = reason.partition(": ")
    if what == "invalid escape sequence" and where[1:].isdigit():
        unsupported = f"a back-reference ({where})"
    elif what == "invalid perl operator" and where[:3] in _UNSUPPORTED:
        unsupported = f"{_UNSUPPORTED[where[:3]]} ({where})"
    else:
        return f"is not a regular expression: {reason}; use the syntax of RE2, such as ~/users/[0-9]+"
    return f"has {unsupported}, which RE2 does not support; use an expression without it, such as ~/users/[0-9]+"


class PathPattern(Kind):
    """A glob in which `*` stays within a segment and `**` spans segments, or `~` and a regular expression.

    `**` matches any text, including slashes; between two slashes it may also match no segment, so that
    `/a/**/b` matches `/a/b`. A regular expression must match the whole path.
    """

    __slots__ = ()

    def read(self, value: object) -> str:
        pattern = Text(longest=_LONGEST).read(value)
        if not pattern.startswith(("/", "**", "~")):
            message = f"{shown(pattern)} is not a path; use one that begins with / or **, or ~ and a regex"
            raise BadValue("malformed", message)
        if pattern.startswith("~"):
            if pattern == "~":
                raise BadValue("empty", "'~' has no regular expression after it; add one, such as ~/users/[0-9]+")
        elif "?" in pattern:
            message = f"{shown(pattern)} has a `?`, which ends a path; put the query under `query`"
            raise BadValue("malformed", message)
        try:
            path_test(pattern)
        except BadValue as bad:
            raise BadValue(bad.code, f"{shown(pattern)} {bad}") from None
        return pattern

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^({_GLOB}|~{_EXPRESSION})$(?!\n)", "maxLength": _LONGEST}

    def __str__(self) -> str:
        return "glob or ~regex"


@dataclass(frozen=True, slots=True)
class Wanted(Kind):
    """The value that a query parameter or field must have: a glob, or true (present) or false (absent)."""

    stripped: bool = False
    """True if the text that it is compared with has no spaces at its ends."""

    def read(self, value: object) -> str | bool:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str):
            message = f"{shown(value)} is neither text nor true or false; put it in quotes if it is text"
            raise BadValue("wrong-type", message)
        text = Text(longest=_LONGEST).read(value)
        if self.stripped and text != text.strip(" \t"):
            message = f"{shown(text)} has spaces at an end, which are not part of a field's value; remove them"
            raise BadValue("malformed", message)
        return text

    def schema(self) -> dict[str, Any]:
        pattern = {"pattern": r"^([^ \t]([\s\S]*[^ \t])?)?$(?!\n)"} if self.stripped else {}
        return {"anyOf": [{"type": "string", "maxLength": _LONGEST, **pattern}, {"type": "boolean"}]}

    def __str__(self) -> str:
        return "glob, true or false"


class Method(Kind):
    """A request method; read as upper case."""

    __slots__ = ()

    def read(self, value: object) -> str:
        if not isinstance(value, str) or len(value) > 40 or not TOKEN.fullmatch(value):
            raise BadValue("malformed", f"{shown(value)} is not a method; use one such as POST")
        return value.upper()

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^{TOKEN.pattern}$(?!\n)", "maxLength": 40}


class HostGlob(Kind):
    """A host name or address in which `*` matches any text, including dots; a port is compared only if it has one."""

    __slots__ = ()

    def read(self, value: object) -> str:
        text = Text(longest=_LONGEST).read(value)
        if not _HOST.fullmatch(text):
            encoded = "" if text.isascii() else " (other alphabets in their ASCII form, xn--…)"
            message = f"{shown(value)} is not a host; use one such as *.example.org or example.org:8080{encoded}"
            raise BadValue("malformed", message)
        return text.lower()

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^{_HOST.pattern}$(?!\n)", "maxLength": _LONGEST}

    def __str__(self) -> str:
        return "glob"


class MediaGlob(Kind):
    """A media type in which `*` matches any text."""

    __slots__ = ()

    def read(self, value: object) -> str:
        text = Text(longest=_LONGEST).read(value)
        if ";" in text:
            message = f"{shown(value)} has parameters, which are not compared; use only the type before the `;`"
            raise BadValue("malformed", message)
        if not _MEDIA_TYPE.fullmatch(text):
            message = f"{shown(value)} is not a media type; use one such as application/json or text/*"
            raise BadValue("malformed", message)
        return text.lower()

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^{_MEDIA_TYPE.pattern}$(?!\n)", "maxLength": _LONGEST}

    def __str__(self) -> str:
        return "glob"


@dataclass(frozen=True, slots=True)
class OneOrMore(Kind):
    """One value of a kind or a list of them; read as a tuple, written as a list."""

    item: Kind
    most: int = MOST_ITEMS

    def read(self, value: object) -> tuple[object, ...]:
        if isinstance(value, list | tuple) and len(value) > self.most:
            raise too_many(len(value), self.most)
        found: list[object] = []
        wrong: list[BadValue] = []
        for one in value if isinstance(value, list | tuple) else (value,):
            try:
                found.append(self.item.read(one))
            except BadValue as bad:
                wrong.append(bad)
        if wrong:
            more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
            raise BadValue(wrong[0].code, "; also: ".join(map(str, wrong[:3])) + more)
        if not found:
            message = f"the list is empty, which selects nothing; remove it, or add a {self.item}"
            raise BadValue("empty", message)
        return tuple(dict.fromkeys(found))

    def write(self, value: object) -> list[object]:
        return [self.item.write(one) for one in value]  # type: ignore[attr-defined]  # read() made it a tuple

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1, "maxItems": self.most}]}

    def __str__(self) -> str:
        return f"{self.item}, or list of at most {self.most}"
