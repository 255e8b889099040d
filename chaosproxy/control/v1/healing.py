"""Responses to a change that ends a refusal: what was removed, and the addresses that cannot be listened on again.

A change that ends a refusal takes effect in any case. If another program has taken the address of a
proxy meanwhile, the response is a problem with status 409, although everything was removed: `errors` has
each address, and chaosproxy tries them again until it listens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aiohttp import web

from chaosproxy.control.listeners import listening_problems
from chaosproxy.control.web.problem import problem_response
from chaosproxy.control.web.rendering import Lazy, json_response
from chaosproxy.errors import CannotListen, Problem
from chaosproxy.model import FaultSpec
from chaosproxy.net.proxy import Proxy

__all__ = ["healed", "removing"]


async def healed(
    request: web.Request, proxies: Iterable[Proxy], removed: Sequence[tuple[str, FaultSpec]], partitions: Sequence[str]
) -> web.StreamResponse:
    """Try every lost address of these proxies now; return what was removed, and what is still lost."""
    proxies = list(proxies)
    for proxy in proxies:
        if proxy.listener is not None:
            proxy.listener.retry()
    faults = ({"proxy": where, "fault": gone.name, "type": gone.type} for where, gone in removed)
    problems = listening_problems(proxies)
    if not problems:
        return await json_response(request, {"removed": Lazy(faults), "partitions": list(partitions)})
    body: dict[str, object] = {"removed": [*faults], "partitions": list(partitions)}
    detail = _detail(f"removed {_count(removed, 'fault')} and {_count(partitions, 'partition')}", problems)
    return problem_response(409, "Cannot listen", "cannot-listen", detail, problems, more=body)


def removing(proxies: Iterable[Proxy], what: str, remove: Callable[[], object]) -> web.StreamResponse:
    """Remove a fault or a partition, which `what` names for people; return an empty response.

    :raises CannotListen: it is removed, and one of these proxies cannot listen again.
    """
    proxies = list(proxies)
    before = listening_problems(proxies)
    remove()
    problems = [one for one in listening_problems(proxies) if one not in before]
    if problems:
        raise CannotListen(_detail(f"removed {what}", problems), problems=problems)
    return web.Response(status=204)


def _detail(done: str, problems: Sequence[Problem]) -> str:
    listed = "; ".join(map(str, problems))
    return f"{done}, but cannot listen again yet; chaosproxy tries until it succeeds: {listed}"


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}" if len(things) == 1 else f"{len(things)} {noun}s"
