"""Handlers for /v1/proxies and /v1/connections."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from chaosproxy.control.policy import forbidden
from chaosproxy.control.status import connection_status
from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.parsing import merged_proxy, new_proxy
from chaosproxy.control.v1.schemas import Json
from chaosproxy.control.v1.views import connection_id, connection_view, proxy_view
from chaosproxy.control.web.body import read_object, read_query
from chaosproxy.control.web.problem import Refused
from chaosproxy.declare import Choice
from chaosproxy.endings import Ending
from chaosproxy.errors import BadValue, InvalidInput, NotFound, Problem
from chaosproxy.model import ProxySpec
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.stream.connection import Connection

__all__ = [
    "add_proxy",
    "change_proxy",
    "close_connection",
    "list_connections",
    "list_proxies",
    "remove_proxy",
    "show_proxy",
]


async def list_proxies(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return web.json_response({"proxies": [_view(api, proxy) for proxy in api.supervisor.proxies()]})


async def add_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    spec = new_proxy(await read_object(request))
    _obey_policy(api, spec, None)
    proxy = await api.supervisor.add_proxy(spec, BY)
    location = f"/v1/proxies/{quote(spec.name, safe='')}"
    return web.json_response(_view(api, proxy), status=201, headers={"Location": location})


async def show_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return web.json_response(_view(api, api.supervisor.proxy(request.match_info["proxy"])))


async def change_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    patch = await read_object(request)

    def merge(proxy: Proxy) -> ProxySpec:
        wanted = merged_proxy(proxy, patch)
        _obey_policy(api, wanted, proxy.spec)
        return wanted

    return web.json_response(_view(api, await api.supervisor.merge_proxy(request.match_info["proxy"], merge, BY)))


async def remove_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    await api.supervisor.remove_proxy(proxy.spec.name, BY)
    return web.Response(status=204)


async def list_connections(api: Api, request: web.Request) -> web.StreamResponse:
    query = read_query(request, "proxy")
    proxies = [api.supervisor.proxy(query["proxy"])] if "proxy" in query else api.supervisor.proxies()
    found = [connection_status(connection) for proxy in proxies for connection in proxy.connections.values()]
    return web.json_response({"connections": [connection_view(one) for one in found]})


async def close_connection(api: Api, request: web.Request) -> web.StreamResponse:
    how = read_query(request, "how").get("how", "close")
    try:
        Choice("close", "reset").read(how)
    except BadValue as bad:
        raise InvalidInput([Problem(("how",), bad.code, str(bad))]) from None
    connection = _find_connection(api, request.match_info["connection"])
    if how == "reset":
        connection.reset(Ending("operator", "reset"))
    else:
        connection.close(Ending("operator", "closed"))
    return web.Response(status=204)


def _view(api: Api, proxy: Proxy) -> Json:
    return proxy_view(api.supervisor.proxy_status(proxy), api.wall)


def _find_connection(api: Api, given: str) -> Connection:
    proxy, colon, ordinal = given.rpartition(":")
    if not colon:
        message = f"{given[:100]!r} is not the id of a connection, such as db-primary:7"
        raise NotFound(f"{message}; GET /v1/connections lists the ids")
    for number, connection in api.supervisor.proxy(proxy).connections.items():
        if connection_id(proxy, number) == f"{proxy}:{ordinal}":
            return connection
    raise NotFound(f"connection {given[:100]!r} is not open; GET /v1/connections lists the open ones")


def _obey_policy(api: Api, wanted: ProxySpec, present: ProxySpec | None) -> None:
    if problems := forbidden(api.policy, wanted, present):
        detail = "; ".join(str(problem) for problem in problems)
        raise Refused(403, "Forbidden by policy", "forbidden-by-policy", detail, errors=problems)
