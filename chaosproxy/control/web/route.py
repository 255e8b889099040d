"""A route: one method on one path, and the handler of its requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import hdrs, web

__all__ = ["Handler", "Route", "headers_only"]

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""A function that returns a complete response, or one that it has prepared and written itself (a stream)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path."""

    method: str
    path: str
    """The path, in the syntax of aiohttp: `/v1/proxies/{proxy}`."""
    handler: Handler
    head: Handler | None = None
    """The handler for HEAD if the method is GET; it must only read. If it is None, the response has only `media`."""
    media: str = "application/json"
    """The Content-Type of a HEAD response without a handler."""
    stop: Callable[[], None] | None = None
    """Ends the endless responses of this route; called when the server stops."""


def headers_only(media: str) -> web.StreamResponse:
    """Return a HEAD response with the media type and without a length, since no body was made."""
    return web.StreamResponse(headers={hdrs.CONTENT_TYPE: media})
