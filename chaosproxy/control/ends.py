"""The addresses of all proxies after a change, to find loops (`model.loops`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chaosproxy.model.address import Address
from chaosproxy.model.loops import Ends
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.sockets.listener import Listener

__all__ = ["drawn_ports", "ends_after"]


def drawn_ports(proxies: Iterable[Proxy]) -> dict[str, Sequence[Address]]:
    """Return the bound addresses of the proxies that listen on port 0, by name; they stay while a proxy is off."""
    return {one.name: one.listener.addresses for one in proxies if one.spec.listen.port == 0 and one.listener}


def ends_after(spec: ProxySpec, proxies: Iterable[Proxy], listener: Listener | None = None) -> dict[str, Ends]:
    """Return the addresses of `proxies` by name, with one changed to `spec`; `listener` was bound for it."""
    own = (spec.listen,) if listener is None else listener.addresses
    running = list(proxies)
    if spec.listen.port != 0 or listener is not None:
        ports = {address.port for address in own}
        if all(one.spec.upstream.port not in ports for one in running) and spec.upstream.port not in ports:
            return {spec.name: _ends(spec, own)}  # nothing leads to it; this matters with thousands of proxies
    drawn = drawn_ports(running)
    ends = {one.name: _ends(one.spec, drawn.get(one.name)) for one in running}
    kept = drawn.get(spec.name) if spec.listen.port == 0 else None
    return {**ends, spec.name: _ends(spec, kept if listener is None else listener.addresses)}


def _ends(spec: ProxySpec, bound: Sequence[Address] | None) -> Ends:
    return Ends((spec.listen,) if bound is None else bound, spec.upstream, spec.ipv6only)
