"""The table of all routes, from which the server and the OpenAPI document are made.

A Route is an Operation, as the document describes it, and its handler. The name of the handler is the id of the
operation. The components that `takes` and `gives` name are in `schemas`, `event_schemas` and `lease_schemas`; their
rules are tested against the handlers. Status codes that any route may respond with are in `openapi`. The operations of
the server itself, such as /healthz, have their handlers in `control.web`.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.control.selection import HEALED
from chaosproxy.control.v1 import about, events, faults, leases, nodes, partitions, proxies, reactions
from chaosproxy.control.v1.context import Handler
from chaosproxy.control.v1.event_schemas import EVENT_PARAMETERS, REACTION_PARAMETERS, Json
from chaosproxy.control.v1.lease_schemas import LEASE_PARAMETER
from chaosproxy.control.web.rendering import PAGE

__all__ = ["ROUTES", "SERVER_OPERATIONS", "Operation", "Route"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path, as the OpenAPI document describes it."""

    method: str
    path: str
    summary: str
    takes: str | None = None
    """The component schema of the request's body; None if it has none."""
    needs_body: bool = True
    gives: dict[int, str | None]
    """The component schema of each successful response, by status code; None if it has no JSON body."""
    refuses: tuple[int, ...] = ()
    """Status codes of problems, in addition to those that every route may respond with."""
    has_location: bool = True
    """True if a response with status 201 has a Location header with the address of the new resource."""
    query: tuple[str, ...] = ()
    parameters: tuple[Json, ...] = ()
    """Parameters of query and header that need more words than a name in `query`, as OpenAPI writes them."""
    media: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Operation):
    """An operation and its handler."""

    handler: Handler
    streams: bool = False
    """True if the response of GET is an endless stream, so that HEAD must not run the handler."""
    settles: bool = True
    """False if a change has no effect on connections, for which its response would wait."""


