"""Who may call: a token, and no foreign page through somebody's browser.

A control API on loopback is reachable from any page that a browser on this machine shows.
Such a request carries `Origin` or `Sec-Fetch-Site` (Fetch Metadata Request Headers, W3C),
and after DNS rebinding a foreign name in `Host`; each of these is refused.
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
    """Only this machine can connect to it."""
    if address.is_unix or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def guard_token(token: str | None) -> Middleware:
    """Ask for `Authorization: Bearer <token>` (RFC 6750); without a token asked for, let everybody in."""

    @web.middleware
    async def check_token(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token and request.path not in OPEN_PATHS:
            scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
            # Compared as bytes and in constant time, so that an answer's time tells nothing of the token.
            same = hmac.compare_digest(_octets(given.strip()), _octets(token))
            if scheme.lower() != "bearer" or not same:
                detail = "this control API asks for a token; send it as Authorization: Bearer <token>"
                raise Refused(401, "Unauthorized", "unauthorized", detail, headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
        return await handler(request)

    return check_token


def guard_browser(control: ControlSpec) -> Middleware:
    """Refuse what a page of another origin makes a browser send."""
    checks_host = is_loopback(control.listen) and not control.listen.is_unix

    @web.middleware
    async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get(hdrs.HOST)
        if checks_host and host is not None and not _is_own_name(host, control.listen.host):
            raise Refused(
                403,
                "Foreign host",
                "foreign-host",
                f"the Host header names {host[:100]!r}; reach the control API by an IP address or as localhost",
            )
        if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            detail = "a page of another site made this request; only its own pages may"
            raise Refused(403, "Foreign page", "foreign-page", detail)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and not _same_origin(origin, host or ""):
            detail = f"the page at {origin[:100]!r} made this request; only its own may"
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
