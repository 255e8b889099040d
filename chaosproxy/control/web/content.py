"""Read the body of a request, and decompress it (RFC 9110 section 8.4) within the same limit.

aiohttp decompresses too, but reports a malformed body as an error of the server, and decompresses what it discards.
"""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import hdrs, web

from chaosproxy.control.web.problem import MAX_BODY, Refused

__all__ = ["read_content"]

_CODINGS = ("gzip", "deflate")
_PIECE = 64 * 1024
"""Bytes that are decompressed in one turn of the loop."""


async def read_content(request: web.Request) -> bytes:
    """Return the body without its Content-Encoding.

    :raises Refused: 400 if it cannot be decompressed, 413 if it is too large, 415 if the coding is not supported.
    """
    body = await request.read()
    coding = ", ".join(request.headers.getall(hdrs.CONTENT_ENCODING, ())).strip().lower().removeprefix("x-")
    if coding in ("", "identity"):
        return body
    if coding not in _CODINGS:
        detail = f"the Content-Encoding {coding!r} is not supported; send gzip, deflate or none"
        headers = {"Accept-Encoding": ", ".join(_CODINGS)}
        raise Refused(415, "Unsupported media type", "unsupported-media-type", detail, headers=headers)
    try:
        return await _decompressed(body, _window(body, coding))
    except zlib.error:
        detail = f"the body is not {coding}, as its Content-Encoding says; compress it, or remove the header field"
        raise Refused(400, "Malformed body", "bad-request", detail) from None


def _window(body: bytes, coding: str) -> int:
    """Return the format for zlib: gzip, or deflate with or without a zlib header (clients send both)."""
    if coding == "gzip":
        return 16 + zlib.MAX_WBITS
    has_header = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


async def _decompressed(body: bytes, window: int) -> bytes:
    decompressor = zlib.decompressobj(window)
    pieces, size = [], 0
    while not decompressor.eof:
        piece = decompressor.decompress(body, _PIECE)
        body = decompressor.unconsumed_tail
        size += len(piece)
        if size > MAX_BODY:
            detail = f"the decompressed body is larger than {MAX_BODY} bytes; send less"
            raise Refused(413, "Request entity too large", "too-large", detail)
        if not piece and not body:
            raise zlib.error("the end is missing")
        pieces.append(piece)
        await asyncio.sleep(0)
    if decompressor.unused_data:
        raise zlib.error("data after the end")
    return b"".join(pieces)
