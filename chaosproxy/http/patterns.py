"""Patterns: how text is compared (exactly, by glob or by regular expression), and the path of a target.

The Kinds below (PathPattern, HostGlob, Wanted and so on) read patterns from YAML and REST.
`path_test` and `glob` prepare a pattern as a Test, a function of the text. Users of this
module bring text into the form that the Test expects (`normal_path`, `wire`, `host_and_port`).

A path is compared in one form, that of RFC 3986 §6.2.2 without the removal of dot segments:
`%7E` is `~` (an unreserved character needs no encoding), `%c3` is `%C3`, and characters that no
path may contain (spaces, control characters, non-ASCII) are encoded as UTF-8. `%2F` is not
`/`, and `/a/../b` stays as sent, since servers treat both differently. Patterns are brought
into the same form, so that `/café` is `/caf%C3%A9`.

What must stay true: a test takes time linear in the text. Patterns come over REST, and all
connections share one loop. So regular expressions, and globs with `**` before their end, run
on RE2; the other globs run on `re`, as expressions that never go back over a star.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

import re2

from chaosproxy.declare import Kind, Text
from chaosproxy.errors import BadValue, shown

__all__ = [
    "TOKEN", "HostGlob", "MediaGlob", "Memo", "Method", "OneOrMore", "PathPattern", "Test", "Wanted",
    "glob", "host_and_port", "normal_path", "octets", "path_test", "split_target", "wire",
]  # fmt: skip

Test: TypeAlias = Callable[[str], object]
"""Returns something true if a text matches, else something false."""

_LONGEST = 500
_LARGEST_PROGRAM = 500
"""The most instructions of a compiled regular expression."""
_MOST_WORK = 4_000_000
"""Instructions times characters. RE2 may visit each instruction for each character (`~.*a.{480}` has more
states than it can keep): 35 ms at this bound, and 270 ms for a path of 64 KB without it."""
_MEMORY = 1 << 20
"""Bytes for a regular expression's automaton; RE2 drops its states and starts again when they do not fit."""

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NOT_NORMAL = re.compile(r"%[0-9A-Fa-f]{2}|[^!-~]")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a method or a field: RFC 9110 §5.6.2."""
_HOST = re.compile(r"[a-z0-9._:*-]+")
_PORT = re.compile(r"[0-9]{1,5}|\*")
_MEDIA_TYPE = re.compile(r"[!#$&*+.^_0-9a-z-]+(/[!#$&*+.^_0-9a-z-]+)?")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?]*)")

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V], Generic[K, V]):
    """The results of a pure function: a dict that calls it for a missing key. A hit is one look-up in C.

    It holds at most `MOST` results and drops all when it is full: traffic whose targets never
    repeat then costs no more than without a memo, and a hit needs no book-keeping.
    """

    __slots__ = ("_compute", "_keep")

    MOST = 4096

    def __init__(self, compute: Callable[[K], V], keep: Callable[[K], bool]) -> None:
        """`keep` says which keys are short enough to be kept."""
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
    """Return text as it looks when its UTF-8 is read as latin-1, which is how heads are decoded."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def octets(text: str) -> bytes:
    """Undo the decoding of a head; text that no head can contain (as in tests) becomes UTF-8."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def split_target(target: str) -> tuple[str | None, str, str]:
    """Return (authority, path, query) of a request's target as sent.

    An absolute-form target has an authority, every other has None; the path of `http://host` is
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
    """Return host and port of an authority without user; the port may be empty. IPv6 loses its brackets."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host.removesuffix("."), port


def normal_path(path: str) -> str:
    """Return a path in the form in which paths are compared: printable ASCII without a space."""
    return _NOT_NORMAL.sub(_encoded, path)


def _encoded(found: re.Match[str]) -> str:
    text = found[0]
    if len(text) == 3:
        char = chr(int(text[1:], 16))
        return char if char in _UNRESERVED else text.upper()
    return "".join(f"%{byte:02X}" for byte in octets(text))


def path_test(pattern: str) -> Test:
    """Return the test for paths in their normal form; see `PathPattern`.

    :raises ValueError: a regular expression that cannot be used, the text is for the user.
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
    """Return the test for a whole text, in which `*` stands for any characters, or none."""
    if "*" not in pattern:
        return pattern.__eq__
    return _linear(re.split(r"\*+", pattern), ".", open_end=False)


