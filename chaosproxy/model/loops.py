"""Find proxies whose upstream leads back to themselves, directly or round other proxies. Pure: no name is looked up.

A proxy leads to another if its upstream is certainly an address on which the other listens: the same host and port
or path, or a loopback address and a listener on every interface. Proxies that lead to one another are legal; a loop
is not, since each client would become connections without end. Disabled proxies and faults count as well: they may
change at any time. Loops behind other names are found when a connection comes back (`net.stream.path`).
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaosproxy.errors import Problem
from chaosproxy.model.address import Address, canonical_host

__all__ = ["Ends", "loop_problem", "loop_through", "loops"]


@dataclass(frozen=True, slots=True)
class Ends:
    """The addresses of one proxy."""

    listen: Sequence[Address]
    """The addresses for clients; port 0 leads nowhere."""
    upstream: Address
    ipv6only: bool = False
    """True if a listener on [::] takes no IPv4."""


def loops(proxies: Mapping[str, Ends]) -> Iterator[tuple[str, ...]]:
    """Yield loops, as the names of their proxies; others that touch them may show once these are gone."""
    leads = _Leads(proxies)
    done: set[str] = set()
    for first in proxies:
        if loop := leads.walk(first, done):
            yield loop


def loop_through(name: str, proxies: Mapping[str, Ends]) -> tuple[str, ...] | None:
    """Return a loop that begins with this proxy; None if there is none."""
    return _Leads(proxies).walk(name, set(), name)


def loop_problem(loop: Sequence[str], upstream: Address) -> Problem:
    """Return the problem of the first proxy of a loop, whose upstream is given."""
    way = " -> ".join([*loop, loop[0]]) if len(loop) <= _SHOWN else f"round {len(loop)} proxies"
    message = f"{upstream} leads back to the proxy itself ({way}); use the address of the server behind it"
    return Problem(("upstream",), "upstream-loop", message)


_SHOWN = 10
"""The most proxies that a message names."""


class _Leads:
    """To which proxies each proxy leads."""

    def __init__(self, proxies: Mapping[str, Ends]) -> None:
        self._proxies = proxies
        self._listeners: dict[int | None, list[tuple[str, str, bool]]] = {}
        """The listeners on each port; those on unix sockets under None."""
        self._hosts: dict[int | None, dict[str, str]] = {}
        """The proxy on each host of a port, for the ports that were looked up so far."""
        for name, ends in proxies.items():
            for address in ends.listen:
                if address.port != 0:
                    self._listeners.setdefault(address.port, []).append((name, address.host, ends.ipv6only))

    def of(self, name: str) -> list[str]:
        """Return the proxies that this proxy leads to."""
        upstream = self._proxies[name].upstream
        if upstream.port not in self._listeners:
            return []
        there = self._on_port(upstream.port)
        hosts = (posixpath.normpath(upstream.host),) if upstream.is_unix else _reached(upstream.host)
        return list(dict.fromkeys(there[host] for host in hosts if host in there))

    def _on_port(self, port: int | None) -> dict[str, str]:
        if port not in self._hosts:
            self._hosts[port] = {
                key: name
                for name, host, ipv6only in self._listeners[port]
                for key in ([posixpath.normpath(host)] if port is None else _listened(host, ipv6only))
            }
        return self._hosts[port]

    def walk(self, first: str, done: set[str], back_to: str | None = None) -> tuple[str, ...] | None:
        """Return the first loop on the ways from `first`, or only one that comes back to `back_to`.

        Proxies in `done` are skipped, and those that were visited are added.
        """
        way: dict[str, Iterator[str]] = {}
        following: str | None = first
        while following is not None or way:
            if following is not None and following not in done:
                done.add(following)
                way[following] = iter(self.of(following))
            name = next(reversed(way), None)
            if name is None:
                return None
            following = next(way[name], None)
            if following is None:
                del way[name]
            elif following in way and back_to in (following, None):
                names = list(way)
                return tuple(names[names.index(following) :])
        return None


def _listened(host: str, ipv6only: bool) -> tuple[str, ...]:
    """Return the hosts under which a listener is found; _ANY and _ANY6 stand for every interface."""
    match canonical_host(host):
        case "localhost":
            return ("127.0.0.1", "::1")
        case str() as name:
            return (name,)
        case ipaddress.IPv4Address(is_unspecified=True):
            return (_ANY,)
        case ipaddress.IPv6Address(is_unspecified=True):
            return (_ANY6,) if ipv6only else (_ANY, _ANY6)
        case ip:
            return (str(ip),)


def _reached(host: str) -> tuple[str, ...]:
    """Return the hosts of listeners that a dial to `host` certainly reaches."""
    match canonical_host(host):
        case "localhost":
            return ("127.0.0.1", "::1", _ANY, _ANY6)
        case str() as name:
            return (name,)
        case ipaddress.IPv4Address() as ip:
            ip = ipaddress.IPv4Address("127.0.0.1") if ip.is_unspecified else ip  # so does the kernel
            return (str(ip), _ANY) if ip.is_loopback else (str(ip),)
        case ip:
            return ("::1", _ANY6) if ip.is_unspecified or ip.is_loopback else (str(ip),)


_ANY, _ANY6 = "any IPv4", "any IPv6"
