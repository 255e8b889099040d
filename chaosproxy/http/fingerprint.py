"""Recognise the same request: by method, target, idempotency key, and the beginning of the body. Pure.

Other fields are left out, since the same request has another trace id or date at each attempt. The header
Idempotency-Key is that of the IETF draft draft-ietf-httpapi-idempotency-key-header.

Many clients send the head and the body in two segments, which arrive together or not. So a request is compared once it
is whole, or as far as it is read.
"""

from __future__ import annotations

import re

__all__ = ["BODY", "fingerprint"]

BODY = 2048
"""The first bytes of the body that are part of a fingerprint."""
_LAST_CHUNK = b"0\r\n\r\n"
_NAME = 200
"""The most characters of a name."""
_KEY = re.compile(rb"^idempotency-key:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding:[^\r\n]*chunked[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


def fingerprint(data: bytes) -> tuple[bytes, str, bool, int, int | None]:
    """Return the bytes that are equal for equal requests, the request's name, and whether more bytes could change them.

    A name is such as `POST /orders/17`. Then follow the place at which the body begins, 0 if the head has not ended,
    and the length of the body, None if it is sent in chunks.
    """
    head, end_of_head, body = data.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    method, _, rest = line.partition(b" ")
    target = rest.rpartition(b" ")[0]
    key = _KEY.search(fields)
    begin, is_whole, length = _begin_of(body, fields)
    identity = b"\0".join((method, target, b"" if key is None else key[1].strip(), begin))
    path = target.partition(b"?")[0]
    name = b" ".join((method, path)).decode("latin-1")[:_NAME]
    body_at = len(head) + len(end_of_head) if end_of_head else 0
    return identity, name, not (end_of_head and is_whole), body_at, length


def _begin_of(body: bytes, fields: bytes) -> tuple[bytes, bool, int | None]:
    """Return the part of the body that is compared, without bytes of a next request, whether it is all there, and the
    length of the whole body."""
    if _CHUNKED.search(fields):
        begin = body[:BODY]
        return begin, len(begin) == BODY or begin.endswith(_LAST_CHUNK), None
    length = _LENGTH.search(fields)
    due = 0 if length is None else int(length[1])
    return body[: min(due, BODY)], len(body) >= min(due, BODY), due
