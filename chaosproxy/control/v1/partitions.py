"""Handlers for /v1/partitions."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from aiohttp import web

from chaosproxy.control.partitions import ActivePartition
from chaosproxy.control.preflight import granted, preflight_cut
from chaosproxy.control.status import partition_status
from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.healing import removing
from chaosproxy.control.v1.leases import lease_of
from chaosproxy.control.v1.parsing import against_state, partition_from
from chaosproxy.control.v1.schemas import Json
from chaosproxy.control.v1.views import partition_view
from chaosproxy.control.web.body import read_object, read_query
from chaosproxy.control.web.rendering import PAGE, json_response, list_response, page_of, read_page
from chaosproxy.control.web.turns import turns_of
from chaosproxy.model import PartitionSpec, ProxySpec
from chaosproxy.model.partition import nodes_of

__all__ = ["add_partition", "list_partitions", "remove_partition", "show_partition"]


async def list_partitions(api: Api, request: web.Request) -> web.StreamResponse:
    page = read_page(read_query(request, *PAGE))
    partitions = api.supervisor.partitions
    found = partitions.all()
    if page.after is not None:
        found = found[found.index(partitions.get(page.after)) + 1 :]
    views = ((one.spec.id, _view(api, one)) for one in found if partitions.has(one))
    return await list_response(request, "partitions", await page_of(request, page, views))


async def add_partition(api: Api, request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    partitions = api.supervisor.partitions
    turns = turns_of(request)
    async with api.naming:
        specs = api.specs()
        spec = await turns.off_loop(_read, body, partitions.free_id(), specs)
        partitions.check_free(spec.id)
        cut = await turns.off_loop(preflight_cut, spec, specs, api.supervisor.seed, partitions.kernel)
        lease = lease_of(api, request)
        with against_state():
            # The proxies may have changed meanwhile. Specs are frozen, so it suffices to compare them.
            active = partitions.begin(granted(cut), BY) if api.specs() == specs else partitions.add(spec, BY)
        if lease is not None:
            active.lease = lease.id
    headers = {"Location": f"/v1/partitions/{quote(spec.id, safe='')}"}
    return await json_response(request, _view(api, active), status=201, headers=headers)


def _read(body: dict[str, object], free_id: str, specs: Sequence[ProxySpec]) -> PartitionSpec:
    return partition_from(body, free_id, nodes_of(specs))


async def show_partition(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return await json_response(request, _view(api, api.supervisor.partitions.get(request.match_info["partition"])))


async def remove_partition(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    supervisor, id = api.supervisor, request.match_info["partition"]
    cut = [proxy for proxy in supervisor.proxies() if id in proxy.partitions]
    return removing(cut, "the partition", lambda: supervisor.partitions.remove(id, BY))


def _view(api: Api, active: ActivePartition) -> Json:
    return partition_view(partition_status(active, api.supervisor.proxies()), api.wall)
