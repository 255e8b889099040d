"""The application: several sets of routes, with guards and problem documents around them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import hdrs, web

from chaosproxy.control.web.guards import guard_browser, guard_token, is_loopback
from chaosproxy.control.web.problem import MAX_BODY, note_begun, problem_responses
from chaosproxy.control.web.route import Handler, Route, headers_only
from chaosproxy.control.web.turns import take_turns
from chaosproxy.model import ControlSpec

__all__ = ["make_app"]

logger = logging.getLogger(__name__)


def make_app(*sets: Iterable[Route], control: ControlSpec, index: str) -> web.Application:
    """Return the application with every route of `sets`, for `listening`.

    `index` is the path of the document that describes the routes; the problem document for an unknown path names it.
    """
    if not is_loopback(control.listen):
        protection = "with a token" if control.token else "without a token: each client that reaches it has control"
        logger.warning("the control API on %s can be reached from other machines, %s", control.listen, protection)
    app = web.Application(
        client_max_size=MAX_BODY,
        middlewares=[problem_responses(index), guard_browser(control), guard_token(control.token)],
    )
    app.middlewares.append(take_turns(app))
    app.on_response_prepare.append(note_begun)
    for routes in sets:
        for route in routes:
            app.router.add_route(route.method, route.path, route.handler)
            if route.stop is not None:
                app.on_shutdown.append(_calling(route.stop))
            if route.method == hdrs.METH_GET:
                app.router.add_route(hdrs.METH_HEAD, route.path, route.head or _head_without(route))
    return app


def _calling(stop: Callable[[], None]) -> Callable[[web.Application], Awaitable[None]]:
    async def call(_app: web.Application) -> None:
        stop()

    return call


def _head_without(route: Route) -> Handler:
    """Return a handler for HEAD that does not run the route's own."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return headers_only(route.media)

    return answer
