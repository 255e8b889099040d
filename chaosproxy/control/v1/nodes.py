"""Handlers for /v1/nodes, and for crash and pause of a node or a single proxy."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from chaosproxy.control.nodes import Verb, proxies_of, verb_fault
from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.parsing import duration_from
from chaosproxy.control.v1.views import nodes_view, verb_view
from chaosproxy.control.web.body import read_optional_object, read_query
from chaosproxy.model import FaultSpec
from chaosproxy.net.proxy import Proxy

__all__ = ["crash_node", "crash_proxy", "pause_node", "pause_proxy", "show_nodes"]

FIELDS: dict[Verb, str] = {"crash": "down", "pause": "for"}
"""The key of the body with the duration, by verb."""


async def show_nodes(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return web.json_response(nodes_view(api.supervisor.status().proxies))


async def crash_node(api: Api, request: web.Request) -> web.StreamResponse:
    """Reset all connections to and from a node, and refuse new ones, until the crash ends."""
    return await _to_node(api, request, "crash")


async def pause_node(api: Api, request: web.Request) -> web.StreamResponse:
    """Hold all data to and from a node, as if its processes were stopped."""
    return await _to_node(api, request, "pause")


async def crash_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    """Reset all connections through one proxy, and refuse new ones, until the crash ends."""
    return await _to_proxy(api, request, "crash")


async def pause_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    """Hold all data through one proxy, as if its server were stopped."""
    return await _to_proxy(api, request, "pause")


async def _to_node(api: Api, request: web.Request, verb: Verb) -> web.StreamResponse:
    lasts = await _read_duration(request, verb)
    node = request.match_info["node"]
    return _put(api, verb_fault(verb, lasts, node), proxies_of(node, api.supervisor.proxies()))


async def _to_proxy(api: Api, request: web.Request, verb: Verb) -> web.StreamResponse:
    lasts = await _read_duration(request, verb)
    return _put(api, verb_fault(verb, lasts), [api.supervisor.proxy(request.match_info["proxy"])])


async def _read_duration(request: web.Request, verb: Verb) -> float | None:
    """Read the duration from the body. Look up proxies after that: they may be removed while the body arrives."""
    read_query(request)
    return duration_from(await read_optional_object(request), FIELDS[verb])


def _put(api: Api, fault: FaultSpec, proxies: Sequence[Proxy]) -> web.StreamResponse:
    api.supervisor.faults.put_on(proxies, fault, BY)
    placed = [(proxy.spec.name, api.supervisor.fault_status(proxy, fault)) for proxy in proxies]
    return web.json_response(verb_view(fault, placed))
