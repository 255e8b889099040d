"""Recognise the same request: by method, target, idempotency key, and the body as far as it is at hand. Pure.

Other fields are left out, since the same request has another trace id or date at each attempt. The header
Idempotency-Key is that of the IETF draft draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import re

__all__ = ["READ", "fingerprint"]

READ = 4096
"""The first bytes of a request that are read, with its head and the beginning of its body."""
_NAME = 200
"""The most characters of a name."""
_KEY = re.compile(rb"^idempotency-key:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


def fingerprint(data: bytes) -> tuple[bytes, str]:
    """Return the bytes that are equal for equal requests, and the request's name, such as `POST /orders/17`."""
    head, _, body = data[:READ].partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    method, _, rest = line.partition(b" ")
    target = rest.rpartition(b" ")[0]
    key = _KEY.search(fields)
    identity = b"\0".join((method, target, b"" if key is None else key[1].strip(), body))
    path = target.partition(b"?")[0]
    return identity, b" ".join((method, path)).decode("latin-1")[:_NAME]
