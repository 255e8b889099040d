"""The route /metrics, which shows a Prometheus registry in the format that the scraper accepts."""

from __future__ import annotations

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from chaosproxy.control.web.route import Route, headers_only

__all__ = ["metrics_routes"]


def metrics_routes(registry: CollectorRegistry) -> list[Route]:
    """Return the route /metrics: Prometheus' text format, or OpenMetrics if the scraper accepts it."""

    async def show_metrics(request: web.Request) -> web.StreamResponse:
        encode, media = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(registry), headers={hdrs.CONTENT_TYPE: media})

    async def show_media(request: web.Request) -> web.StreamResponse:
        """Respond to HEAD without collecting: that would query the kernel. So no length is given."""
        _, media = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return headers_only(media)

    return [Route(method="GET", path="/metrics", handler=show_metrics, head=show_media)]
