"""Check addresses against the policy: those that the control API may let chaosproxy listen on or connect to.

Pure: no name is resolved. A pattern is one of these:

    db.internal          a host with any port, also 10.0.0.7
    *.staging.internal   a glob for host names, also *
    10.0.0.0/8           a network; it matches addresses, and `localhost` as 127.0.0.1
    db.internal:5432     a host or a glob with a port, also [::1]:5432
    unix:/run/app/*      a glob for the paths of unix sockets

A network never matches another name than `localhost`, since the addresses of a name may change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from fnmatch import fnmatchcase

from chaosproxy.errors import Problem
from chaosproxy.model import Address, PolicySpec, ProxySpec

__all__ = ["forbidden", "matches"]


def forbidden(policy: PolicySpec, wanted: ProxySpec, present: ProxySpec | None = None) -> list[Problem]:
    """Return a problem for each address of `wanted` that the policy does not allow.

    Addresses that `present` already has are not checked: a proxy of the configuration file may be
    outside the policy, and its faults can be changed nevertheless.
    """
    found = []
    if (present is None or wanted.upstream != present.upstream) and policy.upstreams is not None:
        if not matches(wanted.upstream, policy.upstreams):
            found.append(_problem("upstream", "upstreams", wanted.upstream, policy.upstreams))
    if (present is None or wanted.listen != present.listen) and not matches(wanted.listen, policy.listen):
        found.append(_problem("listen", "listen", wanted.listen, policy.listen))
    return found


def matches(address: Address, patterns: Iterable[str]) -> bool:
    """Return whether any of the patterns matches the address."""
    return any(_matches(address, pattern.strip()) for pattern in patterns)


def _problem(field: str, rule: str, address: Address, allowed: Iterable[str]) -> Problem:
    has = ", ".join(allowed) or "nothing"
    message = f"{address} is outside policy.{rule} of the configuration, which allows {has}"
    return Problem((field,), "forbidden-by-policy", message)


def _matches(address: Address, pattern: str) -> bool:
    if address.is_unix or pattern.startswith("unix:"):
        both_unix = address.is_unix and pattern.startswith("unix:")
        return both_unix and fnmatchcase(str(address), pattern) and ".." not in address.host.split("/")
    host_pattern, port = _split_port(pattern)
    if port is not None and port != address.port:
        return False
    host = address.host.lower().rstrip(".")
    if "/" in host_pattern:
        return _in_network(host, host_pattern)
    if (ip := _ip(host)) is not None and ip == _ip(host_pattern):
        return True
    return fnmatchcase(host, host_pattern.lower().rstrip("."))


def _split_port(pattern: str) -> tuple[str, int | None]:
    """Split off the port: `[::1]:5432` → (`::1`, 5432); `::1` → (`::1`, None); `db:*` → (`db`, None)."""
    if pattern.startswith("["):
        host, _, port = pattern[1:].partition("]")
        port = port.removeprefix(":")
    elif pattern.count(":") == 1:
        host, _, port = pattern.partition(":")
    else:
        return pattern, None
    if port in ("", "*"):
        return host, None
    return host, int(port) if port.isascii() and port.isdigit() else -1  # -1: no address has it


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _in_network(host: str, pattern: str) -> bool:
    ip = _ip("127.0.0.1" if host == "localhost" else host)
    try:
        return ip is not None and ip in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False
