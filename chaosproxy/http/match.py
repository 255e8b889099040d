"""The selection of messages for a fault: `Match` as declared, `Matcher` and `Rules` as used.

`Match` has the declared parameters, each with its Kind, and the rules across them.
`Matcher.of` prepares a match once, so that it costs little per message. A Matcher is called in
three steps, as the parts of an exchange arrive: with the request line (`line`), the request's head
(`request`), and the response's head (`response`). `Rules` has the matchers of all message faults of a
proxy, and caches for each request line whether one of them might match.

Invariants:
- All keys of a match must match. If a key has several values (methods, clients, statuses, a repeated
  parameter or field), one of them suffices.
- Case matters, except in the names of fields, in hosts and in media types.
- A message never makes a matcher raise: text that cannot be read does not match.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar, TypeAlias, cast
from urllib.parse import unquote_to_bytes

from chaosproxy.declare import Given, Kind, MapOf, Not, Problems, Rule, broken_rules, param, params_of, read_struct
from chaosproxy.errors import BadValue, Path, shown
from chaosproxy.http.head import Fields, RequestHead, ResponseHead, values
from chaosproxy.http.patterns import (
    HostGlob,
    MediaGlob,
    Memo,
    Method,
    OneOrMore,
    PathPattern,
    Test,
    Wanted,
    glob,
    host_and_port,
    normal_path,
    octets,
    path_test,
    split_target,
    wire,
)
from chaosproxy.http.rewrite import HeaderName
from chaosproxy.text import IPV4, IPV6

__all__ = ["OF_RESPONSES", "Client", "Match", "Matcher", "Rules", "Status", "read_match"]


Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
StatusRange: TypeAlias = tuple[int, int]
"""The first and the last status."""

_OnValues: TypeAlias = Callable[[list[str]], bool]
"""A test of the list of all values of a parameter or field; the list is empty if it is absent."""

_NETWORK = re.compile(rf"{IPV4}(/(3[0-2]|[12]?[0-9]))?|{IPV6}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


class Client(Kind):
    """An address or a CIDR network; an IPv4 address mapped into IPv6 is read as IPv4.

    The bits after the prefix do not count: `10.0.0.7/8` is `10.0.0.0/8`.
    """

    __slots__ = ()

    def read(self, value: object) -> Network:
        if not isinstance(value, str) or not _NETWORK.fullmatch(value):
            message = f"{shown(value)} is not an address; give one such as 10.0.0.7, or a CIDR such as 10.0.0.0/8"
            raise BadValue("not-an-address", message)
        network = ipaddress.ip_network(value, strict=False)
        if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
            inner = int(network.network_address) & 0xFFFFFFFF
            return ipaddress.IPv4Network((inner, network.prefixlen - _MAPPED.prefixlen))
        return network

    def write(self, value: object) -> str:
        return str(value).removesuffix("/32" if isinstance(value, ipaddress.IPv4Network) else "/128")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": rf"^({_NETWORK.pattern})$(?!\n)"}

    def __str__(self) -> str:
        return "address or CIDR"


class Status(Kind):
    """A status code, a class (5xx) or a range (500-504) of status codes."""

    __slots__ = ()

    def read(self, value: object) -> StatusRange:
        is_whole = type(value) is int or (isinstance(value, float) and value.is_integer())
        text = str(int(cast(float, value))) if is_whole else value
        if isinstance(text, str) and text.isascii() and len(text) <= 7:
            first, dash, last = text.partition("-")
            if len(text) == 3 and text[0] in "12345" and text[1:].lower() == "xx":
                return int(text[0]) * 100, int(text[0]) * 100 + 99
            if _is_status(first) and (_is_status(last) if dash else True):
                ends = int(first), int(last or first)
                return min(ends), max(ends)
        message = f"{shown(value)} is not a status; use a code from 100 to 599, a class such as 5xx, or 500-504"
        raise BadValue("malformed", message)

    def write(self, value: object) -> object:
        low, high = cast(StatusRange, value)
        if low == high:
            return low
        return f"{low // 100}xx" if low % 100 == 0 and high == low + 99 else f"{low}-{high}"

    def schema(self) -> dict[str, Any]:
        code = "[1-5][0-9][0-9]"
        text = {"type": "string", "pattern": rf"^([1-5][xX][xX]|{code}(-{code})?)$(?!\n)"}
        return {"anyOf": [{"type": "integer", "minimum": 100, "maximum": 599}, text]}


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isdigit() and "1" <= text[0] <= "5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The messages that a fault acts on. At least one key must be set: without any, all messages would match."""

    method: tuple[str, ...] | None = param(
        OneOrMore(Method()), "request method, or several", default=None, example="[POST]"
    )
    path: str | None = param(
        PathPattern(),
        "glob for the path as sent, without query: `*` within a segment, `**` across; or `~` and a regex for the whole",
        default=None,
        example="/checkout/*",
    )
    query: Mapping[str, str | bool] | None = param(
        MapOf(Wanted(), least=1),
        "by name of a query parameter: a glob for its decoded value, true (is there) or false (is not)",
        default=None,
        example='{page: "2"}',
    )
    headers: Mapping[str, str | bool] | None = param(
        MapOf(Wanted(stripped=True), least=1, key=HeaderName()),
        "by name of a request header: a glob for the value of one of its lines, true (is there) or false (is not)",
        default=None,
        example="{x-tenant: acme}",
    )
    host: str | None = param(
        HostGlob(),
        "glob for the host of the request; with a port, the port must match, too (80 if the request has none)",
        default=None,
        example='"*.example.org"',
    )
    client: tuple[Network, ...] | None = param(
        OneOrMore(Client()), "address or CIDR of the client, or several", default=None, example="10.0.0.0/8"
    )
    status: tuple[StatusRange, ...] | None = param(
        OneOrMore(Status()),
        "status of the response: code, class or range, or several; for faults on responses",
        default=None,
        example="[503, 5xx, 500-504]",
    )
    content_type: str | None = param(
        MediaGlob(),
        "glob for the response's media type, without its parameters; for faults on responses",
        default=None,
        example="application/json",
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """The rules across its parameters."""


OF_RESPONSES = ("status", "content_type")
"""The parameters that select by the response."""
_KEYS = [param.name for param in params_of(Match)]
Match.rules = (
    Rule(
        (), "no-effect", f"selects everything; remove it, or add one of: {', '.join(_KEYS)}",
        *(Not(Given(key)) for key in _KEYS),
    ),
)  # fmt: skip


def read_match(data: object, problems: Problems, path: Path) -> Match | None:
    """Read a match from plain data; note all problems, and return None if any."""
    before = len(problems)
    match = read_struct(Match, data, problems, path)
    if match is not None:
        problems.extend(broken_rules(match), path)
    return match if len(problems) == before else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matcher:
    """A match, prepared once so that it costs little per message."""

    _methods: frozenset[str]
    _path: Test | None
    _query: tuple[tuple[str, _OnValues], ...]
    _headers: tuple[tuple[str, _OnValues], ...]
    _host: _Host | None
    _client: tuple[tuple[int, int, int], ...]
    _status: tuple[StatusRange, ...]
    _content_type: Test | None

    @classmethod
    def of(cls, match: Match) -> Matcher:
        """Prepare a match.

        :raises BadValue: the path is not a pattern that `PathPattern` accepts.
        """
        query, headers = match.query or {}, match.headers or {}
        return cls(
            _methods=frozenset(match.method or ()),
            _path=None if match.path is None else path_test(match.path),
            _query=tuple((name, _on_values(wanted)) for name, wanted in query.items()),
            _headers=tuple((name, _on_values(_as_sent(wanted))) for name, wanted in headers.items()),
            _host=None if match.host is None else _Host(match.host),
            _client=tuple((net.version, int(net.netmask), int(net.network_address)) for net in match.client or ()),
            _status=match.status or (),
            _content_type=None if match.content_type is None else glob(match.content_type),
        )

    def line(self, method: str, target: str) -> bool:
        """Return True if method, path and query match, as far as the match has them."""
        return self.fits(_Line(method, target))

    def fits(self, line: _Line) -> bool:
        """Return True if a request line, already split, matches."""
        if self._methods and line.method not in self._methods:
            return False
        if self._path is not None and not self._path(line.path):
            return False
        return not self._query or all(test(line.parameters().get(name, _NONE)) for name, test in self._query)

    def request(self, head: RequestHead, client: str) -> bool:
        """Return True if a request matches; `client` is the client's address, with or without the port."""
        if not self.line(head.method, head.target) or not self._is_from(client):
            return False
        if self._host is not None and not self._host.is_of(head):
            return False
        return all(test(values(head.fields, name)) for name, test in self._headers)

    def response(self, head: ResponseHead) -> bool:
        """Return True if status and content type match, as far as the match has them; the request is not compared."""
        if self._status and not any(low <= head.status <= high for low, high in self._status):
            return False
        return self._content_type is None or any(map(self._content_type, _media_types(head.fields)))

    def _is_from(self, client: str) -> bool:
        if not self._client:
            return True
        version, number = _address(host_and_port(client)[0])
        return any(version == of and number & mask == network for of, mask, network in self._client)


class Rules:
    """The matchers of all message faults of a proxy; each request line is compared with them.

    Results are cached: a hit takes 0.1 µs, ten matchers of the common kinds take 3 to 6 µs.
    """

    __slots__ = ("_results",)

    def __init__(self, matchers: Sequence[Matcher | None]) -> None:
        """Take the matchers; None stands for one that matches everything."""
        self._results = Memo(partial(_any_line, tuple(matchers)), _is_short)

    def any_line(self, method: bytes, target: bytes) -> bool:
        """Return True if one of the matchers might match a request with this line."""
        return self._results[method, target]


_LONGEST_REMEMBERED = 512
"""The maximum length of a cached method and target, in bytes: at most 2 MiB in total."""


def _is_short(line: tuple[bytes, bytes]) -> bool:
    return len(line[0]) + len(line[1]) <= _LONGEST_REMEMBERED


def _any_line(matchers: tuple[Matcher | None, ...], line: tuple[bytes, bytes]) -> bool:
    if None in matchers:
        return True
    split = _Line(line[0].decode("latin-1"), line[1].decode("latin-1"))
    return any(matcher.fits(split) for matcher in matchers if matcher is not None)


class _Line:
    """A request line, split into its parts; the query is decoded when it is first needed."""

    __slots__ = ("_parameters", "_query", "method", "path")

    def __init__(self, method: str, target: str) -> None:
        self.method = method
        _, path, self._query = split_target(target)
        self.path = normal_path(path)
        self._parameters: dict[str, list[str]] | None = None

    def parameters(self) -> dict[str, list[str]]:
        if self._parameters is None:
            self._parameters = _parameters(self._query)
        return self._parameters


def _parameters(query: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            found.setdefault(_decoded(name), []).append(_decoded(value))
    return found


def _decoded(text: str) -> str:
    """Decode text like that of an HTML form: `+` is a space, and percent-encoded bytes are UTF-8."""
    if "%" not in text and "+" not in text and text.isascii():  # takes 0.1 µs instead of 0.7 µs
        return text
    return unquote_to_bytes(octets(text.replace("+", " "))).decode("utf-8", "replace")


_NONE: list[str] = []


def _on_values(wanted: str | bool) -> _OnValues:
    if isinstance(wanted, bool):
        return bool if wanted else operator.not_
    test = glob(wanted)
    return lambda found: any(map(test, found))


def _as_sent(wanted: str | bool) -> str | bool:
    return wanted if isinstance(wanted, bool) else wire(wanted)


class _Host:
    def __init__(self, pattern: str) -> None:
        host, port = host_and_port(pattern)
        self._name: Test = glob(host)
        self._port: Test | None = glob(port) if port else None

    def is_of(self, head: RequestHead) -> bool:
        """Return True if a request is for the host. An absolute-form target overrides Host (RFC 9112 §3.2.2)."""
        authority, _, _ = split_target(head.target)
        given = values(head.fields, "host") if authority is None else [authority.rpartition("@")[2]]
        return any(self._is(*host_and_port(one.lower())) for one in given)

    def _is(self, host: str, port: str) -> bool:
        return bool(self._name(host)) and (self._port is None or bool(self._port(port or "80")))


def _media_types(fields: Fields) -> Iterator[str]:
    return (value.partition(";")[0].rstrip(" \t").lower() for value in values(fields, "content-type"))


@lru_cache(maxsize=1024)
def _address(text: str) -> tuple[int, int]:
    """Return (version, number) of an address, to be compared with networks; (0, 0) for text that is not an address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return 0, 0
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)
