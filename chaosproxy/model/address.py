"""Addresses: `host:port`, `[::1]:port`, `unix:/path`.

    parse_address    text ─▶ Address, or a BadValue for the user
    canonical_host   the host of an Address ─▶ one value for all of its spellings, to compare hosts

The kinds at the end read addresses from YAML and JSON; they differ in whether port 0 is allowed.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from chaosproxy.declare import Kind
from chaosproxy.errors import BadValue, shown
from chaosproxy.text import IPV4, IPV6, NOT_SHOWN, is_one_line

__all__ = [
    "Address", "IpAddress", "ListenAddress", "UpstreamAddress", "canonical_host", "is_ipv4", "is_literal",
    "join_address", "parse_address",
]  # fmt: skip

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_EXAMPLE = "127.0.0.1:5432, [::1]:5432 or unix:/run/app.sock"
_UNIX_PATH_BYTES = 107  # sockaddr_un.sun_path less its final NUL, unix(7)
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_PORT = re.compile(r":[0-9]+$")
_LIKE_IPV4 = re.compile(r"[0-9.]+")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(%[0-9A-Za-z._~-]{1,15})?")
"""The characters of an IPv6 address and of its zone: the name of an interface."""
_NAME = rf"(?![0-9.]+:)(?=.{{1,253}}:[0-9]+$){_HOST_NAME.pattern}"
_UNIX = rf"unix:([\x20-\x7e]{{1,{_UNIX_PATH_BYTES}}}|[^{NOT_SHOWN}]{{1,{_UNIX_PATH_BYTES // 4}}})"
"""A pattern counts characters, and each has up to four bytes."""
_PORT_NUMBER = "([0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP host and port, or the path of a unix socket (then `port` is None)."""

    host: str
    """A name, an IPv4 address, or an IPv6 address without brackets; for a unix socket its path."""
    port: int | None = None

    @property
    def is_unix(self) -> bool:
        return self.port is None

    @property
    def is_name(self) -> bool:
        """True if the host is a name, which may have several addresses."""
        return self.port is not None and not is_literal(self.host)

    def __str__(self) -> str:
        return f"unix:{self.host}" if self.port is None else join_address(self.host, self.port)


def join_address(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: object, lowest_port: int) -> Address:
    """Return the address that the text spells.

    :raises BadValue: the text is not an address; the message is for the user.
    """
    if not isinstance(text, str) or not text:
        raise BadValue("not-an-address", f"{shown(text)} is not an address; use host:port, such as {_EXAMPLE}")
    if text.startswith("unix:"):
        return Address(_unix_path(text))
    if "://" in text:
        scheme, _, rest = text.partition("://")
        message = f"{shown(text)} is a URL; use only its host and port, such as {_host_and_port(scheme, rest)}"
        raise BadValue("not-an-address", message)
    host, colon, port = text.rpartition(":")
    if not colon:
        raise BadValue("not-an-address", f"{shown(text)} is not an address; use host:port, such as {_EXAMPLE}")
    if not host:
        message = f"{shown(text)} has no host; add one, such as 127.0.0.1{text} (0.0.0.0 means every interface)"
        raise BadValue("not-an-address", message)
    host = _host(host, text)
    if not (port.isascii() and port.isdigit()):
        message = f"{shown(text)} has the invalid port {shown(port)}; use {lowest_port} to 65535"
        raise BadValue("not-an-address", message)
    if len(port) > 5 or not lowest_port <= int(port) <= 65535:
        message = f"{shown(text)} has the invalid port {port[:20]}; use {lowest_port} to 65535"
        raise BadValue("out-of-range", message)
    return Address(host, int(port))


def _host_and_port(scheme: str, rest: str) -> str:
    """Return the address in a URL, or an example if it has none."""
    authority = rest.partition("/")[0].rpartition("@")[2]
    if authority and authority.isprintable() and len(authority) <= 100:
        return authority if _PORT.search(authority) else f"{authority}:{'443' if scheme == 'https' else '80'}"
    return "127.0.0.1:8000"


def _unix_path(text: str) -> str:
    path = text.removeprefix("unix:")
    if not path or len(path.encode(errors="replace")) > _UNIX_PATH_BYTES or not is_one_line(path):
        raise BadValue(
            "not-an-address",
            f"{shown(text)} has no valid path; use one of 1 to {_UNIX_PATH_BYTES} bytes, such as unix:/run/app.sock",
        )
    return path


def _host(host: str, text: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        if not _IPV6.fullmatch(host[1:-1]) or not _is_ip(host[1:-1], ipaddress.IPv6Address):
            message = f"{shown(text)} has no IPv6 address in its brackets; use one, such as [::1]:5432"
            raise BadValue("not-an-address", message)
        return host[1:-1]
    if ":" in host:
        message = f"{shown(text)} has several colons; put an IPv6 address in brackets, such as [::1]:5432"
        raise BadValue("not-an-address", message)
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise BadValue("not-an-address", f"{shown(text)} has no valid host name; use host:port, such as {_EXAMPLE}")
    if _LIKE_IPV4.fullmatch(host) and not _is_ip(host, ipaddress.IPv4Address):
        raise BadValue("not-an-address", f"{shown(text)} has no valid IPv4 address; use one, such as 127.0.0.1:5432")
    return host


def _is_ip(text: str, of: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    try:
        of(text)
    except ValueError:
        return False
    return True


def canonical_host(host: str) -> str | IpAddress:
    """Return an IP address, or a name in lower case without the dot at its end; two spellings of a host are equal.

    An IPv4 address that is mapped into IPv6 is returned as IPv4. The zone of an IPv6 address is kept.
    """
    try:
        ip = ipaddress.ip_address(host.lower())
    except ValueError:
        return host.lower().removesuffix(".")
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def is_ipv4(host: str) -> bool:
    """Return whether a host is an IPv4 address, also one in the notation of IPv6: `::ffff:192.0.2.1`."""
    return isinstance(canonical_host(host), ipaddress.IPv4Address)


@functools.lru_cache(maxsize=1024)
def is_literal(host: str) -> bool:
    """Return whether a host is an IP address, which needs no look-up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _pattern(lowest_port: int) -> str:
    """Return the pattern of the texts that are read as an address, except long paths of sockets that are not ASCII."""
    port = _PORT_NUMBER if lowest_port == 0 else rf"(?!0+$){_PORT_NUMBER}"
    return rf"^({_UNIX}|({_NAME}|{IPV4}|\[{IPV6}\]):{port})$(?!\n)"


@dataclass(frozen=True, slots=True)
class _AddressKind(Kind):
    lowest_port: int = 0

    def read(self, value: object) -> Address:
        return parse_address(value, self.lowest_port)

    def write(self, value: object) -> str:
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {
            "type": "string",
            "pattern": _pattern(self.lowest_port),
            "description": "host:port, [::1]:port or unix:/path",
        }

    def __str__(self) -> str:
        return "address"


class ListenAddress(_AddressKind):
    """An address to listen on; port 0 picks a free port."""

    __slots__ = ()


class UpstreamAddress(_AddressKind):
    """An address to connect to."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(lowest_port=1)
