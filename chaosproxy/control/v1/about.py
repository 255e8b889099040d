"""Handlers for /v1/status, /v1/capabilities and /v1/fault-types."""

from __future__ import annotations

import json
import time
from functools import cache

from aiohttp import web

from chaosproxy import __version__
from chaosproxy.control.v1.context import Api
from chaosproxy.control.v1.views import capabilities_view, fault_type_view, proxy_status_view
from chaosproxy.control.web.body import read_query
from chaosproxy.control.web.rendering import PAGE, list_response, page_of, read_page
from chaosproxy.control.web.turns import turns_of
from chaosproxy.model.types import FAULT_TYPES

__all__ = ["fault_types", "show_capabilities", "show_fault_types", "show_status"]


async def show_status(api: Api, request: web.Request) -> web.StreamResponse:
    page = read_page(read_query(request, *PAGE))
    supervisor = api.supervisor
    about = {
        "version": __version__,
        "seed": supervisor.seed.value,
        "uptime_s": round(time.monotonic() - api.started_at, 3),
        "loop": api.loop_name,
        **capabilities_view(supervisor.kernel.all()),
        "limits": [one.view() for one in api.limits()],
        "partitions": [one.spec.id for one in supervisor.partitions.all()],
        "connections": 0,
        "faults": 0,
    }
    for proxy in supervisor.proxies():
        about["connections"] += len(proxy.connections)
        about["faults"] += len(proxy.spec.faults)
        await turns_of(request).rest()
    views = (
        (proxy.spec.name, proxy_status_view(supervisor.proxy_status(proxy), api.wall))
        for proxy in api.proxies_after(page.after)
    )
    return await list_response(request, "proxies", await page_of(request, page, views), about)


async def show_capabilities(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return web.json_response(capabilities_view(api.supervisor.kernel.all()))


async def show_fault_types(_api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return web.Response(text=fault_types(), content_type="application/json")


@cache
def fault_types() -> str:
    """Return the rendered document, which is always the same."""
    return json.dumps({"fault_types": [fault_type_view(fault) for fault in FAULT_TYPES.values()]})
