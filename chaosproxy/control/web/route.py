"""A route: one method on one path, and the handler of its requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import hdrs, web

__all__ = ["Handler", "Route", "headers_only"]

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""Returns a response: one made already, or one that the handler has prepared and written itself (a stream)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path."""

    method: str
    path: str
    """As aiohttp reads it: `/v1/proxies/{proxy}`."""
    handler: Handler
    head: Handler | None = None
    """Answers HEAD where the method is GET; it must only read. Without it, HEAD is answered from `media` alone."""
    media: str = "application/json"
    """The Content-Type of a HEAD response that no handler makes."""


def headers_only(media: str) -> web.StreamResponse:
    """Return a HEAD response that gives the media type, and no length since no body was made."""
    return web.StreamResponse(headers={hdrs.CONTENT_TYPE: media})
