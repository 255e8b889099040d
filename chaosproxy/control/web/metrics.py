"""The route /metrics, which shows a Prometheus registry in the format that the scraper accepts.

A scrape of thousands of proxies takes seconds of work. The counts are taken in turns of the loop, and the
text is made from them in the thread of `Turns`, one metric family after another.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from aiohttp import hdrs, web
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

from chaosproxy.control.web.route import Route, headers_only
from chaosproxy.control.web.turns import turns_of

__all__ = ["Snapshots", "metrics_routes"]

_EOF = b"# EOF\n"
"""The end of a document in the format OpenMetrics."""

_FORMAT = re.compile(
    r"\s*[a-z*]+/[a-z*-]+\s*"
    r"(;\s*(version=[0-9]{1,3}(\.[0-9]{1,3}){0,2}|escaping=[a-z0-9-]+|charset=[A-Za-z0-9-]+|q=[0-9.]+)\s*)*"
)
"""A media range as Prometheus sends it."""


class Snapshots(Protocol):
    """A registry whose counts can be taken once, in turns of the loop."""

    async def snapshot(self, rest: Callable[[], Awaitable[None]]) -> Callable[[], Iterable[Metric]]:
        """Take the counts; return a pure function that makes the metric families from them."""
        ...


_SAMPLES = 2_000
"""The most samples that are encoded and freed at once: nothing interrupts these steps of the interpreter."""


class _Part:
    """A registry with some samples of one metric family, as the encoders expect it; it takes them from the family."""

    def __init__(self, family: Metric) -> None:
        self._part = Metric(family.name, family.documentation, family.type, family.unit)
        self._part.samples = family.samples[:_SAMPLES]
        del family.samples[:_SAMPLES]

    def collect(self) -> Iterable[Metric]:
        return (self._part,)


def metrics_routes(registry: Snapshots) -> list[Route]:
    """Return the route /metrics: Prometheus' text format, or OpenMetrics if the scraper accepts it."""

    async def show_metrics(request: web.Request) -> web.StreamResponse:
        encode, media = choose_encoder(_formats(request))
        turns = turns_of(request)
        families = await registry.snapshot(turns.rest)
        parts = await turns.off_loop(_encoded, encode, families)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: media})
        response.content_length = sum(map(len, parts))
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await turns.rest()
        await response.write_eof()
        return response

    async def show_media(request: web.Request) -> web.StreamResponse:
        """Respond to HEAD without collecting: that would query the kernel. So no length is given."""
        _, media = choose_encoder(_formats(request))
        return headers_only(media)

    return [Route(method="GET", path="/metrics", handler=show_metrics, head=show_media)]


def _encoded(encode: Callable[..., bytes], families: Callable[[], Iterable[Metric]]) -> Sequence[bytes]:
    """Return the document in parts; only the first part of a family has its HELP and TYPE lines."""
    texts, end = [], b""
    for family in families():
        is_first = True
        while is_first or family.samples:
            text = encode(_Part(family))
            if text.endswith(_EOF):
                text, end = text.removesuffix(_EOF), _EOF
            while not is_first and text.startswith(b"#"):
                text = text.partition(b"\n")[2]
            texts.append(text)
            is_first = False
    return [*texts, end]


def _formats(request: web.Request) -> str:
    """Return the acceptable formats, without those that are malformed: prometheus_client fails on them.

    If none is left, the response has the text format, which every scraper reads.
    """
    accepted = ",".join(request.headers.getall(hdrs.ACCEPT, ())).split(",")
    return ",".join(one for one in accepted if _FORMAT.fullmatch(one))
