"""/metrics: a Prometheus registry, in the format that the scraper asks for."""

from __future__ import annotations

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from chaosproxy.control.web.route import Route, headers_only

__all__ = ["metrics_routes"]


def metrics_routes(registry: CollectorRegistry) -> list[Route]:
    """Return the route of /metrics: Prometheus' text format, or OpenMetrics where the scraper asks for it."""

    async def show_metrics(request: web.Request) -> web.StreamResponse:
        encode, media = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(registry), headers={hdrs.CONTENT_TYPE: media})

    async def show_media(request: web.Request) -> web.StreamResponse:
        """Collecting asks the kernel about every filter and many sockets: HEAD spares that, and gives no length."""
        _, media = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return headers_only(media)

    return [Route(method="GET", path="/metrics", handler=show_metrics, head=show_media)]
