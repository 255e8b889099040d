"""Handlers for /v1/nodes, and for crash and pause of a node or a single proxy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from aiohttp import web

from chaosproxy.control.nodes import PassageNow, proxies_of
from chaosproxy.control.selection import put_on
from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.leases import lease_of
from chaosproxy.control.v1.parsing import duration_from
from chaosproxy.control.v1.schemas import Json
from chaosproxy.control.v1.views import nodes_view, verb_view
from chaosproxy.control.web.body import read_optional_object, read_query
from chaosproxy.control.web.rendering import PAGE, json_response, list_response, page_of, read_page
from chaosproxy.control.web.turns import turns_of
from chaosproxy.errors import NotFound, shown
from chaosproxy.faults.base import Direction
from chaosproxy.model import FaultSpec
from chaosproxy.model.verbs import Verb, verb_fault
from chaosproxy.net.proxy import Proxy

__all__ = ["crash_node", "crash_proxy", "pause_node", "pause_proxy", "show_nodes"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
FIELDS: dict[Verb, str] = {"crash": "down", "pause": "for"}
"""The key of the body with the duration, by verb."""


async def show_nodes(api: Api, request: web.Request) -> web.StreamResponse:
    page = read_page(read_query(request, *PAGE))
    turns, passages = turns_of(request), []
    for proxy in api.supervisor.proxies():
        severed = frozenset(direction for direction in DIRECTIONS if proxy.severed(direction))
        passages.append(PassageNow(proxy.spec, severed))
        await turns.rest()
    found = await turns.off_loop(nodes_view, passages)
    names = [name for name, _, _ in found]
    if page.after is not None:
        if page.after not in names:
            raise NotFound(f"no proxy names the node {shown(page.after)}; begin again without `after`")
        found = found[names.index(page.after) + 1 :]
    reach = {}

    def views() -> Iterator[tuple[str, Json]]:
        for name, node, row in found:
            yield name, node
            reach[name] = row  # the generator continues after the node only if it is on the page

    rendered = await page_of(request, page, views())
    return await list_response(request, "nodes", rendered, {"reach": reach})


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
    return await _put(api, request, verb_fault(verb, lasts, node), proxies_of(node, api.supervisor.proxies()))


async def _to_proxy(api: Api, request: web.Request, verb: Verb) -> web.StreamResponse:
    lasts = await _read_duration(request, verb)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    return await _put(api, request, verb_fault(verb, lasts), [proxy])


async def _read_duration(request: web.Request, verb: Verb) -> float | None:
    """Read the duration from the body. Look up proxies after that: they may be removed while the body arrives."""
    read_query(request)
    return duration_from(await read_optional_object(request), FIELDS[verb])


async def _put(api: Api, request: web.Request, fault: FaultSpec, proxies: Sequence[Proxy]) -> web.StreamResponse:
    lease = lease_of(api, request)
    placed = await put_on(api.supervisor, proxies, fault, BY, turns_of(request).rest, lease)
    return await json_response(request, verb_view(fault, placed))
