"""Parse the JSON body and the query of a request, strictly.

JSON must conform to RFC 7493 (I-JSON): no duplicate keys, no NaN or Infinity, no integer beyond
±2^53, no lone surrogates. Ambiguous input is refused, since any reading of it would be a guess.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NoReturn

from aiohttp import web

from chaosproxy.control.web.content import read_content
from chaosproxy.control.web.problem import Refused
from chaosproxy.control.web.turns import turns_of
from chaosproxy.declare import Problems, nearest

__all__ = ["MAX_VALUES", "read_object", "read_optional_object", "read_query"]

MAX_VALUES = 10_000
"""The most values in one body: members of objects and items of lists, at every depth."""
MAX_KEY = 200
"""The most characters in a key, which is a name or a field."""
JSON_TYPES = ("application/json", "application/merge-patch+json")

Json = dict[str, object]


async def read_object(request: web.Request) -> Json:
    """Return the JSON object in the body.

    :raises Refused: 400 if it is not a JSON object, 413 if it is too large, 415 if its type or coding is not supported.
    """
    body = await read_content(request)
    await turns_of(request).rest()
    if not body:
        raise Refused(400, "Missing body", "empty", "the body is empty; send a JSON object")
    if request.content_type not in JSON_TYPES or "Content-Type" not in request.headers:
        given = request.headers.get("Content-Type", "none")
        detail = f"the Content-Type is {given!r}; send JSON as application/json"
        raise Refused(415, "Unsupported media type", "unsupported-media-type", detail)
    if _has_too_many_values(body):
        detail = f"the body has more than {MAX_VALUES} values; send fewer"
        raise Refused(400, "Too many values", "too-large", detail)
    await turns_of(request).rest()
    value = _parse(body)
    if not isinstance(value, dict):
        raise Refused(400, "Invalid input", "wrong-type", f"the body is {_word(value)}; send a JSON object")
    return value


async def read_optional_object(request: web.Request) -> Json:
    """Return the JSON object in the body; an empty one if the body is empty.

    :raises Refused: as for `read_object`.
    """
    return await read_object(request) if await request.read() else {}  # aiohttp keeps what was read


def read_query(request: web.Request, *known: str, repeated: Collection[str] = ()) -> dict[str, str]:
    """Return the parameters of the query. Those that may be `repeated` are in `request.query` with all their values.

    :raises InvalidInput: some are unknown or given twice.
    """
    problems = Problems()
    for key, count in Counter(key for key, _ in request.query.items()).items():
        if key not in known:
            has = f"known: {', '.join(known)}" if known else "this path takes none"
            hint = "" if problems.full else nearest(key, known)
            problems.add((key,), "unknown-key", f"unknown query parameter{hint}; {has}")
        elif count > 1 and key not in repeated:
            problems.add((key,), "duplicate", "is given twice; use it once")
    problems.raise_if_any()
    return dict(request.query)


def _parse(body: bytes) -> object:
    def object_of(pairs: Sequence[tuple[str, object]]) -> Json:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise ValueError(f"the key {twice[:MAX_KEY]!r} is given twice in one object; use it once")
        if any(len(key) > MAX_KEY for key in found):
            raise ValueError(f"a key is longer than {MAX_KEY} characters; use a shorter one")
        return found

    try:
        value: object = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=object_of,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_exact,
        )
        if rb"\u" in body:  # only an escape can be a lone surrogate
            json.dumps(value, ensure_ascii=False).encode()  # raises on it
    except RecursionError:
        raise Refused(400, "Malformed JSON", "not-json", "the body is nested too deeply; use fewer levels") from None
    except UnicodeEncodeError:
        detail = "a string contains a lone surrogate; send whole characters"
        raise Refused(400, "Malformed JSON", "not-json", detail) from None
    except UnicodeDecodeError as error:
        detail = f"the body is not UTF-8 at byte {error.start}; send UTF-8"
        raise Refused(400, "Malformed JSON", "not-json", detail) from None
    except ValueError as error:
        raise Refused(400, "Malformed JSON", "not-json", f"the body is not usable JSON: {error}") from None
    return value


def _has_too_many_values(body: bytes) -> bool:
    """Return whether JSON has more values than a body may have, without parsing it.

    Each value but the first follows a comma, or opens a list or an object. Those inside of strings do not count.
    """
    if _openings(body) <= MAX_VALUES:
        return False
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    if unescaped.count(b'"') > 4 * MAX_VALUES:  # each value has at most a key and a string, of two quotes each
        return True
    return sum(map(_openings, unescaped.split(b'"')[::2])) > MAX_VALUES


def _openings(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _exact(text: str) -> int:
    if len(text) > 17 or abs(number := int(text)) > 2**53:
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _word(value: object) -> str:
    words = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return words.get(type(value), "null")
