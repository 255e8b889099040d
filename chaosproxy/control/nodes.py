"""Nodes: who there is, and who can reach whom now. Pure reading of the status of proxies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from chaosproxy.control.status import ProxyStatus
from chaosproxy.declare import nearest
from chaosproxy.errors import NotFound
from chaosproxy.faults.base import Direction
from chaosproxy.faults.pause import Pause
from chaosproxy.faults.refuse import Refuse
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.partition import nodes_of
from chaosproxy.model.placement import Placement
from chaosproxy.net.proxy import Proxy

__all__ = ["Node", "Verb", "matrix", "nodes", "proxies_of", "verb_fault"]

Verb = Literal["crash", "pause"]


@dataclass(frozen=True, slots=True)
class Node:
    """A node, and the proxies that stand beside it."""

    name: str
    serves: tuple[str, ...]
    """Proxies whose server it is."""
    uses: tuple[str, ...]
    """Proxies whose client it is."""
    state: Literal["up", "crashed", "paused"]


def nodes(proxies: Sequence[ProxyStatus]) -> list[Node]:
    """Every node that a proxy names, in the order they are first named."""
    return [_node(name, proxies) for name in nodes_of(proxy.spec for proxy in proxies)]


def matrix(proxies: Sequence[ProxyStatus]) -> dict[str, dict[str, bool | None]]:
    """Whether what a node sends reaches another now: `[sender][receiver]`; None where no proxy joins them."""
    names = nodes_of(proxy.spec for proxy in proxies)
    ways: dict[tuple[str, str], list[bool]] = {}
    for proxy in proxies:
        for sender, receiver, direction in _carried(proxy):
            ways.setdefault((sender, receiver), []).append(direction not in proxy.severed)
    return {
        sender: {
            receiver: any(ways[sender, receiver]) if (sender, receiver) in ways else None
            for receiver in names
            if receiver != sender
        }
        for sender in names
    }


def proxies_of(node: str, proxies: Sequence[Proxy]) -> list[Proxy]:
    """The proxies to and from a node.

    :raises NotFound: no proxy names it; with the nearest name there is.
    """
    known = nodes_of(proxy.spec for proxy in proxies)
    if node not in known:
        has = f"there are: {', '.join(known[:20])}" if known else "no proxy names one; give proxies `from` and `to`"
        raise NotFound(f"no proxy names the node {node[:100]!r}{nearest(node, known)}; {has}")
    return [proxy for proxy in proxies if node in (proxy.spec.from_node, proxy.spec.to_node)]


def verb_fault(verb: Verb, lasts: float | None, node: str | None = None) -> FaultSpec:
    """The fault that crashes or pauses a proxy's server, or a whole node, for `lasts` seconds or until healed.

    Crashed, everything is reset and refused; paused, everything is held and then goes on.
    """
    name = verb if node is None else f"{verb}:{node}"
    settings = Refuse(existing="reset") if verb == "crash" else Pause()
    return FaultSpec(name=name, settings=settings, placement=Placement(direction="both", ttl=lasts))


def _node(name: str, proxies: Iterable[ProxyStatus]) -> Node:
    beside = [proxy for proxy in proxies if name in (proxy.spec.from_node, proxy.spec.to_node)]
    state: Literal["up", "crashed", "paused"] = "up"
    if any(proxy.spec.fault(f"crash:{name}") for proxy in beside):
        state = "crashed"
    elif any(proxy.spec.fault(f"pause:{name}") for proxy in beside):
        state = "paused"
    return Node(
        name,
        serves=tuple(proxy.spec.name for proxy in beside if proxy.spec.to_node == name),
        uses=tuple(proxy.spec.name for proxy in beside if proxy.spec.from_node == name),
        state=state,
    )


def _carried(proxy: ProxyStatus) -> Iterator[tuple[str, str, Direction]]:
    """Who sends to whom through a proxy, and which way that is."""
    client, server = proxy.spec.from_node, proxy.spec.to_node
    if client and server and client != server:
        yield client, server, "upstream"
        yield server, client, "downstream"
