"""The nodes that proxies name, and which of them can reach each other now. Pure: derived from the status of proxies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from chaosproxy.faults.base import Direction
from chaosproxy.model.partition import nodes_of
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.selection import specs_of
from chaosproxy.net.proxy import Proxy

__all__ = ["Node", "Passage", "PassageNow", "matrix", "nodes", "proxies_of"]


@dataclass(frozen=True, slots=True)
class Node:
    """A node, and the proxies to and from it."""

    name: str
    serves: tuple[str, ...]
    """The proxies whose server it is."""
    uses: tuple[str, ...]
    """The proxies whose client it is."""
    state: Literal["up", "crashed", "paused"]


class Passage(Protocol):
    """A proxy between nodes, such as a ProxyStatus."""

    @property
    def spec(self) -> ProxySpec: ...

    @property
    def severed(self) -> frozenset[Direction]:
        """The directions in which nothing passes."""
        ...


class PassageNow(NamedTuple):
    """A Passage that holds nothing else."""

    spec: ProxySpec
    severed: frozenset[Direction]


def nodes(passages: Sequence[Passage]) -> list[Node]:
    """Return every node that a proxy names, in the order in which they are first named."""
    nearby: dict[str, list[ProxySpec]] = {name: [] for name in nodes_of(one.spec for one in passages)}
    for one in passages:
        for name in {one.spec.from_node, one.spec.to_node} - {None, ""}:
            nearby[str(name)].append(one.spec)
    return [_node(name, specs) for name, specs in nearby.items()]


def matrix(passages: Sequence[Passage], *, sparse: bool = False) -> dict[str, dict[str, bool | None]]:
    """Return whether data from one node reaches another now, by [sender][receiver]; None if no proxy connects them.

    A sparse matrix has only the pairs that a proxy connects.
    """
    names = nodes_of(one.spec for one in passages)
    rows: dict[str, dict[str, bool | None]] = {
        sender: {} if sparse else {receiver: None for receiver in names if receiver != sender} for sender in names
    }
    for one in passages:
        for sender, receiver, direction in _carried(one):
            rows[sender][receiver] = rows[sender].get(receiver) or direction not in one.severed
    return rows


def proxies_of(node: str, proxies: Sequence[Proxy]) -> list[Proxy]:
    """Return the proxies to and from a node.

    :raises NotFound: no proxy names it; the message has the nearest name.
    """
    names = {spec.name for spec in specs_of(node, [proxy.spec for proxy in proxies])}
    return [proxy for proxy in proxies if proxy.spec.name in names]


def _node(name: str, specs: Sequence[ProxySpec]) -> Node:
    state: Literal["up", "crashed", "paused"] = "up"
    if any(spec.fault(f"crash:{name}") for spec in specs):
        state = "crashed"
    elif any(spec.fault(f"pause:{name}") for spec in specs):
        state = "paused"
    return Node(
        name,
        serves=tuple(spec.name for spec in specs if spec.to_node == name),
        uses=tuple(spec.name for spec in specs if spec.from_node == name),
        state=state,
    )


def _carried(proxy: Passage) -> Iterator[tuple[str, str, Direction]]:
    """Yield the sender, the receiver and the direction of the data that a proxy carries between two nodes."""
    client, server = proxy.spec.from_node, proxy.spec.to_node
    if client and server and client != server:
        yield client, server, "upstream"
        yield server, client, "downstream"
