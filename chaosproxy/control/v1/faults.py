"""Handlers for /v1/proxies/{proxy}/faults, /v1/faults and /v1/heal: the faults of one or several proxies.

A body is parsed off the loop unless it is short, for the settings that the proxies have then. A handler that
has waited for this compares the settings with those of the moment: if they differ, it parses once more, now
without waiting. So a fault is placed only on a proxy for which it was checked. Names that a request chooses
itself are free when it uses them, since `Api.naming` or the same comparison holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import quote

from aiohttp import web

from chaosproxy.control.file_reads import read_files_for
from chaosproxy.control.selection import HEAL_ONE, HEALED, add_on, heal_on
from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.healing import healed, removing
from chaosproxy.control.v1.leases import lease_of
from chaosproxy.control.v1.parsing import against_state, fault_from, new_fault
from chaosproxy.control.v1.schemas import Json
from chaosproxy.control.v1.views import fault_view, faults_view
from chaosproxy.control.web.body import read_object, read_optional_object, read_query
from chaosproxy.control.web.rendering import PAGE, json_response, list_response, page_of, read_page
from chaosproxy.control.web.turns import parsed, turns_of
from chaosproxy.declare import Problems, broken, nearest
from chaosproxy.errors import Conflict, InvalidInput, NotFound, Problem
from chaosproxy.model import FaultSpec, ProxySpec
from chaosproxy.model.fault import check_protocol
from chaosproxy.model.selection import SELECT_ANY, SELECTORS, read_selection, selected_names
from chaosproxy.net.proxy import Proxy

__all__ = [
    "add_fault", "add_faults", "check_healed", "fault_and_names", "heal",
    "list_faults", "put_fault", "remove_fault", "show_fault",
]  # fmt: skip

_NAMED = ("proxy", "fault", "partition")
_ATTEMPTS = 10
"""The most generated names that a request tries."""


async def list_faults(api: Api, request: web.Request) -> web.StreamResponse:
    page = read_page(read_query(request, *PAGE))
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    found = proxy.spec.faults
    if page.after is not None:
        found = found[found.index(api.supervisor.faults.find(proxy, page.after)) + 1 :]
    statuses = [api.supervisor.fault_status(proxy, fault) for fault in found]
    views = ((one.spec.name, fault_view(one, api.wall)) for one in statuses)
    return await list_response(request, "faults", await page_of(request, page, views))


async def add_fault(api: Api, request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    fault = await _in_place(api, request, proxy, partial(_new_on, body))
    lease = lease_of(api, request)
    with against_state():
        api.supervisor.add_fault(proxy.spec.name, fault, BY, lease)
    return await _created(api, request, proxy, fault)


async def _in_place(api: Api, request: web.Request, proxy: Proxy, read: Callable[[ProxySpec], FaultSpec]) -> FaultSpec:
    """Read a fault for the settings that the proxy has when this returns.

    :raises NotFound: the proxy was removed meanwhile.
    """
    before = proxy.spec
    fault = await parsed(request, read, before)
    with against_state():
        await read_files_for(fault, [proxy])
    if api.supervisor.proxy(proxy.spec.name) is not proxy:
        raise NotFound(f"the proxy {proxy.spec.name!r} was removed before its change; another one has the name now")
    return fault if proxy.spec is before else read(proxy.spec)


def _new_on(body: dict[str, object], spec: ProxySpec) -> FaultSpec:
    return new_fault(body, {fault.name for fault in spec.faults}, spec.protocol)


async def add_faults(api: Api, request: web.Request) -> web.StreamResponse:
    """Add one fault to all proxies that the body selects, or to none of them."""
    body = await read_object(request)
    lease, turns = lease_of(api, request), turns_of(request)
    async with api.naming:
        for attempt in range(_ATTEMPTS):
            proxies = api.supervisor.proxies()
            fault, names = await turns.off_loop(fault_and_names, body, api.specs())
            selected = [proxy for proxy in proxies if proxy.spec.name in names]
            try:
                with against_state():
                    await read_files_for(fault, selected)
                    placed = await add_on(api.supervisor, selected, fault, BY, turns.rest, lease)
                break
            except Conflict as error:  # a generated name may have been taken since it was found
                if "name" in body or attempt + 1 == _ATTEMPTS or error.code != "name-taken":
                    raise
    return await json_response(request, faults_view(fault.name, placed, api.wall), status=201)


def fault_and_names(body: dict[str, object], specs: Sequence[ProxySpec]) -> tuple[FaultSpec, frozenset[str]]:
    """Return the fault of a body, and the names of the proxies that it selects. Pure.

    :raises InvalidInput: the fault or the selector is wrong, or there is none.
    :raises NotFound: it selects no proxy.
    """
    wanted = {key: value for key, value in body.items() if key not in SELECTORS}
    try:
        selection = read_selection(body)
        if selection is None:
            raise InvalidInput([SELECT_ANY.problem])
        names = selected_names(selection, specs)
    except (InvalidInput, NotFound) as wrong:
        try:
            new_fault(wanted, (), "http")
        except InvalidInput as invalid:
            raise InvalidInput([*wrong.problems, *invalid.problems]) from None
        raise
    selected = [spec for spec in specs if spec.name in names]
    fault = new_fault(wanted, {fault.name for spec in selected for fault in spec.faults}, "http")
    problems = Problems()
    for spec in selected:
        for one in check_protocol(fault, spec.protocol):
            problems.add(one.path, one.code, f"on proxy {spec.name!r}: {one.message}")
    with against_state():
        problems.raise_if_any()
    return fault, names


async def show_fault(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    fault = api.supervisor.faults.find(proxy, request.match_info["fault"])
    return await json_response(request, _view(api, proxy, fault))


async def put_fault(api: Api, request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    proxy = api.supervisor.proxy(request.match_info["proxy"])
    name = request.match_info["fault"]
    fault = await _in_place(api, request, proxy, lambda spec: fault_from(body, name, spec.protocol))
    replaces = proxy.spec.fault(fault.name) is not None
    lease = lease_of(api, request)
    with against_state():
        api.supervisor.put_fault(proxy.spec.name, fault, BY, lease)
    if not replaces:
        return await _created(api, request, proxy, fault)
    return await json_response(request, _view(api, proxy, fault))


async def remove_fault(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    proxy, fault = api.supervisor.proxy(request.match_info["proxy"]), request.match_info["fault"]
    return removing([proxy], "the fault", lambda: api.supervisor.faults.remove(proxy, fault, BY))


async def heal(api: Api, request: web.Request) -> web.StreamResponse:
    """Remove every fault and partition, or the faults of some proxies or of one name, or one partition."""
    query, body = read_query(request, *HEALED), await read_optional_object(request)
    check_healed(body)
    limits = {key: value for key, value in body.items() if value is not None}
    if twice := query.keys() & limits.keys():
        message = f"{', '.join(sorted(twice))}: in the query and in the body; use one of them"
        raise Conflict(message, "duplicate", [Problem((key,), "duplicate", message) for key in sorted(twice)])
    asked: dict[str, object] = {**query, **limits}
    with against_state():  # the body is valid, so the query contradicts it or itself
        check_healed(asked)
        selection = read_selection(asked)
    proxy, fault, partition = (None if key not in asked else str(asked[key]) for key in _NAMED)
    supervisor, turns = api.supervisor, turns_of(request)
    every = supervisor.proxies()
    if partition is not None:
        cut = [one for one in every if partition in one.partitions]
        return await healed(request, cut, [], [supervisor.partitions.remove(partition, BY).spec.id])
    proxies, gone = every, []
    if selection is not None:
        names = await turns.off_loop(selected_names, selection, api.specs())
        proxies = [one for one in every if one.spec.name in names]
    elif proxy is not None:
        proxies = [supervisor.proxy(proxy)]
    elif fault is None:
        for one in supervisor.partitions.all():
            if supervisor.partitions.has(one):
                gone.append(supervisor.partitions.remove(one.spec.id, BY).spec.id)
            await turns.rest()
    return await healed(request, proxies, await heal_on(supervisor, proxies, fault, BY, turns.rest), gone)


def check_healed(limits: dict[str, object]) -> None:
    """Check the keys that limit a heal, and the rules across them. Pure.

    :raises InvalidInput: a key is unknown, its value is invalid, or two cannot be combined.
    """
    problems = Problems()
    for key in limits:
        if key not in HEALED:
            hint = "" if problems.full else nearest(key, HEALED)
            problems.add((key,), "unknown-key", f"unknown key{hint}; known keys: {', '.join(HEALED)}")
    for key in _NAMED:
        if limits.get(key) is not None and not isinstance(limits[key], str):
            problems.add((key,), "wrong-type", "is not text; use a name")
    problems.raise_if_any()
    read_selection(limits)
    problems.extend(broken(HEAL_ONE, dict.fromkeys(HEALED) | limits))
    problems.raise_if_any()


async def _created(api: Api, request: web.Request, proxy: Proxy, fault: FaultSpec) -> web.StreamResponse:
    location = f"/v1/proxies/{quote(proxy.spec.name, safe='')}/faults/{quote(fault.name, safe='')}"
    return await json_response(request, _view(api, proxy, fault), status=201, headers={"Location": location})


def _view(api: Api, proxy: Proxy, fault: FaultSpec) -> Json:
    return fault_view(api.supervisor.fault_status(proxy, fault), api.wall)
