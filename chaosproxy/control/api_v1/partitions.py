"""/v1/partitions: cuts between nodes."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from chaosproxy.control.api_v1.body import read_name, read_object, read_query
from chaosproxy.control.api_v1.context import BY, Api
from chaosproxy.control.api_v1.parsing import partition_from
from chaosproxy.control.api_v1.views import partition_view
from chaosproxy.control.partitions import ActivePartition

__all__ = ["add_partition", "list_partitions", "remove_partition", "show_partition"]


async def list_partitions(api: Api, request: web.Request) -> web.Response:
    read_query(request)
    return web.json_response({"partitions": [_view(api, one) for one in api.supervisor.partitions.all()]})


async def add_partition(api: Api, request: web.Request) -> web.Response:
    body = await read_object(request)
    partitions = api.supervisor.partitions
    id = read_name(body["id"], ("id",)) if body.get("id") is not None else partitions.free_id()
    active = partitions.add(partition_from(body, id), BY)
    headers = {"Location": f"/v1/partitions/{quote(id, safe='')}"}
    return web.json_response(_view(api, active), status=201, headers=headers)


async def show_partition(api: Api, request: web.Request) -> web.Response:
    read_query(request)
    active = api.supervisor.partitions.get(request.match_info["partition"])
    return web.json_response(_view(api, active))


async def remove_partition(api: Api, request: web.Request) -> web.Response:
    read_query(request)
    api.supervisor.partitions.remove(request.match_info["partition"], BY)
    return web.Response(status=204)


def _view(api: Api, active: ActivePartition) -> dict[str, object]:
    return partition_view(active, api.supervisor.now(), api.supervisor.proxies())
