"""The routes /healthz (the process responds) and /readyz (every enabled proxy listens)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from chaosproxy.control.web.route import Route

__all__ = ["ALIVE_PATH", "OPEN_PATHS", "health_routes"]

ALIVE_PATH = "/healthz"
OPEN_PATHS = (ALIVE_PATH, "/readyz")
"""Paths that need no token, since probes send none."""


def health_routes(waiting_for: Callable[[], Mapping[str, str]]) -> list[Route]:
    """Return both routes; `waiting_for` returns the proxies that shall listen and do not, with the reasons."""

    async def show_health(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "alive"})

    async def show_readiness(_request: web.Request) -> web.StreamResponse:
        reasons = dict(waiting_for())
        state = {"status": "not ready" if reasons else "ready", "waiting_for": list(reasons), "reasons": reasons}
        return web.json_response(state, status=503 if reasons else 200)

    alive, ready = OPEN_PATHS
    return [
        Route(method="GET", path=alive, handler=show_health, head=show_health),
        Route(method="GET", path=ready, handler=show_readiness, head=show_readiness),
    ]
