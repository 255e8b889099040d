"""The nodes that proxies name, and which of them can reach each other now. Pure: derived from the status of proxies."""

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
    """A node, and the proxies to and from it."""

    name: str
    serves: tuple[str, ...]
    """The proxies whose server it is."""
    uses: tuple[str, ...]
    """The proxies whose client it is."""
    state: Literal["up", "crashed", "paused"]


def nodes(proxies: Sequence[ProxyStatus]) -> list[Node]:
    """Return every node that a proxy names, in the order in which they are first named."""
    return [_node(name, proxies) for name in nodes_of(proxy.spec for proxy in proxies)]


def matrix(proxies: Sequence[ProxyStatus]) -> dict[str, dict[str, bool | None]]:
    """Return whether data from one node reaches another now, by [sender][receiver]; None if no proxy connects them."""
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
    """Return the proxies to and from a node.

    :raises NotFound: no proxy names it; the message has the nearest name.
    """
    known = nodes_of(proxy.spec for proxy in proxies)
    if node not in known:
        has = f"known nodes: {', '.join(known[:20])}" if known else "add `from` and `to` to proxies"
        raise NotFound(f"no proxy names the node {node[:100]!r}{nearest(node, known)}; {has}")
    return [proxy for proxy in proxies if node in (proxy.spec.from_node, proxy.spec.to_node)]


def verb_fault(verb: Verb, lasts: float | None, node: str | None = None) -> FaultSpec:
    """Return the fault that crashes or pauses a proxy's server, or a whole node, for `lasts` seconds or until healed.

    A crash resets open connections and refuses new ones. A pause holds everything, and releases it at the end.
    """
    name = verb if node is None else f"{verb}:{node}"
    settings = Refuse(existing="reset") if verb == "crash" else Pause()
    return FaultSpec(name=name, settings=settings, placement=Placement(direction="both", ttl=lasts))


def _node(name: str, proxies: Iterable[ProxyStatus]) -> Node:
    nearby = [proxy for proxy in proxies if name in (proxy.spec.from_node, proxy.spec.to_node)]
    state: Literal["up", "crashed", "paused"] = "up"
    if any(proxy.spec.fault(f"crash:{name}") for proxy in nearby):
        state = "crashed"
    elif any(proxy.spec.fault(f"pause:{name}") for proxy in nearby):
        state = "paused"
    return Node(
        name,
        serves=tuple(proxy.spec.name for proxy in nearby if proxy.spec.to_node == name),
        uses=tuple(proxy.spec.name for proxy in nearby if proxy.spec.from_node == name),
        state=state,
    )


def _carried(proxy: ProxyStatus) -> Iterator[tuple[str, str, Direction]]:
    """Yield the sender, the receiver and the direction of the data that a proxy carries between two nodes."""
    client, server = proxy.spec.from_node, proxy.spec.to_node
    if client and server and client != server:
        yield client, server, "upstream"
        yield server, client, "downstream"
