"""Any JSON to any route: an answer that the description declares, and never a 500."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.control.v1.routes import ROUTES, SERVER_OPERATIONS
from chaosproxy.declare import params_of
from chaosproxy.model import Placement, ProxySpec
from chaosproxy.model.selection import SELECTORS
from chaosproxy.model.types import FAULT_TYPES
from tests.control.serving import Answer, Api, serving

METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
WORDS = ["", "db", "x", "1ms", "5%", "64KiB", "1MB/s", "both", "127.0.0.1:0", "127.0.0.1:9", "unix:/nowhere/x", "\0"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(WORDS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
STRUCTS: list[type] = [Placement, *FAULT_TYPES.values()]
FAULT_KEYS = ["type", "name", "match", *SELECTORS, *(param.name for struct in STRUCTS for param in params_of(struct))]
FAULTS = st.dictionaries(st.sampled_from(FAULT_KEYS), VALUES, max_size=6) | st.builds(
    lambda kind, rest: {**rest, "type": kind},
    st.sampled_from(list(FAULT_TYPES)),
    st.dictionaries(st.sampled_from(FAULT_KEYS), VALUES, max_size=4),
)
PROXIES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["db", "x", 7, "a/b"]),
        "listen": st.sampled_from(["127.0.0.1:0", "0.0.0.0:0", "x", 8]),
        "upstream": st.sampled_from(["127.0.0.1:9", "localhost:0", None]),
        "faults": st.lists(FAULTS | VALUES, max_size=3)
        | st.dictionaries(st.text(max_size=5), FAULTS | VALUES, max_size=3),
        **{param.name: VALUES for param in params_of(ProxySpec) if param.name not in ("listen", "upstream")},
    },
)
BODIES = PROXIES | FAULTS | VALUES
NAMES = st.sampled_from(["db", "x", "db:1"]) | st.text(min_size=1, max_size=10)
LEFT_OUT = st.just("")
QUERIES = LEFT_OUT | st.builds(
    lambda key, value: f"?{quote(key, safe='')}={quote(value, safe='')}",
    st.sampled_from(["proxy", "fault", "how"]) | st.text(max_size=5),
    st.sampled_from(["db", "reset"]) | st.text(max_size=5),
)
ENDLESS = {route.path for route in ROUTES if route.streams}
PATHS = st.sampled_from(sorted({route.path for route in (*ROUTES, *SERVER_OPERATIONS.values())} - ENDLESS))


class Asker:
    """Asks one server that lives as long as the module, on a loop of its own."""

    def __init__(self, runner: asyncio.Runner, api: Api) -> None:
        self._runner = runner
        self._api = api

    def ask(
        self, method: str, path: str, body: object = None, raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        return self._runner.run(self._api.ask(method, path, body, raw=raw, headers=headers))


@pytest.fixture(scope="module")
def asker() -> Iterator[Asker]:
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        asker = Asker(runner, runner.run(stack.enter_async_context(serving())))
        asker.ask("POST", "/v1/proxies", {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"})
        yield asker
        runner.run(stack.aclose())


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(method=METHODS, path=PATHS, proxy=NAMES, fault=NAMES, query=QUERIES, body=BODIES)
def test_any_json_to_any_route_is_answered(
    asker: Asker, method: str, path: str, proxy: str, fault: str, query: str, body: object
) -> None:
    names = {"proxy": proxy, "fault": fault, "connection": proxy, "partition": fault, "node": proxy, "lease": fault}
    where = path.format(**{key: quote(name.replace("\ud800", ""), safe="") for key, name in names.items()})
    answer = asker.ask(method, where + query, body)
    assert answer.status < 500, answer


PAIRS = st.tuples(
    st.sampled_from(["proxy", "kind", "since"]),
    st.sampled_from(["db", "lagged", "1s", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z"]) | st.text(max_size=9),
)  # fmt: skip
IDS = st.integers(-9, 10**20).map(str) | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=5)


@settings(max_examples=100, deadline=None)
@given(pairs=st.lists(PAIRS, max_size=4), last_id=IDS)
def test_any_query_of_the_endless_stream_is_answered(asker: Asker, pairs: list[tuple[str, str]], last_id: str) -> None:
    query = "&".join(f"{key}={quote(value.replace(chr(0xD800), ''), safe='')}" for key, value in pairs)
    answer = asker.ask("GET", f"/v1/events?{query}&follow=false", headers={"Last-Event-ID": last_id})
    assert answer.status in (200, 400, 404), answer


@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=200), path=st.sampled_from(["/v1/proxies", "/v1/proxies/db/faults", "/v1/heal"]))
def test_any_bytes_to_a_route_that_reads_them_are_answered(asker: Asker, raw: bytes, path: str) -> None:
    assert asker.ask("POST", path, raw=raw).status < 500


def test_a_defect_is_a_500_that_says_nothing_of_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving() as api:
            del api.supervisor.seed
            with caplog.at_level(logging.ERROR, "chaosproxy"):
                async with api.session.get(f"http://127.0.0.1:{api.port}/v1/status") as response:
                    problem = await response.json(content_type="application/problem+json")
            assert (problem["status"], problem["code"], "seed" in problem["detail"]) == (500, "internal-error", False)
            assert "AttributeError" in caplog.text

    asyncio.run(scenario())
