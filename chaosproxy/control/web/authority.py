"""Parse an authority, such as the value of a Host header field (RFC 9110 section 7.2, RFC 3986 section 3.2).

Parsers of URLs accept text that other parsers read as another host, such as `[::1].evil.example`. So an authority is
matched as a whole against the few forms that a client of the control API sends: a name, an IPv4 address or an IPv6
address in brackets, each with a port or without. All others are malformed, even if RFC 3986 allows them: user
information, percent-encoding, zone ids and future IP versions.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

__all__ = ["Authority", "parse_authority"]

_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[0-9A-Za-z_.-]+))(?::(?P<port>[0-9]{0,5}))?")
_NAME = re.compile(r"[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*\.?")
_NUMBER = re.compile(r"[0-9]+|0[Xx][0-9A-Fa-f]*")
"""A label that makes a name an IPv4 address if it is the last one (WHATWG URL, section 3.5)."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A host, and a port if there is one."""

    host: str | ipaddress.IPv4Address | ipaddress.IPv6Address
    """A name in lower case without a dot at its end, or an address."""
    port: int | None = None


def parse_authority(text: str) -> Authority:
    """Return the host and the port that the text names.

    :raises ValueError: the whole text is not an authority of a known form.
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise ValueError("not a host with or without a port")
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > 65535:
        raise ValueError("not a port")
    if match["ipv6"] is not None:
        return Authority(ipaddress.IPv6Address(match["ipv6"]), port)
    name = match["name"]
    if len(name) > 254 or not _NAME.fullmatch(name):
        raise ValueError("not a name")
    if _NUMBER.fullmatch(name.removesuffix(".").rpartition(".")[2]):
        return Authority(ipaddress.IPv4Address(name), port)
    return Authority(name.lower().removesuffix("."), port)
