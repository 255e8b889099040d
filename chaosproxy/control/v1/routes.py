"""Every route, once: the server and the OpenAPI document are both made from this table."""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.control.v1 import about, faults, nodes, partitions, proxies
from chaosproxy.control.v1.context import Handler

__all__ = ["BESIDE", "ROUTES", "Operation", "Route"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path, as the OpenAPI document describes it."""

    method: str
    path: str
    summary: str
    takes: str | None = None
    """The component schema of the body, if there is one."""
    needs_body: bool = True
    gives: dict[int, str | None]
    """The component schema of each good answer, None where it has no body."""
    refuses: tuple[int, ...] = ()
    """Status codes of problems, beside those that every route may answer with."""
    has_location: bool = True
    """A response with status 201 names the address of the new resource."""
    query: tuple[str, ...] = ()
    media: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Operation):
    """An operation and the handler that carries it out."""

    handler: Handler
    streams: bool = False
    """The response of a GET has no end, so HEAD must not run the handler."""


ROUTES = (
    Route(
        method="GET", path="/v1/proxies", handler=proxies.list_proxies,
        summary="List proxies.", gives={200: "ProxyList"},
    ),
    Route(
        method="POST", path="/v1/proxies", handler=proxies.add_proxy,
        summary="Add a proxy, its faults with it.", takes="Proxy", gives={201: "Proxy"}, refuses=(409,),
    ),
    Route(
        method="GET", path="/v1/proxies/{proxy}", handler=proxies.show_proxy,
        summary="Show a proxy.", gives={200: "Proxy"}, refuses=(404,),
    ),
    Route(
        method="PATCH", path="/v1/proxies/{proxy}", handler=proxies.change_proxy,
        summary="Change a proxy by a merge patch (RFC 7396).", takes="ProxyPatch", gives={200: "Proxy"},
        refuses=(404, 409),
    ),
    Route(
        method="DELETE", path="/v1/proxies/{proxy}", handler=proxies.remove_proxy,
        summary="Remove a proxy and end its connections.", gives={204: None}, refuses=(404,),
    ),
    Route(
        method="GET", path="/v1/proxies/{proxy}/faults", handler=faults.list_faults,
        summary="List a proxy's faults, in the order they act.", gives={200: "FaultList"}, refuses=(404,),
    ),
    Route(
        method="POST", path="/v1/proxies/{proxy}/faults", handler=faults.add_fault,
        summary="Add a fault; without a name it is given one.", takes="Fault", gives={201: "Fault"},
        refuses=(404, 409),
    ),
    Route(
        method="GET", path="/v1/proxies/{proxy}/faults/{fault}", handler=faults.show_fault,
        summary="Show a fault.", gives={200: "Fault"}, refuses=(404,),
    ),
    Route(
        method="PUT", path="/v1/proxies/{proxy}/faults/{fault}", handler=faults.put_fault,
        summary="Add a fault (201) or replace it (200).", takes="Fault", gives={200: "Fault", 201: "Fault"},
        refuses=(404, 409),
    ),
    Route(
        method="DELETE", path="/v1/proxies/{proxy}/faults/{fault}", handler=faults.remove_fault,
        summary="Remove a fault; what it held is released.", gives={204: None}, refuses=(404,),
    ),
    Route(
        method="POST", path="/v1/faults", handler=faults.add_faults,
        summary="Add one fault to several proxies, selected by `proxies`, `service` or `node`: to all or to none.",
        takes="FaultsRequest", gives={201: "FaultsAnswer"}, refuses=(404, 409), has_location=False,
    ),
    Route(
        method="POST", path="/v1/heal", handler=faults.heal,
        summary="Remove every fault and partition, or the faults of some proxies, or one.", takes="HealRequest",
        needs_body=False, gives={200: "HealAnswer"}, refuses=(404,), query=faults.HEALED,
    ),
    Route(
        method="GET", path="/v1/partitions", handler=partitions.list_partitions,
        summary="List partitions.", gives={200: "PartitionList"},
    ),
    Route(
        method="POST", path="/v1/partitions", handler=partitions.add_partition,
        summary="Cut nodes off from each other, on all their proxies at once.", takes="PartitionRequest",
        gives={201: "Partition"}, refuses=(409,),
    ),
    Route(
        method="GET", path="/v1/partitions/{partition}", handler=partitions.show_partition,
        summary="Show a partition.", gives={200: "Partition"}, refuses=(404,),
    ),
    Route(
        method="DELETE", path="/v1/partitions/{partition}", handler=partitions.remove_partition,
        summary="Heal a partition; what others cut stays cut.", gives={204: None}, refuses=(404,),
    ),
    Route(
        method="GET", path="/v1/nodes", handler=nodes.show_nodes,
        summary="Who there is, and who can reach whom now.", gives={200: "Nodes"},
    ),
    Route(
        method="POST", path="/v1/nodes/{node}/crash", handler=nodes.crash_node,
        summary="Reset and refuse everything to and from a node; `down` says for how long.", takes="CrashRequest",
        needs_body=False, gives={200: "VerbAnswer"}, refuses=(404,),
    ),
    Route(
        method="POST", path="/v1/nodes/{node}/pause", handler=nodes.pause_node,
        summary="Hold everything to and from a node; `for` says for how long.", takes="PauseRequest",
        needs_body=False, gives={200: "VerbAnswer"}, refuses=(404,),
    ),
    Route(
        method="POST", path="/v1/proxies/{proxy}/crash", handler=nodes.crash_proxy,
        summary="Reset and refuse everything through a proxy; `down` says for how long.", takes="CrashRequest",
        needs_body=False, gives={200: "VerbAnswer"}, refuses=(404,),
    ),
    Route(
        method="POST", path="/v1/proxies/{proxy}/pause", handler=nodes.pause_proxy,
        summary="Hold everything through a proxy; `for` says for how long.", takes="PauseRequest",
        needs_body=False, gives={200: "VerbAnswer"}, refuses=(404,),
    ),
    Route(
        method="GET", path="/v1/capabilities", handler=about.show_capabilities,
        summary="What this machine's kernel allows, and how to get what it does not.", gives={200: "Capabilities"},
    ),
    Route(
        method="GET", path="/v1/connections", handler=proxies.list_connections,
        summary="List open connections.", gives={200: "ConnectionList"}, refuses=(404,), query=("proxy",),
    ),
    Route(
        method="DELETE", path="/v1/connections/{connection}", handler=proxies.close_connection,
        summary="End a connection: how=close (the default) or how=reset.", gives={204: None}, refuses=(404,),
        query=("how",),
    ),
    Route(
        method="GET", path="/v1/fault-types", handler=about.show_fault_types,
        summary="List fault types, each with its JSON Schema.", gives={200: "FaultTypeList"},
    ),
    Route(
        method="GET", path="/v1/status", handler=about.show_status,
        summary="What runs: version, seed, proxies, connections, faults.", gives={200: "Status"},
    ),
)  # fmt: skip

BESIDE = {
    "metrics": Operation(
        method="GET", path="/metrics", summary="Prometheus metrics.", gives={200: None}, media="text/plain",
    ),
    "show_health": Operation(
        method="GET", path="/healthz", summary="Whether the process answers.", gives={200: "Health"},
    ),
    "show_readiness": Operation(
        method="GET", path="/readyz", summary="Whether every enabled proxy listens.",
        gives={200: "Readiness", 503: "Readiness"},
    ),
}  # fmt: skip
"""The server's own routes by operation id, which stand beside those of /v1 and are described with them."""