def _linear(chunks: list[str], star: str, *, open_end: bool) -> Test:
    """Return the test for literals with stars between them; with an open end, anything may follow the last.

    Each literal is searched once, from its first possible place, and never again (`(?>…)`): the
    first match leaves the most text for the others. Only the last one must be at the end.
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
    """A regular expression for the whole of a path.

    :raises BadValue: it cannot be used; the text is for the user.
    """

    __slots__ = ("_longest", "_match", "_start")

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        # A path is ASCII without line ends; without these two each `.` is seven instructions.
        options.encoding, options.dot_nl = re2.Options.Encoding.LATIN1, True
        options.max_mem, options.never_capture, options.log_errors = _MEMORY, True, False
        try:
            size = re2.compile(pattern.encode("ascii"), options).programsize
        except UnicodeEncodeError:
            message = "holds characters that no path contains; give them encoded, such as %C3%A9 for é"
            raise BadValue("malformed", message) from None
        except re2.error as error:
            raise BadValue("malformed", _why_not(error)) from None
        if size > _LARGEST_PROGRAM:
            message = "is too large once its repetitions are written out; give fewer or smaller {…}"
            raise BadValue("too-large", message)
        # A set of one: 0.6 µs for a match, where `compile(…).fullmatch` takes 1.5 µs to make a Match object.
        only = re2.Set.FullMatchSet(options)
        only.Add(pattern.encode("ascii"))
        only.Compile()
        self._match: Test = only.Match
        self._longest = _MOST_WORK // size
        # The beginning of every match: 0.2 µs for a path that does not, instead of 1.0.
        self._start = "" if "|" in pattern else cast(re.Match[str], _LITERAL_START.match(pattern))[0]

    def __call__(self, path: str) -> object:
        return path.startswith(self._start) and len(path) <= self._longest and self._match(path)


_LITERAL_START = re.compile(r"([/A-Za-z0-9_-]+(?![?*+{]))?")
"""Without a character that is repeated."""

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
        return f"is not a regular expression: {reason}; give one in RE2's syntax, such as ~/users/[0-9]+"
    return f"holds {unsupported}, for which no linear time can be promised; give one without, such as ~/users/[0-9]+"


class PathPattern(Kind):
    """A glob in which `*` stays within a segment and `**` spans segments, or `~` and a regular expression.

    `**` is any text, slashes included; between two slashes it may also be no segment at all, so that
    `/a/**/b` also matches `/a/b`. A regular expression must match the whole path.
    """

    __slots__ = ()

    def read(self, value: object) -> str:
        pattern = Text(longest=_LONGEST).read(value)
        if not pattern.startswith(("/", "**", "~")):
            message = f"{shown(pattern)} is not a path; give one that begins with / or **, or ~ and a regex"
            raise BadValue("malformed", message)
        if pattern.startswith("~"):
            if pattern == "~":
                raise BadValue("empty", "'~' has no regular expression after it; give one, such as ~/users/[0-9]+")
        elif "?" in pattern:
            message = f"{shown(pattern)} holds `?`, which ends a path; give the query under `query`"
            raise BadValue("malformed", message)
        try:
            path_test(pattern)
        except BadValue as bad:
            raise BadValue(bad.code, f"{shown(pattern)} {bad}") from None
        return pattern

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(/|\*\*|~.)", "maxLength": _LONGEST}

    def __str__(self) -> str:
        return "glob or ~regex"


@dataclass(frozen=True, slots=True)
class Wanted(Kind):
    """The wanted value of a query parameter or a field: a glob, or true (present) or false (absent)."""

    stripped: bool = False
    """The text it is compared with has no space at its ends."""

    def read(self, value: object) -> str | bool:
        if isinstance(value, bool):
            return value
        if not isinstance(value, str):
            message = f"{shown(value)} is neither text nor true or false; put it in quotes if it is text"
            raise BadValue("wrong-type", message)
        text = Text(longest=_LONGEST).read(value)
        if self.stripped and text != text.strip(" \t"):
            message = f"{shown(text)} has spaces at an end, which no field keeps; remove them"
            raise BadValue("malformed", message)
        return text

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "maxLength": _LONGEST}, {"type": "boolean"}]}

    def __str__(self) -> str:
        return "glob, true or false"


class Method(Kind):
    """A request method, in capitals."""

    __slots__ = ()

    def read(self, value: object) -> str:
        if not isinstance(value, str) or len(value) > 40 or not TOKEN.fullmatch(value):
            raise BadValue("malformed", f"{shown(value)} is not a method; give one such as POST")
        return value.upper()

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^{TOKEN.pattern}$", "maxLength": 40}


class HostGlob(Kind):
    """A host name or address in which `*` is any text, dots included; a port is compared only if one is given."""

    __slots__ = ()

    def read(self, value: object) -> str:
        text = Text(longest=_LONGEST).read(value).lower()
        host, port = host_and_port(text)
        if not _HOST.fullmatch(host) or (port and not _PORT.fullmatch(port)) or text.endswith(":"):
            encoded = "" if text.isascii() else " (other alphabets in their ASCII form, xn--…)"
            message = f"{shown(value)} is not a host; give one such as *.example.org or example.org:8080{encoded}"
            raise BadValue("malformed", message)
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[A-Za-z0-9._:*\[\]-]+$", "maxLength": _LONGEST}

    def __str__(self) -> str:
        return "glob"


class MediaGlob(Kind):
    """A media type in which `*` is any text."""

    __slots__ = ()

    def read(self, value: object) -> str:
        text = Text(longest=_LONGEST).read(value).lower()
        if ";" in text:
            message = f"{shown(value)} has parameters, which are not compared; give the type before the `;`"
            raise BadValue("malformed", message)
        if not _MEDIA_TYPE.fullmatch(text) or not ("/" in text or "*" in text):
            message = f"{shown(value)} is not a media type; give one such as application/json or text/*"
            raise BadValue("malformed", message)
        return text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[^;\s]*[/*][^;\s]*$", "maxLength": _LONGEST}

    def __str__(self) -> str:
        return "glob"


@dataclass(frozen=True, slots=True)
class OneOrMore(Kind):
    """One value of a kind or a list of them; read as a tuple, written as a list."""

    item: Kind

    def read(self, value: object) -> tuple[object, ...]:
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
            message = f"the list is empty, which selects nothing; remove it, or give a {self.item}"
            raise BadValue("empty", message)
        return tuple(dict.fromkeys(found))

    def write(self, value: object) -> list[object]:
        return [self.item.write(one) for one in value]  # type: ignore[attr-defined]  # read() made it a tuple

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}

    def __str__(self) -> str:
        return f"{self.item}, or list"
