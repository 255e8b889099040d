"""Handlers for /v1/status, /v1/capabilities and /v1/fault-types."""

from __future__ import annotations

import time

from aiohttp import web

from chaosproxy import __version__
from chaosproxy.control.v1.context import Api
from chaosproxy.control.v1.views import capabilities_view, fault_type_view, status_view
from chaosproxy.control.web.body import read_query
from chaosproxy.model.types import FAULT_TYPES

__all__ = ["show_capabilities", "show_fault_types", "show_status"]


async def show_status(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    status = api.supervisor.status()
    about = {
        "version": __version__,
        "seed": status.seed,
        "uptime_s": round(time.monotonic() - api.started_at, 3),
        "loop": api.loop_name,
    }
    return web.json_response({**about, **status_view(status, api.wall)})


async def show_capabilities(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return web.json_response(capabilities_view(api.supervisor.kernel.all()))


async def show_fault_types(_api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return web.json_response({"fault_types": [fault_type_view(fault) for fault in FAULT_TYPES.values()]})
