"""/v1/proxies/{proxy}/faults and /v1/heal: faults on running proxies."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.parsing import fault_from, free_name, read_name, same_name
from chaosproxy.control.v1.proxies import find_proxy
from chaosproxy.control.v1.views import fault_view
from chaosproxy.control.web.body import read_object, read_optional_object, read_query
from chaosproxy.declare import nearest
from chaosproxy.errors import InvalidInput, NotFound, Problem
from chaosproxy.model import FaultSpec
from chaosproxy.net.proxy import Proxy

__all__ = ["add_fault", "heal", "list_faults", "put_fault", "remove_fault", "show_fault"]

HEALED = ("proxy", "fault", "partition")
"""What can be named to be healed."""


async def list_faults(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy = find_proxy(api, request.match_info["proxy"])
    return web.json_response({"faults": [fault_view(proxy, fault) for fault in proxy.spec.faults]})


async def add_fault(api: Api, request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    proxy = find_proxy(api, request.match_info["proxy"])
    taken = {fault.name for fault in proxy.spec.faults}
    name = read_name(body["name"]) if "name" in body else free_name(body.get("type"), taken)
    fault = fault_from(body, name, proxy.spec.protocol)
    api.supervisor.add_fault(proxy.spec.name, fault, BY)
    return _created(proxy, fault)


async def show_fault(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy = find_proxy(api, request.match_info["proxy"])
    return web.json_response(fault_view(proxy, _find_fault(proxy, request.match_info["fault"])))


async def put_fault(api: Api, request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    proxy = find_proxy(api, request.match_info["proxy"])
    name = same_name(body, read_name(request.match_info["fault"]))
    fault = fault_from(body, name, proxy.spec.protocol)
    replaces = proxy.spec.fault(name) is not None
    api.supervisor.put_fault(proxy.spec.name, fault, BY)
    return web.json_response(fault_view(proxy, fault)) if replaces else _created(proxy, fault)


async def remove_fault(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy = find_proxy(api, request.match_info["proxy"])
    fault = _find_fault(proxy, request.match_info["fault"])
    api.supervisor.remove_fault(proxy.spec.name, fault.name, BY)
    return web.Response(status=204)


async def heal(api: Api, request: web.Request) -> web.StreamResponse:
    """Remove every fault and partition, or what is named: one proxy's faults, those of one name, one partition."""
    asked = {**read_query(request, *HEALED), **await read_optional_object(request)}
    problems = [
        Problem((key,), f"unknown key{nearest(key, HEALED)}; known keys: {', '.join(HEALED)}")
        for key in asked
        if key not in HEALED
    ]
    problems += [
        Problem((key,), "is not text; give a name")
        for key in HEALED
        if asked.get(key) is not None and not isinstance(asked[key], str)
    ]
    if problems:
        raise InvalidInput(problems)
    proxy, fault, partition = (None if asked.get(key) is None else str(asked[key]) for key in HEALED)
    if partition is not None and (proxy or fault):
        raise InvalidInput([Problem(("partition",), "goes through several proxies; name it alone")])
    supervisor = api.supervisor
    if partition is not None:
        gone = [supervisor.partitions.remove(partition, BY).spec.id]
        return _healed([], gone)
    if proxy is not None:
        found = find_proxy(api, proxy)
        fault = None if fault is None else _find_fault(found, fault).name
    gone = [one.spec.id for one in supervisor.partitions.all()] if proxy is None and fault is None else []
    return _healed(supervisor.heal(BY, proxy, fault), gone)


def _healed(removed: list[tuple[str, FaultSpec]], partitions: list[str]) -> web.StreamResponse:
    faults = [{"proxy": where, "fault": gone.name, "type": gone.type} for where, gone in removed]
    return web.json_response({"removed": faults, "partitions": partitions})


def _find_fault(proxy: Proxy, name: str) -> FaultSpec:
    fault = proxy.spec.fault(name)
    if fault is None:
        known = [fault.name for fault in proxy.spec.faults]
        has = f"it has: {', '.join(known[:20])}" if known else "it has none"
        raise NotFound(f"no fault on {proxy.spec.name!r} is called {name[:100]!r}{nearest(name, known)}; {has}")
    return fault


def _created(proxy: Proxy, fault: FaultSpec) -> web.StreamResponse:
    location = f"/v1/proxies/{quote(proxy.spec.name, safe='')}/faults/{quote(fault.name, safe='')}"
    return web.json_response(fault_view(proxy, fault), status=201, headers={"Location": location})
