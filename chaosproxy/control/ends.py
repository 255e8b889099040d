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
    """Return the addresses of the proxies that listen on port 0, by name."""
    return {one.name: one.listener.addresses for one in proxies if one.spec.listen.port == 0 and one.listener}


def ends_after(spec: ProxySpec, proxies: Iterable[Proxy], listener: Listener | None = None) -> dict[str, Ends]:
    """Return the addresses of `proxies` by name, with one changed to `spec`; `listener` was bound for it."""
    running = list(proxies)
    drawn = drawn_ports(running)
    ends = {one.name: Ends(drawn.get(one.name, (one.spec.listen,)), one.spec.upstream) for one in running}
    kept = ends[spec.name].listen if spec.name in ends and spec.listen.port == 0 else (spec.listen,)
    return {**ends, spec.name: Ends(kept if listener is None else listener.addresses, spec.upstream)}
