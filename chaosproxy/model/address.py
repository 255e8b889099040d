"""Addresses: `host:port`, `[::1]:port`, `unix:/path`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from chaosproxy.declare import Kind

__all__ = ["Address", "ListenAddress", "UpstreamAddress", "parse_address"]


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP host and port, or a unix socket's path (then `port` is None)."""

    host: str
    """A name, an IPv4 or an IPv6 address without brackets; for a unix socket its path."""
    port: int | None = None

    @property
    def is_unix(self) -> bool:
        return self.port is None

    def __str__(self) -> str:
        if self.port is None:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object, lowest_port: int) -> Address:
    """An address from its text.

    :raises ValueError: in words for the user.
    """
    example = "127.0.0.1:5432, [::1]:5432 or unix:/run/app.sock"
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not an address; give host:port, such as {example}")
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path or len(path.encode()) > 107:
            raise ValueError(f"{text!r} has no usable path; give one of 1 to 107 bytes, such as unix:/run/app.sock")
        return Address(path)
    host, colon, port_text = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} is not an address; give host:port, such as {example}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{text!r} holds no IPv6 address in its brackets; give one such as [::1]:5432") from None
    elif ":" in host:
        raise ValueError(f"{text!r} is ambiguous; write an IPv6 address in brackets, such as [::1]:5432")
    elif not all(part.replace("-", "").replace("_", "").isalnum() for part in host.rstrip(".").split(".")):
        raise ValueError(f"{text!r} has no usable host name; give host:port, such as {example}")
    if not (port_text.isascii() and port_text.isdigit()) or not lowest_port <= int(port_text) <= 65535:
        raise ValueError(f"{text!r} has the port {port_text!r}; give one from {lowest_port} to 65535")
    return Address(host, int(port_text))


@dataclass(frozen=True, slots=True)
class _AddressKind(Kind):
    lowest_port: int = 0

    def read(self, value: object) -> Address:
        return parse_address(value, self.lowest_port)

    def write(self, value: object) -> str:
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "description": "host:port, [::1]:port or unix:/path"}

    def __str__(self) -> str:
        return "address"


class ListenAddress(_AddressKind):
    """An address to listen on; port 0 picks a free one."""

    __slots__ = ()


class UpstreamAddress(_AddressKind):
    """An address to connect to."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(lowest_port=1)
