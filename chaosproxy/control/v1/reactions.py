"""Handler for /v1/reactions: the reactions of clients and servers to faults."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence

from aiohttp import web

from chaosproxy.control.v1.context import Api
from chaosproxy.control.v1.since import read_since
from chaosproxy.control.web.body import read_query
from chaosproxy.control.web.turns import turns_of
from chaosproxy.declare import MOST_ITEMS, Problems, too_many
from chaosproxy.errors import BadValue, NotFound, shown
from chaosproxy.heap import holding_many
from chaosproxy.journal.form import Packed, unpack
from chaosproxy.reaction.facts import facts_of
from chaosproxy.reaction.reactions import reactions_of
from chaosproxy.reaction.view import view

__all__ = ["show_reactions"]

_MOST_WINDOWS = 200
"""Windows that are told of; of more, those that began last. Each may take milliseconds of a thread."""


async def show_reactions(api: Api, request: web.Request) -> web.StreamResponse:
    query, problems = read_query(request, "since", "proxy", repeated=("proxy",)), Problems()
    since, proxies = -math.inf, frozenset(request.query.getall("proxy", []))
    if len(proxies) > MOST_ITEMS:
        bad = too_many(len(proxies), MOST_ITEMS, "values")
        problems.add(("proxy",), bad.code, str(bad))
    if (text := query.get("since")) is not None:
        try:
            since = read_since(text, api.supervisor.now(), api.wall)
        except BadValue as bad:
            problems.add(("since",), bad.code, str(bad))
    problems.raise_if_any()
    events = api.ring.snapshot()
    now, date = api.supervisor.now(), api.wall.date
    text = await turns_of(request).off_loop(_told, events, now, since, proxies, date)
    return web.Response(text=text, content_type="application/json")


def _told(
    packed: Sequence[Packed], now: float, since: float, proxies: Collection[str], date: Callable[[float], str]
) -> str:
    """Return the reactions as JSON text.

    :raises NotFound: no event is about one of the proxies.
    """
    with holding_many():
        facts = facts_of([unpack(one) for one in packed], now)
        for name in sorted(proxies):
            if name not in facts.proxies:
                raise NotFound(f"proxy {shown(name)} does not exist, and no kept event is about one of that name")
        return json.dumps(view(reactions_of(facts, proxies, since, _MOST_WINDOWS), date))
