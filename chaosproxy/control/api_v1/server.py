"""What the server says of itself: status, fault types, metrics, health."""

from __future__ import annotations

import time

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from chaosproxy import __version__
from chaosproxy.control.api_v1.body import read_query
from chaosproxy.control.api_v1.context import Api
from chaosproxy.control.api_v1.views import capabilities_view, fault_type_view, status_view
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.net.proxy import Proxy

__all__ = ["metrics", "show_capabilities", "show_fault_types", "show_health", "show_readiness", "show_status"]


async def show_status(api: Api, request: web.Request) -> web.Response:
    read_query(request)
    about = {
        "version": __version__,
        "seed": api.supervisor.seed.value,
        "uptime_s": round(time.monotonic() - api.started_at, 3),
        "loop": api.loop_name,
    }
    supervisor = api.supervisor
    now = status_view(supervisor.proxies(), supervisor.partitions.all(), supervisor.kernel)
    return web.json_response({**about, **now})


async def show_capabilities(api: Api, request: web.Request) -> web.Response:
    read_query(request)
    return web.json_response(capabilities_view(api.supervisor.kernel))


async def show_fault_types(_api: Api, request: web.Request) -> web.Response:
    read_query(request)
    return web.json_response({"fault_types": [fault_type_view(fault) for fault in FAULT_TYPES.values()]})


async def metrics(api: Api, request: web.Request) -> web.Response:
    """Prometheus' text format, or OpenMetrics where the scraper asks for it."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(api.registry), headers={"Content-Type": content_type})


async def show_health(_api: Api, _request: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


async def show_readiness(api: Api, _request: web.Request) -> web.Response:
    """Ready when every enabled proxy is bound; one that refuses by a fault is bound, too."""
    waiting = [proxy.spec.name for proxy in api.supervisor.proxies() if not _is_ready(proxy)]
    status = "not ready" if waiting else "ready"
    return web.json_response({"status": status, "waiting_for": waiting}, status=503 if waiting else 200)


def _is_ready(proxy: Proxy) -> bool:
    return bool(proxy.listening_on) or not proxy.spec.enabled