ROUTES = (
    Route(
        method="GET", path="/v1/proxies", handler=proxies.list_proxies,
        summary="List proxies.", gives={200: "ProxyList"}, refuses=(404,), query=PAGE,
    ),
    Route(
        method="POST", path="/v1/proxies", handler=proxies.add_proxy,
        summary="Add a proxy with its faults.", takes="Proxy", gives={201: "Proxy"}, refuses=(409,),
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
        summary="List a proxy's faults, in the order they act.", gives={200: "FaultList"}, refuses=(404,), query=PAGE,
    ),
    Route(
        method="POST", path="/v1/proxies/{proxy}/faults", handler=faults.add_fault,
        summary="Add a fault; without a name, it gets a free one.", takes="Fault", gives={201: "Fault"},
        refuses=(404, 409),
        parameters=LEASE_PARAMETER,
    ),
    Route(
        method="GET", path="/v1/proxies/{proxy}/faults/{fault}", handler=faults.show_fault,
        summary="Show a fault.", gives={200: "Fault"}, refuses=(404,),
    ),
    Route(
        method="PUT", path="/v1/proxies/{proxy}/faults/{fault}", handler=faults.put_fault,
        summary="Add a fault (201) or replace it (200).", takes="NamedFault", gives={200: "Fault", 201: "Fault"},
        refuses=(404, 409),
        parameters=LEASE_PARAMETER,
    ),
    Route(
        method="DELETE", path="/v1/proxies/{proxy}/faults/{fault}", handler=faults.remove_fault,
        summary="Remove a fault and release everything that it holds.", gives={204: None}, refuses=(404, 409),
    ),
    Route(
        method="POST", path="/v1/faults", handler=faults.add_faults,
        summary="Add one fault to several proxies, selected by `proxies`, `service` or `node`: to all or none.",
        takes="FaultsRequest", gives={201: "FaultsResponse"}, refuses=(404, 409), has_location=False,
        parameters=LEASE_PARAMETER,
    ),
    Route(
        method="POST", path="/v1/heal", handler=faults.heal,
        summary="Remove every fault and partition, or the faults of some proxies, or one partition.",
        takes="HealRequest", needs_body=False, gives={200: "HealResponse"}, refuses=(404, 409), query=HEALED,
    ),
    Route(
        method="GET", path="/v1/partitions", handler=partitions.list_partitions,
        summary="List partitions.", gives={200: "PartitionList"}, refuses=(404,), query=PAGE,
    ),
    Route(
        method="POST", path="/v1/partitions", handler=partitions.add_partition,
        summary="Cut nodes off from each other, on all proxies between them at once.", takes="PartitionRequest",
        gives={201: "Partition"}, refuses=(404, 409),
        parameters=LEASE_PARAMETER,
    ),
    Route(
        method="GET", path="/v1/partitions/{partition}", handler=partitions.show_partition,
        summary="Show a partition.", gives={200: "Partition"}, refuses=(404,),
    ),
    Route(
        method="DELETE", path="/v1/partitions/{partition}", handler=partitions.remove_partition,
        summary="Heal a partition; proxies that others cut stay cut.", gives={204: None}, refuses=(404, 409),
    ),
    Route(
        method="GET", path="/v1/leases", handler=leases.list_leases,
        summary="List leases.", gives={200: "LeaseList"}, refuses=(404,), query=PAGE,
    ),
    Route(
        method="POST", path="/v1/leases", handler=leases.add_lease,
        summary="Make a lease; what is made under it is removed when it is not renewed.", takes="LeaseRequest",
        gives={201: "Lease"}, refuses=(409,), settles=False,
    ),
    Route(
        method="GET", path="/v1/leases/{lease}", handler=leases.show_lease,
        summary="Show a lease.", gives={200: "Lease"}, refuses=(404,),
    ),
    Route(
        method="PUT", path="/v1/leases/{lease}", handler=leases.renew_lease,
        summary="Renew a lease: it lasts for its ttl from now on.", takes="LeaseRenewal", needs_body=False,
        gives={200: "Lease"}, refuses=(404,), settles=False,
    ),
    Route(
        method="DELETE", path="/v1/leases/{lease}", handler=leases.release_lease,
        summary="End a lease, and remove what was made under it.", gives={200: "HealResponse"}, refuses=(404, 409),
    ),
    Route(
        method="GET", path="/v1/nodes", handler=nodes.show_nodes,
        summary="List nodes, and which of them can reach each other now.", gives={200: "Nodes"}, refuses=(404,),
        query=PAGE,
    ),
    Route(
        method="POST", path="/v1/nodes/{node}/crash", handler=nodes.crash_node,
        summary="Reset and refuse all connections to and from a node; `down` is the duration.", takes="CrashRequest",
        needs_body=False, gives={200: "VerbResponse"}, refuses=(404,),
        parameters=LEASE_PARAMETER,
    ),
    Route(
        method="POST", path="/v1/nodes/{node}/pause", handler=nodes.pause_node,
        summary="Hold all data to and from a node; `for` is the duration.", takes="PauseRequest",
        needs_body=False, gives={200: "VerbResponse"}, refuses=(404,),
        parameters=LEASE_PARAMETER,
    ),
    Route(
        method="POST", path="/v1/proxies/{proxy}/crash", handler=nodes.crash_proxy,
        summary="Reset and refuse all connections through a proxy; `down` is the duration.", takes="CrashRequest",
        needs_body=False, gives={200: "VerbResponse"}, refuses=(404,),
        parameters=LEASE_PARAMETER,
    ),
    Route(
        method="POST", path="/v1/proxies/{proxy}/pause", handler=nodes.pause_proxy,
        summary="Hold all data through a proxy; `for` is the duration.", takes="PauseRequest",
        needs_body=False, gives={200: "VerbResponse"}, refuses=(404,),
        parameters=LEASE_PARAMETER,
    ),
    Route(
        method="GET", path="/v1/capabilities", handler=about.show_capabilities,
        summary="List kernel features, and how to get those that are not available.", gives={200: "Capabilities"},
    ),
    Route(
        method="GET", path="/v1/connections", handler=proxies.list_connections,
        summary="List open connections.", gives={200: "ConnectionList"}, refuses=(404,), query=("proxy", *PAGE),
    ),
    Route(
        method="DELETE", path="/v1/connections/{connection}", handler=proxies.close_connection,
        summary="End a connection: how=close (the default) or how=reset.", gives={204: None}, refuses=(404,),
        query=("how",),
    ),
    Route(
        method="GET", path="/v1/reactions", handler=reactions.show_reactions,
        summary="Tell what clients and servers did about the faults.", gives={200: "Reactions"}, refuses=(404,),
        parameters=REACTION_PARAMETERS,
    ),
    Route(
        method="GET", path="/v1/events", handler=events.stream_events,
        summary="Stream the events of proxies, faults and connections, as Server-Sent Events.",
        gives={200: "EventStream"}, refuses=(404,), parameters=EVENT_PARAMETERS, media=events.MEDIA, streams=True,
    ),
    Route(
        method="GET", path="/v1/fault-types", handler=about.show_fault_types,
        summary="List fault types, each with its JSON Schema.", gives={200: "FaultTypeList"},
    ),
    Route(
        method="GET", path="/v1/status", handler=about.show_status,
        summary="Show everything that runs: version, seed, proxies, connections, faults.", gives={200: "Status"},
        refuses=(404,), query=PAGE,
    ),
)  # fmt: skip

SERVER_OPERATIONS = {
    "metrics": Operation(
        method="GET", path="/metrics", summary="Prometheus metrics.", gives={200: None}, media="text/plain",
    ),
    "show_health": Operation(
        method="GET", path="/healthz", summary="Check that the process responds.", gives={200: "Health"},
    ),
    "show_readiness": Operation(
        method="GET", path="/readyz", summary="Check that every enabled proxy listens.",
        gives={200: "Readiness", 503: "Readiness"},
    ),
}  # fmt: skip
"""The operations of the server itself, by operation id; the OpenAPI document describes them too."""
