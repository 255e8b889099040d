"""One small site, shown by servers of many makes: under WSGI, ASGI and aiohttp.

    gunicorn tests.servers.http.shown:wsgi      uvicorn tests.servers.http.shown:asgi
    python -m tests.servers.http.shown PORT     aiohttp
"""

from __future__ import annotations

import gzip
import http
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

__all__ = ["LARGE", "Page", "asgi", "page", "wsgi"]

LARGE = bytes(range(256)) * 1200
PIECES = [b"one, ", b"two, ", b"three\n"]
NO_BODY = {204, 304}

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Page:
    """An answer."""

    body: bytes | list[bytes]
    """A list is sent in pieces, and its length not told."""
    status: int = 200
    fields: Fields = ()

    @property
    def all_fields(self) -> Fields:
        fields = (("Content-Type", "application/octet-stream"), *self.fields)
        if isinstance(self.body, list) or self.status in NO_BODY:
            return fields
        return (*fields, ("Content-Length", str(len(self.body))))

    @property
    def pieces(self) -> list[bytes]:
        return self.body if isinstance(self.body, list) else [self.body]


PAGES: dict[str, Page] = {
    "/small": Page(b"hello\n"),
    "/large": Page(LARGE),
    "/chunked": Page(PIECES),
    "/none": Page(b"", 204),
    "/cached": Page(b"as before\n", fields=(("ETag", '"v1"'),)),
    "/old": Page(b"moved\n", 302, (("Location", "/small"),)),
    "/zipped": Page(gzip.compress(b"squeezed " * 500, mtime=0), fields=(("Content-Encoding", "gzip"),)),
    "/twice": Page(b"two of a kind\n", fields=(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))),
}


def page(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Page:
    """What the site shows; header names in lower case."""
    if path == "/echo" and method == "POST":
        framing = headers.get("transfer-encoding", headers.get("content-length", "nothing"))
        return Page(body, fields=(("X-Got", framing),))
    found = PAGES.get(path, Page(b"there is no such page\n", 404))
    if "if-none-match" in headers and ("ETag", '"v1"') in found.fields:
        return Page(b"", 304, found.fields)
    return found


# Any: WSGI's and ASGI's own types are mappings of anything.


def wsgi(environ: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    headers = {name[5:].replace("_", "-").lower(): text for name, text in environ.items() if name.startswith("HTTP_")}
    if environ.get("CONTENT_LENGTH"):
        headers["content-length"] = environ["CONTENT_LENGTH"]
    shown = page(environ["REQUEST_METHOD"], environ["PATH_INFO"], headers, environ["wsgi.input"].read())
    start(f"{shown.status} {http.HTTPStatus(shown.status).phrase}", list(shown.all_fields))
    return [] if environ["REQUEST_METHOD"] == "HEAD" or shown.status in NO_BODY else shown.pieces


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {name.decode(): text.decode("latin-1") for name, text in scope["headers"]}
    shown = page(scope["method"], scope["path"], headers, body)
    fields = [(name.lower().encode(), text.encode()) for name, text in shown.all_fields]
    await send({"type": "http.response.start", "status": shown.status, "headers": fields})
    pieces = [] if scope["method"] == "HEAD" or shown.status in NO_BODY else shown.pieces
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def in_aiohttp(request: web.Request) -> web.StreamResponse:
    headers = {name.lower(): text for name, text in request.headers.items()}
    shown = page(request.method, request.path, headers, await request.read())
    answer = web.StreamResponse(status=shown.status)
    for name, text in shown.all_fields:
        answer.headers.add(name, text)
    await answer.prepare(request)
    if request.method != "HEAD" and shown.status not in NO_BODY:
        for piece in shown.pieces:
            await answer.write(piece)
    await answer.write_eof()
    return answer


def main(port: int) -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", in_aiohttp)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
