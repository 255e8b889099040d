"""Running state as JSON. What is answered can be sent back: settings carry their units."""

from __future__ import annotations

from typing import Any

from chaosproxy.control.api_v1.schemas import Json, fault_schema
from chaosproxy.declare import params_of
from chaosproxy.faults.base import Fault
from chaosproxy.model import Address, FaultSpec, ProxySpec, write_fault
from chaosproxy.net.connection import Connection
from chaosproxy.net.proxy import Proxy

__all__ = [
    "bound_address",
    "connection_id",
    "connection_view",
    "fault_type_view",
    "fault_view",
    "proxy_view",
    "status_view",
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
        "faults": [fault_view(fault) for fault in spec.faults],
    }


def fault_view(fault: FaultSpec) -> Json:
    """A fault: its placement with what is default filled in, and its parameters."""
    placement = fault.placement
    filled = {"direction": placement.direction, "probability": placement.probability, "ttl": None}
    return {"name": fault.name, "type": fault.type, **filled, **write_fault(fault)}


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
    proxy = connection.proxy.spec.name
    return {
        "id": connection_id(proxy, connection.ordinal),
        "proxy": proxy,
        "ordinal": connection.ordinal,
        "client": connection.client_address,
        "open_for_s": round(connection.emitter.clock() - connection.accepted_at, 6),
        "bytes_upstream": connection.upstream.bytes,
        "bytes_downstream": connection.downstream.bytes,
    }


def status_view(proxies: list[Proxy]) -> Json:
    """What runs: every proxy with what it is bound to, and how much there is of everything."""
    return {
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
        "faults": [fault_view(fault) for fault in spec.faults],
    }


def _plain(spec: ProxySpec, attribute: str, kind: Any) -> object:  # Any: one of declare's kinds
    value = getattr(spec, attribute)
    return None if value is None else kind.write(value)
