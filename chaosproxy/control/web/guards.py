"""Guards that refuse requests without the token, and requests that a foreign web page makes a browser send.

Any page in a browser on this machine can send requests to a control API on loopback. Such a request has
an `Origin` or `Sec-Fetch-Site` header (Fetch Metadata Request Headers, W3C), or, after DNS rebinding, a
foreign name in `Host`. Each of these is refused.
"""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from chaosproxy.control.web.health import OPEN_PATHS
from chaosproxy.control.web.problem import Refused
from chaosproxy.model import Address, ControlSpec

__all__ = ["guard_browser", "guard_token", "is_loopback"]


def is_loopback(address: Address) -> bool:
    """Return whether only this machine can connect to the address."""
    if address.is_unix or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def guard_token(token: str | None) -> Middleware:
    """Return a guard that requires `Authorization: Bearer <token>` (RFC 6750), or nothing if `token` is empty."""

    @web.middleware
    async def check_token(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token and request.path not in OPEN_PATHS:
            scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
            # Compared as bytes and in constant time, so that the time of a response reveals nothing about the token.
            same = hmac.compare_digest(_octets(given.strip()), _octets(token))
            if scheme.lower() != "bearer" or not same:
                detail = "the token is missing or wrong; send it as Authorization: Bearer <token>"
                raise Refused(401, "Unauthorized", "unauthorized", detail, headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
        return await handler(request)

    return check_token


def guard_browser(control: ControlSpec) -> Middleware:
    """Return a guard that refuses requests from web pages of another origin."""
    checks_host = is_loopback(control.listen) and not control.listen.is_unix

    @web.middleware
    async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get(hdrs.HOST)
        if checks_host and host is not None and not _is_own_name(host, control.listen.host):
            raise Refused(
                403,
                "Foreign host",
                "foreign-host",
                f"the Host header names {host[:100]!r}; use an IP address or localhost in the URL",
            )
        if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            detail = "a web page of another site sent this request; only pages of the control API's own origin may"
            raise Refused(403, "Foreign page", "foreign-page", detail)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and not _same_origin(origin, host or ""):
            detail = f"a web page of {origin[:100]!r} sent this request; only pages of the control API's own origin may"
            raise Refused(403, "Foreign page", "foreign-page", detail)
        return await handler(request)

    return check_origin


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # aiohttp decodes header bytes that way


def _is_own_name(host: str, configured: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name in ("localhost", configured.lower()):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
