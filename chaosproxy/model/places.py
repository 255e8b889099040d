"""Addresses that are taken, to find two listeners that cannot both be bound. Pure: no name is resolved."""

from __future__ import annotations

import posixpath

from chaosproxy.model.address import Address, canonical_host

__all__ = ["Places"]


class Places:
    """Addresses that are taken, to find two listeners on one address.

    `localhost` is 127.0.0.1 and ::1. 0.0.0.0 conflicts with every IPv4 address on its port, `[::]` with every
    address, or with every IPv6 address if it is for IPv6 only. A host name may have addresses of both
    families, so it conflicts with 0.0.0.0 and `[::]`. Port 0 conflicts with nothing.
    """

    def __init__(self) -> None:
        self._taken: dict[int | None, dict[str, dict[str, str]]] = {}
        """The names, by port, family and host."""

    def take(self, address: Address, name: str, ipv6only: bool = False) -> str | None:
        """Take an address for `name`; return the name that has it already, if any."""
        if address.port == 0:
            return None
        there = self._taken.setdefault(address.port, {})
        wanted = _hosts(address, ipv6only)
        for family, host in wanted:
            taken = there.get(family, {})
            if (holder := taken.get(host, taken.get(_ANY))) is not None:
                return holder
            if host == _ANY and taken:
                return next(iter(taken.values()))
        for family, host in wanted:
            there.setdefault(family, {})[host] = name
        return None


_ANY = "any"


def _hosts(address: Address, ipv6only: bool) -> tuple[tuple[str, str], ...]:
    """Return what an address takes: a family and a host each, or every host of a family."""
    if address.is_unix:
        return (("unix", posixpath.normpath(address.host)),)
    host = canonical_host(address.host)
    if isinstance(host, str):
        names = ("127.0.0.1", "::1") if host == "localhost" else (f"name {host}", f"name {host}")
        both = ("ipv4", names[0]), ("ipv6", names[1])
        return both[1:] if ipv6only else both
    if not host.is_unspecified:
        return ((f"ipv{host.version}", str(host)),)
    if host.version == 4:
        return (("ipv4", _ANY),)
    return (("ipv6", _ANY),) if ipv6only else (("ipv4", _ANY), ("ipv6", _ANY))
