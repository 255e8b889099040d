"""Patterns of addresses: what a policy allows to connect to or to listen on.

    db.internal          a name
    *.staging.internal   a name by labels: `*` is one label, and in front one or more; `db-*` is a part of a label
    10.0.0.7             an IP address
    10.0.0.0/8           a network; it matches addresses, and `localhost` as 127.0.0.1
    *                    every name and every address
    unix:/run/app/*      a glob for the paths of unix sockets

Each but the last may have a port: `db.internal:5432`, `[::1]:5432`, `10.0.0.0/8:5432`. A pattern for names never
matches an address, nor one for addresses a name other than `localhost`, whose addresses may change. So a pattern
such as `10.0.*`, which would match `10.0.evil.example`, is invalid.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, TypeAlias

from chaosproxy.declare import Kind
from chaosproxy.errors import BadValue, shown
from chaosproxy.model.address import Address, IpAddress, canonical_host

__all__ = ["HostPattern", "Pattern", "parse_pattern"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORT = re.compile(r"[0-9]{1,5}|\*")
_NAME = re.compile(r"[a-z0-9_*?-]{1,63}(\.[a-z0-9_*?-]{1,63})*")
_LIKE_ADDRESS = re.compile(r"([0-9*?]+\.)*[0-9*?]*[0-9][0-9*?]*(\.[0-9*?]+)*|.*\.[0-9*?]*[0-9][0-9*?]*")
"""Labels of digits, or a last label of digits: no name that can be resolved ends like this."""
_LONGEST = 260  # characters: a host name of 253 and a port
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of addresses, parsed. One of the first four is set; if none is, the pattern is `*`."""

    path: str | None = None
    network: Network | None = None
    ip: IpAddress | None = None
    labels: tuple[str, ...] | None = None
    port: int | None = None

    def covers(self, address: Address) -> bool:
        """Return whether the address is one of those that the pattern stands for."""
        if address.is_unix or self.path is not None:
            return address.is_unix and self.path is not None and _covers_path(self.path, address.host)
        if self.port is not None and self.port != address.port:
            return False
        host = canonical_host(address.host.partition("%")[0])  # without its zone
        if self.network is not None:
            ip = ipaddress.IPv4Address("127.0.0.1") if host == "localhost" else host
            return not isinstance(ip, str) and ip in self.network
        if self.ip is not None:
            return host == self.ip
        return self.labels is None or (isinstance(host, str) and _covers_name(self.labels, host.split(".")))


@lru_cache(maxsize=1000)
def parse_pattern(text: str) -> Pattern:
    """Return the pattern that the text spells.

    :raises BadValue: the text is not a pattern.
    """
    if text.startswith("unix:"):
        if not text.startswith("unix:/") or not text.isprintable() or len(text) > _LONGEST:
            raise _malformed(text)
        return Pattern(path=text.removeprefix("unix:"))
    host, given = _split(text.lower()) if len(text) <= _LONGEST else ("", None)
    if given is not None and (not _PORT.fullmatch(given) or (given != "*" and not 1 <= int(given) <= 65535)):
        raise _malformed(text)
    port = int(given) if given is not None and given != "*" else None
    if host == "*":
        return Pattern(port=port)
    if "%" not in host and "/" in host and (network := _network(host)) is not None:
        return Pattern(network=network, port=port)
    if "%" not in host and not isinstance(ip := canonical_host(host), str):
        return Pattern(ip=ip, port=port)
    name = host.removesuffix(".")
    if re.fullmatch(r"[0-9a-f:.*?]*:[0-9a-f:.*?]*", host) or _LIKE_ADDRESS.fullmatch(name):
        if not set("*?") & set(host):
            raise _malformed(text)
        message = f"{shown(text)} is a glob for addresses; use a network, such as {_network_like(host)}"
        raise BadValue("malformed", message)
    if not _NAME.fullmatch(name):
        raise _malformed(text)
    return Pattern(labels=tuple(name.split(".")), port=port)


def _split(text: str) -> tuple[str, str | None]:
    """Split off the port: `[::1]:5432` → (`::1`, `5432`), `::1` → (`::1`, None), `db:*` → (`db`, `*`)."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in host or (port and not port.startswith(":")):
            return "", None
        return host, port[1:] if port else None
    address, slash, length = text.partition("/")
    if slash:
        length, colon, port = length.partition(":")
        return f"{address}/{length}", port if colon else None
    if text.count(":") != 1:
        return text, None
    host, _, port = text.partition(":")
    return host, port


def _malformed(text: str) -> BadValue:
    examples = "db.internal, 10.0.0.0/8, *.staging.internal"
    return BadValue("malformed", f"{shown(text)} is not a pattern of hosts; use one such as {examples}")


def _network_like(glob: str) -> str:
    """Return the network that a glob for addresses was meant to be, or an example."""
    if ":" in glob:
        return "2001:db8::/32"
    labels = glob.split(".")
    numbers = [label for label in labels if label.isdigit() and int(label) < 256]
    if 0 < len(numbers) < 4 and labels[: len(numbers)] == numbers and set(labels[len(numbers) :]) == {"*"}:
        return ".".join([*numbers, *["0"] * (4 - len(numbers))]) + f"/{8 * len(numbers)}"
    return "10.0.0.0/8"


def _network(text: str) -> Network | None:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        start = ipaddress.IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return ipaddress.IPv4Network((start, network.prefixlen - _MAPPED.prefixlen))
    return network


def _covers_name(pattern: tuple[str, ...], labels: list[str]) -> bool:
    if pattern[0] == "*" and len(pattern) > 1:
        labels = labels[-len(pattern) :] if len(labels) > len(pattern) else labels
    return len(labels) == len(pattern) and all(map(fnmatchcase, labels, pattern))


def _covers_path(pattern: str, path: str) -> bool:
    return fnmatchcase(path, pattern) and ".." not in path.split("/")


@dataclass(frozen=True, slots=True)
class HostPattern(Kind):
    """The text of a Pattern; with a port if `port` allows it."""

    port: bool = True

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise _malformed_value(value)
        pattern = parse_pattern(value)
        if not self.port and pattern.port is not None:
            raise BadValue("malformed", f"{shown(value)} has a port, which is not limited here; use a host without one")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}

    def __str__(self) -> str:
        return "host, CIDR or glob"


def _malformed_value(value: object) -> BadValue:
    return BadValue("malformed", f"{shown(value)} is not a pattern of hosts; use text such as db.internal")
