"""Recognise the same request: by method, target, idempotency key, and the beginning of the body. Pure.

Other fields are left out, since the same request has another trace id or date at each attempt. The header
Idempotency-Key is that of the IETF draft draft-ietf-httpapi-idempotency-key-header.

Many clients send the head and the body in two segments, which arrive together or not. So a request is compared once it
is whole, or as far as it is read.
"""

from __future__ import annotations

import re

__all__ = ["BODY", "READ", "fingerprint"]

READ = 4096
"""The first bytes of a request that are read, with its head and the beginning of its body."""
BODY = 2048
"""The first bytes of the body that are compared: fewer than are read, since heads differ in length."""
_NAME = 200
"""The most characters of a name."""
_KEY = re.compile(rb"^idempotency-key:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding:[^\r\n]*chunked[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_LAST_CHUNK = b"0\r\n\r\n"


def fingerprint(data: bytes) -> tuple[bytes, str, bool]:
    """Return the bytes that are equal for equal requests, the request's name, and whether more bytes could change them.

    A name is such as `POST /orders/17`.
    """
    data = data[:READ]
    head, end_of_head, body = data.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    method, _, rest = line.partition(b" ")
    target = rest.rpartition(b" ")[0]
    key = _KEY.search(fields)
    body, is_whole = _begin_of(body, fields)
    identity = b"\0".join((method, target, b"" if key is None else key[1].strip(), body))
    path = target.partition(b"?")[0]
    name = b" ".join((method, path)).decode("latin-1")[:_NAME]
    return identity, name, len(data) < READ and not (end_of_head and is_whole)


def _begin_of(body: bytes, fields: bytes) -> tuple[bytes, bool]:
    """Return the part of the body that is compared, without bytes of a next request, and whether it is all there."""
    if _CHUNKED.search(fields):
        begin = body[:BODY]
        return begin, len(begin) == BODY or begin.endswith(_LAST_CHUNK)
    length = _LENGTH.search(fields)
    due = 0 if length is None else min(int(length[1]), BODY)
    return body[:due], len(body) >= due
