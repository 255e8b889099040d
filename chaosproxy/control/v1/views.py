"""Running state as JSON. What is answered can be sent back: settings carry their units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chaosproxy.control.nodes import matrix, nodes
from chaosproxy.control.partitions import ActivePartition
from chaosproxy.control.v1.schemas import Json, fault_schema
from chaosproxy.declare import params_of, write_value
from chaosproxy.faults.base import Fault
from chaosproxy.model import Address, FaultSpec, PartitionSpec, ProxySpec, write_fault
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.stream.connection import Connection
from chaosproxy.units import format_duration

__all__ = [
    "bound_address",
    "capabilities_view",
    "connection_id",
    "connection_view",
    "fault_type_view",
    "fault_view",
    "faults_view",
    "nodes_view",
    "partition_view",
    "proxy_view",
    "status_view",
    "verb_view",
]


def proxy_view(proxy: Proxy) -> Json:
    """A proxy: every setting, the address it is bound to, and its faults."""
    spec = proxy.spec
    settings = {param.name: _plain(spec, param.attribute, param.kind) for param in params_of(ProxySpec)}
    return {
        "name": spec.name,
        **settings,
        "listen": str(bound_address(proxy)),
        "connections": len(proxy.connections),
        "partitions": proxy.partitions,
        "faults": [fault_view(proxy, fault) for fault in spec.faults],
    }


def fault_view(proxy: Proxy, fault: FaultSpec) -> Json:
    """A fault: its placement with what is default filled in, its parameters, and what `mode: auto` has become."""
    placement, active = fault.placement, proxy.active_fault(fault.name)
    filled: Json = {"direction": placement.direction, "ttl": None}
    if not fault.settings.at_listener:
        filled["probability"] = placement.probability
    view = {"name": fault.name, "type": fault.type, **filled, **write_fault(fault)}
    if active is not None and active.resolved.mode is not None:
        view |= {"effective_mode": active.resolved.mode, "mode_reason": active.resolved.why or None}
    return view


def faults_view(fault: FaultSpec, proxies: Sequence[Proxy]) -> Json:
    """Return one fault as it acts on each of several proxies."""
    placed = [{"proxy": proxy.spec.name, "fault": fault_view(proxy, fault)} for proxy in proxies]
    return {"name": fault.name, "faults": placed}


def partition_view(active: ActivePartition, now: float) -> Json:
    """A partition: every setting, what it cuts, and how it acts on each proxy."""
    spec = active.spec
    settings = {param.name: _plain(spec, param.attribute, param.kind) for param in params_of(PartitionSpec)}
    age = now - active.since
    return {
        "id": spec.id,
        **settings,
        "effective_mode": active.modes[0] if len(active.modes) == 1 else "mixed" if active.modes else None,
        "mode_reason": active.why or None,
        "is_cut": active.is_cut,
        "cut": sorted(map(list, active.cut)),
        "proxies": [
            {"proxy": name, "effective_mode": part.mode, "mode_reason": part.why or None}
            for name, part in active.parts.items()
        ],
        "by": active.by,
        "age_s": round(age, 3),
        "heals_after_s": None if active.lasts is None else round(max(0.0, active.lasts - age), 3),
    }


def nodes_view(proxies: list[Proxy]) -> Json:
    """Who there is, and whether what one sends reaches the other now."""
    return {
        "nodes": [
            {"name": node.name, "state": node.state, "serves": list(node.serves), "uses": list(node.uses)}
            for node in nodes(proxies)
        ],
        "reach": matrix(proxies),
    }


def verb_view(fault: FaultSpec, proxies: Sequence[Proxy]) -> Json:
    """What a crash or a pause has put where."""
    ttl = None if fault.placement.ttl is None else format_duration(fault.placement.ttl)
    return {"fault": fault.name, "type": fault.type, "ttl": ttl, "proxies": [proxy.spec.name for proxy in proxies]}


def capabilities_view(kernel: Capabilities) -> Json:
    """What this machine allows, and how to get what it does not."""
    return {"capabilities": [one.view() for one in kernel.all()]}


def bound_address(proxy: Proxy) -> Address:
    """Where clients connect: as desired, with the port that was picked where port 0 was asked for."""
    wanted = proxy.spec.listen
    bound = proxy.listening_on
    return Address(wanted.host, bound[0].port) if bound and not wanted.is_unix else wanted


def connection_id(proxy: str, ordinal: int) -> str:
    """`<proxy>:<ordinal>`; a proxy's name may itself hold colons, an ordinal does not."""
    return f"{proxy}:{ordinal}"


def connection_view(connection: Connection) -> Json:
    """An open connection and what it has carried; times in seconds, sizes in bytes."""
    proxy, arrivals = connection.owner.name, connection.arrivals
    client_end, server_end, first = arrivals.client, arrivals.server, arrivals.first
    return {
        "id": connection_id(proxy, connection.ordinal),
        "proxy": proxy,
        "ordinal": connection.ordinal,
        "client": connection.client_address,
        "open_for_s": round(connection.scheduler.clock() - connection.accepted_at, 6),
        "bytes_upstream": connection.upstream.bytes,
        "bytes_downstream": connection.downstream.bytes,
        "first_ended": arrivals.first_side,
        "client_ended_s": None if client_end is None else round(client_end.after_s, 6),
        "server_ended_s": None if server_end is None else round(server_end.after_s, 6),
        "held_by": None if first is None else first.held_by,
    }


def status_view(proxies: list[Proxy], partitions: list[ActivePartition], kernel: Capabilities) -> Json:
    """What runs: every proxy with what it is bound to, how much there is of everything, and what the kernel allows."""
    return {
        **capabilities_view(kernel),
        "partitions": [one.spec.id for one in partitions],
        "connections": sum(len(proxy.connections) for proxy in proxies),
        "faults": sum(len(proxy.spec.faults) for proxy in proxies),
        "proxies": [_proxy_status(proxy) for proxy in proxies],
    }


def fault_type_view(fault: type[Fault]) -> Json:
    """A fault type and the JSON Schema of a fault of that type."""
    return {
        "type": fault.type,
        "depth": fault.depth,
        "summary": fault.summary,
        "models": fault.models,
        "example": fault.example,
        "schema": fault_schema(fault.type),
    }


def _proxy_status(proxy: Proxy) -> Json:
    spec = proxy.spec
    return {
        "name": spec.name,
        "protocol": spec.protocol,
        "listen": str(bound_address(proxy)),
        "listening_on": [str(address) for address in proxy.listening_on],
        "upstream": str(spec.upstream),
        "enabled": spec.enabled,
        "connections": len(proxy.connections),
        "bytes_upstream": proxy.bytes("upstream"),
        "bytes_downstream": proxy.bytes("downstream"),
        "partitions": proxy.partitions,
        "faults": [fault_view(proxy, fault) for fault in spec.faults],
    }


def _plain(spec: ProxySpec | PartitionSpec, attribute: str, kind: Any) -> object:  # Any: one of declare's kinds
    value = getattr(spec, attribute)
    return None if value is None or value == () else write_value(kind, value)
