"""Handler for /v1/events: read what a client asks for, and stream it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from math import inf
from typing import TypeVar, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from chaosproxy.control.v1.context import Api
from chaosproxy.control.v1.since import read_since
from chaosproxy.control.web.body import read_query
from chaosproxy.control.web.connection import ControlConnection
from chaosproxy.control.web.turns import turns_of
from chaosproxy.declare import MOST_ITEMS, Choice, Problems, too_many
from chaosproxy.errors import BadValue, shown
from chaosproxy.journal.form import KINDS
from chaosproxy.journal.stream import Cursor, EventFilter

__all__ = ["LAST_ID", "MEDIA", "QUERY", "stream_events"]

T = TypeVar("T")

QUERY = ("proxy", "kind", "since", "follow")
REPEATED = ("proxy", "kind")
LAST_ID = "Last-Event-ID"
RUN = "Chaosproxy-Run"
"""The header with which a client finds out that the server was restarted, and numbers events from 1 again."""
MEDIA = "text/event-stream"
_KIND = Choice(*sorted(KINDS))


async def stream_events(api: Api, request: web.Request) -> web.StreamResponse:
    cursor = _cursor(api, request)
    rest = turns_of(request).rest
    await _check_proxies(api, request.query.getall("proxy", []), rest)
    headers = {"Content-Type": MEDIA, "Cache-Control": "no-store", "X-Accel-Buffering": "no", RUN: api.events.run}
    response = web.StreamResponse(headers=headers)
    writer = await response.prepare(request)
    assert writer is not None, "the response has just begun"
    connection = cast(ControlConnection, request.protocol)
    connection.on_lost = api.events.notice_end
    try:
        await api.events.send(cursor, _HttpReader(connection, writer), rest)
    finally:
        connection.on_lost = None
    return response


class _HttpReader:
    """A client of the control port that reads a stream."""

    def __init__(self, connection: ControlConnection, writer: AbstractStreamWriter) -> None:
        self._connection = connection
        self._writer = writer

    @property
    def is_gone(self) -> bool:
        return self._connection.transport is None

    async def write(self, data: bytes) -> None:
        await self._writer.write(data)
        await self._writer.drain()  # `write` alone would let 64 KiB more wait in the transport

    def abort(self) -> None:
        self._connection.abort()


def _cursor(api: Api, request: web.Request) -> Cursor:
    """Return the position at which the response begins, with its filter and its end.

    :raises InvalidInput: the query or Last-Event-ID is wrong.
    """
    query, problems, ring = read_query(request, *QUERY, repeated=REPEATED), Problems(), api.ring

    def read(name: str, value: object, reader: Callable[[object], T]) -> T | None:
        try:
            return reader(value)
        except BadValue as bad:
            problems.add((name,), bad.code, str(bad))
            return None

    proxies, kinds = (_values(request, name, problems) for name in REPEATED)
    for kind in kinds or ():
        read("kind", kind, _KIND.read)
    follows = read("follow", query.get("follow", "true"), Choice("true", "false").read) == "true"
    last_id = read(LAST_ID, request.headers.get(LAST_ID, ""), _read_id)
    since = read("since", query.get("since"), lambda text: _read_since(text, api))
    problems.raise_if_any()

    after, until = (ring.last if follows else ring.first - 1), 0
    if last_id is not None:
        # A number that this process has not given is one of the process before: all of these events are new.
        after = last_id if last_id <= ring.last else 0
    elif since is not None:
        after, until = ring.first - 1, ring.last
    wanted = EventFilter(proxies=proxies, kinds=kinds, since=-inf if since is None else since, since_until=until)
    return Cursor(ring, after, wanted, None if follows else ring.last)


def _values(request: web.Request, name: str, problems: Problems) -> frozenset[str] | None:
    """Return the values of a parameter that may be repeated; None without one."""
    values = request.query.getall(name, [])
    if len(values) > MOST_ITEMS:
        bad = too_many(len(values), MOST_ITEMS, "values")
        problems.add((name,), bad.code, str(bad))
        return frozenset()
    return frozenset(values) or None


def _read_id(text: object) -> int | None:
    """Read the header with which a client resumes; an empty one is as none (HTML standard, section 9.2.4).

    :raises BadValue: it is not a number.
    """
    if not text:
        return None
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    raise BadValue("malformed", f"{shown(text)} is not the id of an event; use the whole number of the last one")


def _read_since(text: object, api: Api) -> float | None:
    return read_since(text, api.supervisor.now(), api.wall) if isinstance(text, str) else None


async def _check_proxies(api: Api, names: Collection[str], rest: Callable[[], Awaitable[None]]) -> None:
    """Check that each name is that of a proxy, or of one that was removed and is named by an event of the ring.

    A client that waits for the events of a misspelt name would wait for ever.

    :raises NotFound: neither is the case.
    """
    unknown = set(names) - {proxy.spec.name for proxy in api.supervisor.proxies()}
    cursor = Cursor(api.ring, api.ring.first - 1, EventFilter(proxies=frozenset(unknown)), api.ring.last)
    while unknown and not cursor.is_at_end:
        unknown -= {getattr(event, "proxy", "") for _, event in cursor.take()}
        await rest()
    for name in sorted(unknown):
        api.supervisor.proxy(name)
