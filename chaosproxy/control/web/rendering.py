"""Render JSON responses piece by piece, with a turn of the loop for each few pieces.

A value is plain JSON that may contain `Lazy` lists, whose items are made when their turn has come, and
`Encoded` texts. `json_response` sends such a value. `page_of` renders a list up to the limit of a page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from chaosproxy.control.web.turns import Turns, turns_of
from chaosproxy.declare import Whole
from chaosproxy.errors import BadValue, InvalidInput, Problem

__all__ = [
    "DEFAULT_LIMIT", "LARGEST_LIMIT", "PAGE", "Encoded", "Lazy", "Page", "json_response", "list_response", "page_of",
    "pieces", "read_page",
]  # fmt: skip

DEFAULT_LIMIT = 1_000
LARGEST_LIMIT = 1_000
"""The items of a page by default, and at most."""
_LARGEST_PAGE = 2**20
"""The characters after which a page ends, even if it has fewer items."""
PAGE = ("limit", "after")
"""The query parameters of a list that comes in pages."""


class Lazy:
    """A list whose items are made while it is rendered."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[object]) -> None:
        self.items = items


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value that is JSON text already."""

    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that a request asks for."""

    limit: int
    after: str | None
    """The cursor of the last item of the page before; None for the first page."""


def read_page(query: Mapping[str, str]) -> Page:
    """Read the parameters `limit` and `after`.

    :raises InvalidInput: the limit is not a number that is allowed.
    """
    given = query.get("limit", str(DEFAULT_LIMIT))
    number = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else given
    try:
        limit = Whole(1, LARGEST_LIMIT).read(number)
    except BadValue as bad:
        raise InvalidInput([Problem(("limit",), bad.code, str(bad))]) from None
    return Page(limit, query.get("after"))


async def page_of(request: web.Request, page: Page, items: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Render a page of `items`, which are pairs of a cursor and a value, the first one after `page.after`.

    Return `items`, the rendered list, and also `next` if there are more: the path and query of the next page.
    """
    turns, texts, size, last = turns_of(request), [""], 0, ""
    for count, (cursor, value) in enumerate(items):
        if count == page.limit or size >= _LARGEST_PAGE:
            query = {key: one for key, one in request.query.items() if key != "after"}
            here = f"{request.rel_url.raw_path}?{urlencode({**query, 'after': last})}"
            return {"items": Encoded(f"[{''.join(texts)}]"), "next": here}
        if count:
            texts.append(", ")
        for piece in pieces(value):
            texts.append(piece)
            size += len(piece)
            await turns.rest()
        last = cursor
    return {"items": Encoded(f"[{''.join(texts)}]")}


async def json_response(
    request: web.Request, value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a response with a value that is rendered in turns."""
    text = await _rendered(turns_of(request), value)
    return web.Response(text=text, status=status, headers=headers, content_type="application/json")


async def list_response(
    request: web.Request, name: str, page: Mapping[str, object], more: Mapping[str, object] | None = None
) -> web.Response:
    """Return a response with a page of the list `name`, and with `more` keys."""
    following = {key: one for key, one in page.items() if key == "next"}
    return await json_response(request, {name: page["items"], **(more or {}), **following})


async def _rendered(turns: Turns, value: object) -> str:
    texts = []
    for piece in pieces(value):
        texts.append(piece)
        await turns.rest()
    return "".join(texts)


def pieces(value: object) -> Iterator[str]:
    """Yield the JSON of a value, item by item where it is lazy."""
    match value:
        case Encoded():
            yield value.text
        case Lazy():
            yield "["
            for count, one in enumerate(value.items):
                if count:
                    yield ", "
                yield from pieces(one)
            yield "]"
        case dict() if any(isinstance(one, Lazy | Encoded) for one in value.values()):
            before, plain = "{", {}
            for key, one in value.items():
                if not isinstance(one, Lazy | Encoded):
                    plain[key] = one
                    continue
                if plain:
                    yield f"{before}{json.dumps(plain)[1:-1]}"
                    before, plain = ", ", {}
                yield f"{before}{json.dumps(key)}: "
                yield from pieces(one)
                before = ", "
            yield f"{before}{json.dumps(plain)[1:-1]}}}" if plain else "}"
        case _:
            yield json.dumps(value)
