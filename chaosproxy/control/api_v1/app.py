"""The application: routes, guards and problem documents around one supervisor."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry

from chaosproxy.control.api_v1.body import MAX_BODY
from chaosproxy.control.api_v1.context import Api
from chaosproxy.control.api_v1.guards import guard_browser, guard_token, is_loopback
from chaosproxy.control.api_v1.openapi import openapi_document
from chaosproxy.control.api_v1.problem import answer_problems
from chaosproxy.control.api_v1.routes import ROUTES, Route
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.model import ControlSpec, PolicySpec

__all__ = ["make_app"]

logger = logging.getLogger(__name__)


def make_app(
    supervisor: Supervisor,
    registry: CollectorRegistry,
    *,
    control: ControlSpec,
    policy: PolicySpec,
    loop_name: str,
) -> web.Application:
    """The control API, to be run by `AppRunner(app, access_log=None)`.

    `registry` is what /metrics shows; `loop_name` is `uvloop` or `asyncio`.
    """
    if not is_loopback(control.listen):
        protection = "with a token" if control.token else "without a token: anybody who reaches it can break things"
        logger.warning("the control API listens on %s, beyond this machine, %s", control.listen, protection)
    api = Api(supervisor=supervisor, policy=policy, loop_name=loop_name, registry=registry)
    app = web.Application(
        client_max_size=MAX_BODY,
        middlewares=[answer_problems, guard_browser(control), guard_token(control.token)],
    )
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _bound(api, route))
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, _bound(api, route))
    document = openapi_document()

    async def show_openapi(_request: web.Request) -> web.Response:
        return web.json_response(document)

    app.router.add_get("/v1/openapi.json", show_openapi)
    return app


def _bound(api: Api, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return await route.handler(api, request)

    return handle
