"""Handlers for /v1/partitions."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from chaosproxy.control.partitions import ActivePartition
from chaosproxy.control.status import partition_status
from chaosproxy.control.v1.context import BY, Api
from chaosproxy.control.v1.parsing import partition_from
from chaosproxy.control.v1.schemas import Json
from chaosproxy.control.v1.views import partition_view
from chaosproxy.control.web.body import read_object, read_query
from chaosproxy.model.partition import nodes_of

__all__ = ["add_partition", "list_partitions", "remove_partition", "show_partition"]


async def list_partitions(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return web.json_response({"partitions": [_view(api, one) for one in api.supervisor.partitions.all()]})


async def add_partition(api: Api, request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    partitions = api.supervisor.partitions
    nodes = nodes_of(proxy.spec for proxy in api.supervisor.proxies())
    spec = partition_from(body, partitions.free_id(), nodes)
    active = partitions.add(spec, BY)
    headers = {"Location": f"/v1/partitions/{quote(spec.id, safe='')}"}
    return web.json_response(_view(api, active), status=201, headers=headers)


async def show_partition(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    return web.json_response(_view(api, api.supervisor.partitions.get(request.match_info["partition"])))


async def remove_partition(api: Api, request: web.Request) -> web.StreamResponse:
    read_query(request)
    api.supervisor.partitions.remove(request.match_info["partition"], BY)
    return web.Response(status=204)


def _view(api: Api, active: ActivePartition) -> Json:
    return partition_view(partition_status(active, api.supervisor.proxies()), api.wall)
