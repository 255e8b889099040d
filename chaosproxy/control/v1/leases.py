"""Handlers for /v1/leases, and the header under which changes are made with a lease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from chaosproxy.control.lease import Lease
from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.healing import healed
from chaosproxy.control.web.body import read_object, read_optional_object, read_query
from chaosproxy.control.web.rendering import PAGE, json_response, list_response, page_of, read_page
from chaosproxy.declare import Duration, Problems, param, read_struct
from chaosproxy.units import format_duration

__all__ = [
    "LEASE_HEADER", "MOST_SHOWN", "READ_ONLY_OF_LEASE", "LeaseRenewal", "LeaseRequest", "add_lease", "lease_of",
    "list_leases", "release_lease", "renew_lease", "show_lease",
]  # fmt: skip

Json = dict[str, Any]  # Any: JSON

LEASE_HEADER = "X-Chaosproxy-Lease"
"""Names the lease under which a request makes faults or a partition."""
READ_ONLY_OF_LEASE = ("id", "by", "expires_in_s", "faults", "faults_more", "partitions")
MOST_SHOWN = 100
"""The most faults of a lease that a response lists: a lease is renewed often, and may hold very many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """The body of a request for a lease."""

    ttl: float = param(
        Duration(above_zero=True), "expires this long after the latest renewal, and heals what it holds", example="5s"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRenewal:
    """The body of a renewal."""

    ttl: float | None = param(
        Duration(above_zero=True), "the ttl from now on; default: as before", default=None, example="5s"
    )


def lease_of(api: Api, request: web.Request) -> Lease | None:
    """Return the lease that a request names in its header; None if it names none.

    :raises NotFound: there is no such lease.
    """
    id = request.headers.get(LEASE_HEADER)
    return None if id is None else api.leases.get(id)


async def list_leases(api: Api, request: web.Request) -> web.StreamResponse:
    page = read_page(read_query(request, *PAGE))
    found = api.leases.all()
    if page.after is not None:
        found = found[found.index(api.leases.get(page.after)) + 1 :]
    views = ((one.id, _view(api, one)) for one in found if not one.has_ended)
    return await list_response(request, "leases", await page_of(request, page, views))


async def add_lease(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    problems = Problems()
    wanted = read_struct(LeaseRequest, await read_object(request), problems, also_known=READ_ONLY_OF_LEASE)
    problems.raise_if_any()
    assert wanted is not None
    lease = api.leases.grant(wanted.ttl, BY)
    headers = {"Location": f"/v1/leases/{lease.id}"}
    return await json_response(request, _view(api, lease), status=201, headers=headers)


async def show_lease(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return await json_response(request, _view(api, api.leases.get(request.match_info["lease"])))


async def renew_lease(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    problems = Problems()
    wanted = read_struct(LeaseRenewal, await read_optional_object(request), problems, also_known=READ_ONLY_OF_LEASE)
    problems.raise_if_any()
    assert wanted is not None
    return await json_response(request, _view(api, api.leases.renew(request.match_info["lease"], wanted.ttl)))


async def release_lease(api: Api, request: web.Request) -> web.StreamResponse:
    """End a lease, and remove what was made under it."""
    read_query(request)
    gone = await api.leases.release(request.match_info["lease"])
    return await healed(request, gone.proxies.values(), gone.faults, gone.partitions)


def _view(api: Api, lease: Lease) -> Json:
    faults, more, partitions = api.leases.held(lease, MOST_SHOWN)
    return {
        "id": lease.id,
        "ttl": format_duration(lease.ttl),
        "by": lease.by,
        "expires_in_s": round(max(0.0, lease.renewed_at + lease.ttl - api.supervisor.now()), 3),
        "faults": [{"proxy": proxy, "fault": fault} for proxy, fault in faults],
        "faults_more": more,
        "partitions": partitions,
    }
