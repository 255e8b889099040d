"""Convert the running state to JSON.

Each function takes plain statuses (`control.status`), and returns an object that has the schema of its
name in `schemas`. A view decides nothing and reads no live object.

Settings have their units, so that a response can be sent back. Times are dates and ages on the wall clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chaosproxy.control.nodes import Passage, matrix, nodes
from chaosproxy.control.origin import Origin
from chaosproxy.control.status import (
    ConnectionStatus,
    FaultStatus,
    PartitionStatus,
    ProxyStatus,
    SideStatus,
)
from chaosproxy.control.v1.schemas import Json, fault_schema
from chaosproxy.control.wall import WallClock
from chaosproxy.control.web.rendering import Lazy
from chaosproxy.declare import params_of, write_value
from chaosproxy.faults.base import Fault
from chaosproxy.model import FaultSpec, PartitionSpec, ProxySpec, write_fault
from chaosproxy.model.partition import FLAPPING
from chaosproxy.net.kernel.capabilities import Capability
from chaosproxy.tallies import Side, TcpInfo
from chaosproxy.units import format_duration

__all__ = [
    "capabilities_view",
    "connection_id",
    "connection_view",
    "fault_type_view",
    "fault_view",
    "faults_view",
    "nodes_view",
    "partition_view",
    "proxy_status_view",
    "proxy_view",
    "verb_view",
]


MOST_SHOWN = 1_000
"""The most pairs, and the most proxies, that the view of a partition lists."""
MOST_FULL = 50
"""The most nodes between which `reach` has every pair; beyond, it has those that a proxy connects."""


def proxy_view(proxy: ProxyStatus, wall: WallClock) -> Json:
    """Return a proxy: every setting, the address it is bound to, and its faults."""
    spec = proxy.spec
    settings = {param.name: _plain(spec, param.attribute, param.kind) for param in params_of(ProxySpec)}
    return {
        "name": spec.name,
        **settings,
        "listen": str(proxy.listen),
        **_listening(proxy),
        **_traffic(proxy),
        "partitions": list(proxy.partitions),
        "faults": Lazy(fault_view(fault, wall) for fault in proxy.faults),
        **origin_view(proxy.origin, wall),
    }


def fault_view(fault: FaultStatus, wall: WallClock) -> Json:
    """Return a fault: its placement including defaults, its parameters, and its resolved mode."""
    spec, placement = fault.spec, fault.spec.placement
    filled: Json = {"direction": placement.direction, "ttl": None}
    if not spec.settings.at_listener:
        filled["probability"] = placement.probability
    view = {"name": spec.name, "type": spec.type, **filled, **write_fault(spec)}
    if fault.mode is not None:
        view |= {"effective_mode": fault.mode, "mode_reason": fault.why or None}
    if fault.attempts_obstacle is not None:
        view |= _visibility([fault.attempts_obstacle])
    return view | origin_view(fault.origin, wall)


def origin_view(origin: Origin, wall: WallClock) -> Json:
    """Return the maker and the age of a proxy, a fault or a partition."""
    return {"by": origin.by, "since": wall.date(origin.since), "age_s": wall.age(origin.since)}


def faults_view(name: str, placed: Iterable[tuple[str, FaultStatus]], wall: WallClock) -> Json:
    """Return one fault as it acts on each of several proxies."""
    return {"name": name, "faults": Lazy({"proxy": proxy, "fault": fault_view(fault, wall)} for proxy, fault in placed)}


def partition_view(partition: PartitionStatus, wall: WallClock) -> Json:
    """Return a partition: every setting, the pairs that it cuts, and its mode on each proxy."""
    spec = partition.spec
    settings = {param.name: _plain(spec, param.attribute, param.kind) for param in params_of(PartitionSpec)}
    if spec.preset != "flaky-link":
        settings |= dict.fromkeys(FLAPPING)  # they are refused without it, and a response can be sent back
    age = wall.age(partition.origin.since)
    return {
        "id": spec.id,
        **settings,
        "effective_mode": partition.modes[0] if len(partition.modes) == 1 else "mixed" if partition.modes else None,
        "mode_reason": partition.why or None,
        "is_cut": partition.is_cut,
        "cut": [list(pair) for pair in partition.pairs[:MOST_SHOWN]],
        "proxies": [
            {"proxy": part.proxy, "effective_mode": part.mode, "mode_reason": part.why or None}
            for part in partition.parts[:MOST_SHOWN]
        ],
        **_more("cut_more", len(partition.cut)),
        **_more("proxies_more", len(partition.parts)),
        **_visibility(part.attempts_obstacle for part in partition.parts),
        **origin_view(partition.origin, wall),
        "heals_after_s": None if partition.lasts is None else round(max(0.0, partition.lasts - age), 3),
    }


def _more(key: str, count: int) -> Json:
    """Return the number of items of a list that are not shown, under `key`; nothing if all are."""
    return {key: count - MOST_SHOWN} if count > MOST_SHOWN else {}


def nodes_view(passages: Sequence[Passage]) -> list[tuple[str, Json, Json]]:
    """Return each node's name, the node, and whether data from it reaches the other nodes now."""
    found = nodes(passages)
    rows = matrix(passages, sparse=len(found) > MOST_FULL)
    return [
        (
            node.name,
            {"name": node.name, "state": node.state, "serves": list(node.serves), "uses": list(node.uses)},
            rows[node.name],
        )
        for node in found
    ]


