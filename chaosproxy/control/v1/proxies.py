"""Handlers for /v1/proxies and /v1/connections."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile
from urllib.parse import quote

from aiohttp import web

from chaosproxy.control.listeners import real_address
from chaosproxy.control.policy import forbidden
from chaosproxy.control.status import connection_status
from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.parsing import against_state, merged_proxy, new_proxy
from chaosproxy.control.v1.schemas import Json
from chaosproxy.control.v1.views import connection_id, connection_view, proxy_view
from chaosproxy.control.web.body import read_object, read_query
from chaosproxy.control.web.problem import Refused
from chaosproxy.control.web.rendering import PAGE, json_response, list_response, page_of, read_page
from chaosproxy.control.web.turns import parsed
from chaosproxy.declare import Choice
from chaosproxy.endings import Ending
from chaosproxy.errors import BadValue, Conflict, InvalidInput, NotFound, Problem, shown
from chaosproxy.model import Address, ProxySpec
from chaosproxy.model.settings import MOST_PROXIES
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
    page = read_page(read_query(request, *PAGE))
    views = ((proxy.spec.name, _view(api, proxy)) for proxy in api.proxies_after(page.after))
    return await list_response(request, "proxies", await page_of(request, page, views))


async def add_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    spec = await parsed(request, new_proxy, await read_object(request))
    _obey_policy(api, spec, None)
    if len(api.supervisor.proxies()) >= MOST_PROXIES:
        raise Conflict(f"there are {MOST_PROXIES} proxies, which is the most; remove some first", "too-large")
    with against_state():
        proxy = await api.supervisor.add_proxy(spec, BY)
    location = f"/v1/proxies/{quote(spec.name, safe='')}"
    return await json_response(request, _view(api, proxy), status=201, headers={"Location": location})


async def show_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return await json_response(request, _view(api, api.supervisor.proxy(request.match_info["proxy"])))


async def change_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    patch = await read_object(request)
    before = _settings(api.supervisor.proxy(request.match_info["proxy"]))
    prepared = await parsed(request, merged_proxy, *before, patch)

    def merge(proxy: Proxy) -> ProxySpec:
        now = _settings(proxy)
        wanted = prepared if now == before else merged_proxy(*now, patch)
        _obey_policy(api, wanted, proxy.spec)
        return wanted

    with against_state():
        proxy = await api.supervisor.merge_proxy(request.match_info["proxy"], merge, BY)
    return await json_response(request, _view(api, proxy))


async def remove_proxy(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    await api.supervisor.remove_proxy(proxy.spec.name, BY)
    return web.Response(status=204)


async def list_connections(api: Api, request: web.Request) -> web.StreamResponse:
    query = read_query(request, "proxy", *PAGE)
    page = read_page(query)
    proxies = iter([api.supervisor.proxy(query["proxy"])]) if "proxy" in query else api.proxies_after(None)
    found = (
        (connection_id(proxy.spec.name, connection.ordinal), connection_view(connection_status(connection)))
        for proxy, connection in _connections(proxies, page.after)
    )
    return await list_response(request, "connections", await page_of(request, page, found))


def _connections(proxies: Iterator[Proxy], after: str | None) -> Iterator[tuple[Proxy, Connection]]:
    """Yield the open connections of proxies, in the order in which they were accepted, from one of them on.

    A connection is yielded only if it is still open when its turn has come.

    :raises NotFound: none of the proxies has the connection `after`, which may have been closed.
    """
    name, _, number = ("", "", "0") if after is None else after.rpartition(":")
    ordinal = int(number) if number.isascii() and number.isdigit() and len(number) < 20 else 0
    if after is not None:
        proxies = dropwhile(lambda proxy: proxy.spec.name != name, proxies)
    is_found = after is None
    for proxy in proxies:
        for connection in list(proxy.connections.values()):
            is_open = proxy.connections.get(connection.ordinal) is connection
            if is_open and (connection.ordinal > ordinal or proxy.spec.name != name):
                yield proxy, connection
        is_found = True
    if not is_found:
        raise NotFound(f"{shown(after)} is not a connection of these proxies; begin again without `after`")


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


def _settings(proxy: Proxy) -> tuple[ProxySpec, Address]:
    """Return the settings of a proxy that a patch is merged into, as plain values."""
    return proxy.spec, real_address(proxy)


def _view(api: Api, proxy: Proxy) -> Json:
    return proxy_view(api.supervisor.proxy_status(proxy), api.wall)


def _find_connection(api: Api, given: str) -> Connection:
    proxy, colon, ordinal = given.rpartition(":")
    if not colon:
        message = f"{given[:100]!r} is not the id of a connection, such as db-primary:7"
        raise NotFound(f"{message}; GET /v1/connections lists the ids")
    open_ones = api.supervisor.proxy(proxy).connections
    if ordinal.isascii() and ordinal.isdigit() and len(ordinal) < 20 and str(int(ordinal)) == ordinal:
        if (connection := open_ones.get(int(ordinal))) is not None:
            return connection
    raise NotFound(f"connection {given[:100]!r} is not open; GET /v1/connections lists the open ones")


def _obey_policy(api: Api, wanted: ProxySpec, present: ProxySpec | None) -> None:
    if problems := forbidden(api.policy, wanted, present):
        detail = "; ".join(str(problem) for problem in problems)
        raise Refused(403, "Forbidden by policy", "forbidden-by-policy", detail, errors=problems)
