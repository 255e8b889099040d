"""Guards that refuse requests without the token, and requests that a foreign web page makes a browser send.

Any page in a browser on this machine can send requests to a control API on loopback. Such a request has
an `Origin` or `Sec-Fetch-Site` header (Fetch Metadata Request Headers, W3C), or, after DNS rebinding, a
foreign name in `Host`. Each of these is refused. A Host is parsed as a whole: see `control.web.authority`.
"""

from __future__ import annotations

import hmac
import re

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from chaosproxy.control.web.authority import Authority, parse_authority
from chaosproxy.control.web.health import OPEN_PATHS
from chaosproxy.control.web.problem import Refused
from chaosproxy.errors import shown
from chaosproxy.model import Address, ControlSpec
from chaosproxy.model.address import canonical_host

__all__ = ["guard_browser", "guard_token", "is_loopback"]

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
"""The scheme and the authority of a target in absolute form."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(address: Address) -> bool:
    """Return whether only this machine can connect to the address."""
    if address.is_unix:
        return True
    host = canonical_host(address.host)
    return host == "localhost" if isinstance(host, str) else host.is_loopback


def guard_token(token: str | None) -> Middleware:
    """Return a guard that requires `Authorization: Bearer <token>` (RFC 6750), or nothing if `token` is empty."""

    @web.middleware
    async def check_token(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token and request.path not in OPEN_PATHS:
            fields = request.headers.getall(hdrs.AUTHORIZATION, ("",))
            scheme, _, given = fields[0].partition(" ")
            # Compared as bytes and in constant time, so that the time of a response reveals nothing about the token.
            same = hmac.compare_digest(_octets(given.strip()), _octets(token))
            if len(fields) > 1 or scheme.lower() != "bearer" or not same:
                detail = "the token is missing or wrong; send it as Authorization: Bearer <token>"
                raise Refused(401, "Unauthorized", "unauthorized", detail, headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
        return await handler(request)

    return check_token


def guard_browser(control: ControlSpec) -> Middleware:
    """Return a guard that refuses requests from web pages of another origin, and those for another host."""
    is_local = is_loopback(control.listen)

    @web.middleware
    async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
        # No browser can send a request to a unix socket, and clients put any name into its Host.
        hosts = [] if control.listen.is_unix else _hosts_of(request)
        foreign = [one.host for one in hosts if isinstance(one.host, str) and one.host != "localhost"]
        if is_local and foreign:
            detail = f"the request is for the host {shown(foreign[0])}; use an IP address or localhost in the URL"
            raise Refused(403, "Foreign host", "foreign-host", detail)
        if any(site not in ("same-origin", "none") for site in request.headers.getall("Sec-Fetch-Site", ())):
            detail = "a web page of another site sent this request; only pages of the control API's own origin may"
            raise Refused(403, "Foreign page", "foreign-page", detail)
        for origin in request.headers.getall(hdrs.ORIGIN, ()):
            if not hosts or not all(_is_same_origin(origin, host) for host in hosts):
                detail = f"a web page of {shown(origin)} sent this request; only the control API's own pages may"
                raise Refused(403, "Foreign page", "foreign-page", detail)
        return await handler(request)

    return check_origin


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # aiohttp decodes header bytes that way


def _hosts_of(request: web.Request) -> list[Authority]:
    """Return the host that the Host field names, and the one in the target if that has one (RFC 9112 section 3.2).

    :raises Refused: one of them is malformed, or there are several Host fields.
    """
    given = request.headers.getall(hdrs.HOST, [])
    if len(given) > 1:
        raise Refused(400, "Malformed Host", "bad-request", "there are several Host header fields; send one")
    target = request.raw_path
    if not target.startswith("/") and target != "*":
        absolute = _ABSOLUTE.match(target)
        given = [*given, absolute[1] if absolute else target]  # CONNECT has the authority alone
    try:
        return [parse_authority(text) for text in given]
    except ValueError:
        detail = "the host of the request is malformed; send HOST or HOST:PORT, such as 127.0.0.1:8474"
        raise Refused(400, "Malformed Host", "bad-request", detail) from None


def _is_same_origin(origin: str, host: Authority) -> bool:
    """Return whether an Origin (RFC 6454 section 7) is the one of pages from this host."""
    scheme, _, text = origin.partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    try:
        page = parse_authority(text)
    except ValueError:
        return False
    return default is not None and (page.host, page.port or default) == (host.host, host.port or default)