def verb_view(fault: FaultSpec, placed: Sequence[tuple[str, FaultStatus]]) -> Json:
    """Return the fault that a crash or a pause has added, and its proxies."""
    ttl = None if fault.placement.ttl is None else format_duration(fault.placement.ttl)
    obstacles = [one.attempts_obstacle for _, one in placed if one.attempts_obstacle is not None]
    view: Json = {"fault": fault.name, "type": fault.type, "ttl": ttl, "proxies": [proxy for proxy, _ in placed]}
    return view | _visibility(obstacles) if obstacles else view


def capabilities_view(capabilities: Iterable[Capability]) -> Json:
    """Return the kernel features, and how to get those that are not available."""
    return {"capabilities": [one.view() for one in capabilities]}


def connection_id(proxy: str, ordinal: int) -> str:
    """Return `<proxy>:<ordinal>`; the name of a proxy may contain colons, an ordinal does not."""
    return f"{proxy}:{ordinal}"


def connection_view(connection: ConnectionStatus) -> Json:
    """Return an open connection; times in seconds, sizes in bytes."""
    return {
        "id": connection_id(connection.proxy, connection.ordinal),
        "proxy": connection.proxy,
        "ordinal": connection.ordinal,
        "client": connection.client_address,
        "open_for_s": round(connection.open_for_s, 6),
        "bytes_upstream": connection.bytes_upstream,
        "bytes_downstream": connection.bytes_downstream,
        "shape": connection.shape,
        "turns": connection.turns,
        "turn_open_for_s": None if connection.turn_open_for_s is None else round(connection.turn_open_for_s, 6),
        "held_upstream": connection.held["upstream"],
        "held_downstream": connection.held["downstream"],
        "faults": [*connection.faults],
        "last_activity_s": min((one.received_ago for one in connection.tcp.values() if one is not None), default=None),
        "tcp_client": _tcp_view(connection.tcp["client"]),
        "tcp_server": _tcp_view(connection.tcp["server"]),
        "first": connection.first,
        **_side_view("client", connection.client),
        **_side_view("server", connection.server),
    }


def _tcp_view(info: TcpInfo | None) -> Json | None:
    """Return the kernel's statistics of a socket."""
    if info is None:
        return None
    return {
        "rtt_s": info.rtt, "unacked": info.unacked, "retransmits": info.retransmits, "backoff": info.backoff,
        "received_ago_s": info.received_ago,
    }  # fmt: skip


def _side_view(side: Side, end: SideStatus | None) -> Json:
    """Return how and when one side of a connection ended, and which fault holds this end; nulls if it has not ended."""
    return {
        f"{side}_ended_s": None if end is None else round(end.after_s, 6),
        f"{side}_how": None if end is None else end.how,
        f"{side}_held_by": None if end is None else end.held_by,
    }


def fault_type_view(fault: type[Fault]) -> Json:
    """Return a fault type, and the JSON Schema of a fault of that type."""
    return {
        "type": fault.type,
        "depth": fault.depth,
        "summary": fault.summary,
        "models": fault.models,
        "example": fault.example,
        "schema": fault_schema(fault.type),
    }


def proxy_status_view(proxy: ProxyStatus, wall: WallClock) -> Json:
    """Return a proxy as the status shows it: its addresses, its traffic and its faults."""
    spec = proxy.spec
    return {
        "name": spec.name,
        "protocol": spec.protocol,
        "listen": str(proxy.listen),
        "listening_on": [str(address) for address in proxy.listening_on],
        **_listening(proxy),
        "upstream": str(spec.upstream),
        "enabled": spec.enabled,
        **_traffic(proxy),
        "partitions": list(proxy.partitions),
        "faults": Lazy(fault_view(fault, wall) for fault in proxy.faults),
        **origin_view(proxy.origin, wall),
    }


def _traffic(proxy: ProxyStatus) -> Json:
    """Return the open connections of a proxy, and its bytes and turns so far."""
    return {
        "connections": proxy.connections,
        "bytes_upstream": proxy.bytes_upstream,
        "bytes_downstream": proxy.bytes_downstream,
        "turns": {**proxy.turns},
    }


def _listening(proxy: ProxyStatus) -> Json:
    """Return whether clients can use the proxy's address, faults aside, and the reason if they cannot."""
    return {"listening": not proxy.not_listening, "listening_reason": proxy.not_listening or None}


def _visibility(obstacles: Iterable[str]) -> Json:
    """Return whether connection attempts are visible on proxies where a fault keeps clients from connecting."""
    obstacle = next(filter(None, obstacles), None)
    return {"attempts_visible": obstacle is None, "attempts_reason": obstacle}


def _plain(spec: ProxySpec | PartitionSpec, attribute: str, kind: Any) -> object:  # Any: one of declare's kinds
    value = getattr(spec, attribute)
    return None if value is None or value == () else write_value(kind, value)
