"""Patterns of hosts: a name, an IP address, a CIDR block or a glob, and perhaps a port."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from chaosproxy.declare import Kind
from chaosproxy.errors import BadValue, shown

__all__ = ["HostPattern"]

_HOSTS = re.compile(r"[A-Za-z0-9_.*?-]+|\[[0-9A-Fa-f:.*]+\]|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_PORT = re.compile(r"(.+):([0-9]{1,5}|\*)")
_LONGEST = 260  # characters: a host name of 253 and a port


@dataclass(frozen=True, slots=True)
class HostPattern(Kind):
    """A pattern of hosts: a name, an IP address, a CIDR block or a glob; with a port if `port` allows it."""

    port: bool = True

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not self._fits(value):
            example = "db.internal, 10.0.0.0/8, *.staging.internal" + (" or 127.0.0.1:5432" if self.port else "")
            raise BadValue("malformed", f"{shown(value)} is not a pattern of hosts; use one such as {example}")
        return value

    def _fits(self, text: str) -> bool:
        if len(text) > _LONGEST:
            return False
        if text.startswith("unix:/"):
            return text.isprintable()
        match = None
        if self.port and not _HOSTS.fullmatch(text) and not _is_network(text):
            match = _PORT.fullmatch(text)
        host, port = match.groups() if match else (text, "*")
        if port != "*" and not 1 <= int(port) <= 65535:
            return False
        return _is_network(host) if "/" in host else bool(_HOSTS.fullmatch(host))

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}

    def __str__(self) -> str:
        return "host, CIDR or glob"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text
