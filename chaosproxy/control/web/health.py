"""The routes /healthz (the process responds) and /readyz (every listener is bound)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from chaosproxy.control.web.route import Route

__all__ = ["OPEN_PATHS", "health_routes"]

OPEN_PATHS = ("/healthz", "/readyz")
"""Paths that need no token, since probes send none."""


def health_routes(waiting_for: Callable[[], Sequence[str]]) -> list[Route]:
    """Return both routes; `waiting_for` returns the names of proxies that are not bound yet."""

    async def show_health(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "alive"})

    async def show_readiness(_request: web.Request) -> web.StreamResponse:
        waiting = list(waiting_for())
        status = "not ready" if waiting else "ready"
        return web.json_response({"status": status, "waiting_for": waiting}, status=503 if waiting else 200)

    alive, ready = OPEN_PATHS
    return [
        Route(method="GET", path=alive, handler=show_health, head=show_health),
        Route(method="GET", path=ready, handler=show_readiness, head=show_readiness),
    ]
