"""The routes of the native API, bound to the running program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, partial

from aiohttp import web

from chaosproxy.control.v1 import about
from chaosproxy.control.v1.context import Api
from chaosproxy.control.v1.leases import LEASE_HEADER
from chaosproxy.control.v1.openapi import openapi_document
from chaosproxy.control.v1.routes import ROUTES
from chaosproxy.control.v1.routes import Route as V1Route
from chaosproxy.control.web import Route
from chaosproxy.errors import InvalidInput, Problem

__all__ = ["INDEX", "v1_routes"]

_WITH_FAULTS = ("Proxy", "ProxyPatch")
"""The bodies that make faults, which no lease can hold."""

INDEX = "/v1/openapi.json"


def v1_routes(api: Api) -> Iterator[Route]:
    """Yield every route of /v1, for `web.make_app`. HEAD runs the handler of GET, unless the response is a stream.

    The response to a change is sent when the change acts on every connection.
    """
    for route in ROUTES:
        handler = partial(route.handler, api) if route.method == "GET" else partial(_changing, route, api)
        head = handler if route.method == "GET" and not route.streams else None
        stop = api.events.close if route.streams else None
        yield Route(method=route.method, path=route.path, handler=handler, head=head, media=route.media, stop=stop)
    document = _document()
    about.fault_types()

    async def show_openapi(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=document, content_type="application/json", charset="utf-8")

    yield Route(method="GET", path=INDEX, handler=show_openapi, head=show_openapi)


async def _changing(route: V1Route, api: Api, request: web.Request) -> web.StreamResponse:
    if LEASE_HEADER in request.headers and route.takes in _WITH_FAULTS:
        message = "does not apply to a proxy with its faults; make the faults with requests of their own"
        raise InvalidInput([Problem((LEASE_HEADER,), "not-applicable", message)])
    if not route.settles:
        return await route.handler(api, request)
    try:
        return await route.handler(api, request)
    finally:  # a change may also take effect and be refused in part, such as one after which an address is lost
        await api.supervisor.settled()


@cache
def _document() -> bytes:
    """Return the rendered OpenAPI document, which is always the same."""
    return json.dumps(openapi_document()).encode()
