"""Handlers for /v1/proxies/{proxy}/faults, /v1/faults and /v1/heal: the faults of one or several proxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from aiohttp import web

from chaosproxy.control.off_loop import read_files_for
from chaosproxy.control.selection import SELECTORS, add_on, read_selection, select
from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.parsing import fault_from, new_fault
from chaosproxy.control.v1.schemas import Json
from chaosproxy.control.v1.views import fault_view, faults_view
from chaosproxy.control.web.body import read_object, read_optional_object, read_query
from chaosproxy.declare import nearest
from chaosproxy.errors import InvalidInput, NotFound, Problem
from chaosproxy.model import FaultSpec
from chaosproxy.net.proxy import Proxy

__all__ = ["HEALED", "add_fault", "add_faults", "heal", "list_faults", "put_fault", "remove_fault", "show_fault"]

_NAMED = ("proxy", "fault", "partition")
HEALED = (*_NAMED, *SELECTORS)
"""The keys that limit what is healed."""


async def list_faults(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    return web.json_response({"faults": [_view(api, proxy, fault) for fault in proxy.spec.faults]})


async def add_fault(api: Api, request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    fault = new_fault(body, {fault.name for fault in proxy.spec.faults}, proxy.spec.protocol)
    await read_files_for(fault, [proxy])
    proxy = api.supervisor.proxy(proxy.spec.name)  # again, since it may have been removed meanwhile
    api.supervisor.add_fault(proxy.spec.name, fault, BY)
    return _created(api, proxy, fault)


async def add_faults(api: Api, request: web.Request) -> web.StreamResponse:
    """Add one fault to all proxies that the body selects, or to none of them."""
    body = await read_object(request)
    wanted = {key: value for key, value in body.items() if key not in SELECTORS}
    try:
        proxies = _selected(body, api.supervisor.proxies())
    except (InvalidInput, NotFound) as wrong:
        try:
            new_fault(wanted, (), "http")
        except InvalidInput as invalid:
            raise InvalidInput([*wrong.problems, *invalid.problems]) from None
        raise
    fault = new_fault(wanted, {fault.name for proxy in proxies for fault in proxy.spec.faults}, "http")
    _check_protocols(wanted, fault.name, proxies)
    await read_files_for(fault, proxies)
    proxies = _selected(body, api.supervisor.proxies())  # again, since one may have been removed meanwhile
    add_on(api.supervisor, proxies, fault, BY)
    placed = [(proxy.spec.name, api.supervisor.fault_status(proxy, fault)) for proxy in proxies]
    return web.json_response(faults_view(fault.name, placed, api.wall), status=201)


def _selected(body: dict[str, object], proxies: Sequence[Proxy]) -> list[Proxy]:
    """Return the proxies that a body selects.

    :raises InvalidInput: it has no selector, or a wrong one.
    :raises NotFound: it selects no proxy.
    """
    selection = read_selection(body)
    if selection is None:
        message = f'no proxies are selected; use one of {", ".join(SELECTORS)}, such as proxies: ["db-*"]'
        raise InvalidInput([Problem((), "missing", message)])
    return select(selection, proxies)


def _check_protocols(wanted: dict[str, object], name: str, proxies: Sequence[Proxy]) -> None:
    """Check that the fault fits the protocol of every proxy.

    :raises InvalidInput: it does not; the problems name each of these proxies.
    """
    problems: list[Problem] = []
    for proxy in proxies:
        try:
            fault_from(wanted, name, proxy.spec.protocol)
        except InvalidInput as invalid:
            on = f"on proxy {proxy.spec.name!r}"
            problems += [replace(one, message=f"{on}: {one.message}") for one in invalid.problems]
    if problems:
        raise InvalidInput(problems)


async def show_fault(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    return web.json_response(_view(api, proxy, api.supervisor.faults.find(proxy, request.match_info["fault"])))


async def put_fault(api: Api, request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    fault = fault_from(body, request.match_info["fault"], proxy.spec.protocol)
    await read_files_for(fault, [proxy])
    proxy = api.supervisor.proxy(proxy.spec.name)  # again, since it may have been removed meanwhile
    replaces = proxy.spec.fault(fault.name) is not None
    api.supervisor.put_fault(proxy.spec.name, fault, BY)
    return web.json_response(_view(api, proxy, fault)) if replaces else _created(api, proxy, fault)


async def remove_fault(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    api.supervisor.faults.remove(proxy, request.match_info["fault"], BY)
    return web.Response(status=204)


async def heal(api: Api, request: web.Request) -> web.StreamResponse:
    """Remove every fault and partition, or the faults of some proxies or of one name, or one partition."""
    query, body = read_query(request, *HEALED), await read_optional_object(request)
    asked = {**query, **body}
    twice = "is in the query and in the body; use it once"
    problems = [Problem((key,), "duplicate", twice) for key in query if key in body]
    problems += [
        Problem((key,), "unknown-key", f"unknown key{nearest(key, HEALED)}; known keys: {', '.join(HEALED)}")
        for key in asked
        if key not in HEALED
    ]
    problems += [
        Problem((key,), "wrong-type", "is not text; use a name")
        for key in _NAMED
        if asked.get(key) is not None and not isinstance(asked[key], str)
    ]
    if problems:
        raise InvalidInput(problems)
    proxy, fault, partition = (None if asked.get(key) is None else str(asked[key]) for key in _NAMED)
    selection = read_selection(asked)
    if partition is not None and (proxy or fault or selection):
        message = "cannot be combined with other keys, since a partition cuts several proxies; use it alone"
        raise InvalidInput([Problem(("partition",), "invalid-together", message)])
    if proxy is not None and selection is not None:
        message = f"cannot be combined with {', '.join(SELECTORS)}; use one of these four"
        raise InvalidInput([Problem(("proxy",), "invalid-together", message)])
    supervisor = api.supervisor
    if partition is not None:
        gone = [supervisor.partitions.remove(partition, BY).spec.id]
        return _healed([], gone)
    if selection is not None:
        return _healed(supervisor.faults.heal(select(selection, supervisor.proxies()), fault, BY), [])
    gone = [one.spec.id for one in supervisor.partitions.all()] if proxy is None and fault is None else []
    return _healed(supervisor.heal(BY, proxy, fault), gone)


def _healed(removed: list[tuple[str, FaultSpec]], partitions: list[str]) -> web.StreamResponse:
    faults = [{"proxy": where, "fault": gone.name, "type": gone.type} for where, gone in removed]
    return web.json_response({"removed": faults, "partitions": partitions})


def _created(api: Api, proxy: Proxy, fault: FaultSpec) -> web.StreamResponse:
    location = f"/v1/proxies/{quote(proxy.spec.name, safe='')}/faults/{quote(fault.name, safe='')}"
    return web.json_response(_view(api, proxy, fault), status=201, headers={"Location": location})


def _view(api: Api, proxy: Proxy, fault: FaultSpec) -> Json:
    return fault_view(api.supervisor.fault_status(proxy, fault), api.wall)
