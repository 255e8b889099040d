"""HTTP itself: bodies, methods, paths, and the server's own resources."""

from __future__ import annotations

import asyncio
import re
from io import BytesIO
from pathlib import Path

import jsonschema
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from chaosproxy import __version__
from chaosproxy.control.api_v1.routes import ROUTES
from chaosproxy.model.types import FAULT_TYPES
from tests.control.serving import DOCUMENT, serving


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty"),
        (b"{", "not-json"),
        (b'{"a": NaN}', "not-json"),
        (b'{"a": -Infinity}', "not-json"),
        (b'{"a": 1e999}', "not-json"),
        (b'{"a": ' + b"9" * 400 + b"}", "not-json"),
        (b'{"a": 1, "a": 2}', "not-json"),
        (b'{"x": {"a": 1, "a": 2}}', "not-json"),
        (b'{"a": "\\ud800"}', "not-json"),
        (b'{"\\ud800": 1}', "not-json"),
        (b'{"a": "\xff"}', "not-json"),
        (b'{"' + b"k" * 201 + b'": 1}', "not-json"),
        (b"[" * 200_000, "not-json"),
        (b"[]", "wrong-type"),
        (b"null", "wrong-type"),
        (b'"text"', "wrong-type"),
    ],
)
def test_a_body_that_is_no_plain_json_object_is_refused(raw: bytes, code: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask("POST", "/v1/proxies", raw=raw)
            assert (answer.status, answer.body["code"]) == (400, code), answer

    asyncio.run(scenario())


@pytest.mark.parametrize("sent", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"])
def test_a_body_that_is_not_said_to_be_json_is_refused(sent: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            for path in ("/v1/proxies", "/v1/heal"):
                answer = await api.ask("POST", path, raw=b"{}", headers={"Content-Type": sent})
                assert (answer.status, answer.body["code"]) == (415, "unsupported-media-type")

    asyncio.run(scenario())


def test_a_body_of_one_mebibyte_is_read_and_a_larger_one_is_not() -> None:
    async def scenario() -> None:
        async with serving() as api:
            empty = b'{"fault": null}'
            fits = await api.ask("POST", "/v1/heal", raw=BytesIO(empty + b" " * (2**20 - len(empty))))
            assert fits.status == 200
            answer = await api.ask("POST", "/v1/heal", raw=BytesIO(b" " * (2**20 + 1)))
            assert (answer.status, answer.body["code"]) == (413, "too-large")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/proxies", "GET, HEAD, POST"),
        ("POST", "/v1/proxies/db", "DELETE, GET, HEAD, PATCH"),
        ("PATCH", "/v1/proxies/db/faults/x", "DELETE, GET, HEAD, PUT"),
        ("GET", "/v1/heal", "POST"),
        ("DELETE", "/metrics", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_there_is_answered_with_those_that_are(method: str, path: str, allow: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask(method, path)
            assert (answer.status, answer.headers["Allow"]) == (405, allow)
            assert answer.body["code"] == "method-not-allowed"

    asyncio.run(scenario())


def test_a_path_that_is_not_there_is_not_found() -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask("GET", "/v2/proxies")
            assert (answer.status, answer.body["code"]) == (404, "not-found")

    asyncio.run(scenario())


def test_status_says_what_runs() -> None:
    async def scenario() -> None:
        async with serving(seed=7) as api:
            wish = {"name": "db", "listen": "localhost:0", "upstream": "127.0.0.1:9"}
            listen = (await api.ask("POST", "/v1/proxies", wish)).body["listen"]
            status = (await api.ask("GET", "/v1/status")).body
            assert (status["version"], status["seed"], status["loop"]) == (__version__, 7, "asyncio")
            [proxy] = status["proxies"]
            assert proxy["listen"] == listen
            assert f"127.0.0.1:{listen.rpartition(':')[2]}" in proxy["listening_on"]

    asyncio.run(scenario())


def test_metrics_come_in_the_format_that_is_asked_for() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await api.ask("POST", "/v1/proxies", {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"})
            plain = await api.ask("GET", "/metrics")
            assert plain.headers["Content-Type"].startswith("text/plain")
            accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
            opened = await api.ask("GET", "/metrics", headers=accept)
            assert opened.headers["Content-Type"].startswith("application/openmetrics-text")
            assert "chaosproxy_connections" in {family.name for family in plain_text(plain.body)}
            families = list(open_metrics(opened.body))  # type: ignore[no-untyped-call]  # not annotated there
            assert "chaosproxy_connections" in {family.name for family in families}

    asyncio.run(scenario())


def test_every_fault_type_is_listed_with_a_schema_that_is_one() -> None:
    async def scenario() -> None:
        async with serving() as api:
            listed = (await api.ask("GET", "/v1/fault-types")).body["fault_types"]
            assert [one["type"] for one in listed] == list(FAULT_TYPES)
            for one in listed:
                jsonschema.Draft202012Validator.check_schema(one["schema"])

    asyncio.run(scenario())


def test_the_description_is_whole() -> None:
    async def scenario() -> None:
        async with serving() as api:
            document = (await api.ask("GET", "/v1/openapi.json")).body
            assert document == DOCUMENT
            assert document["openapi"] == "3.1.0"
            operations = [one for methods in document["paths"].values() for one in methods.values()]
            names = [one["operationId"] for one in operations]
            assert len(set(names)) == len(names) > 15
            for name, schema in document["components"]["schemas"].items():
                jsonschema.Draft202012Validator.check_schema(schema)
                known = {f"#/components/schemas/{one}" for one in document["components"]["schemas"]}
                assert set(references(schema)) <= known, name

    asyncio.run(scenario())


def test_the_documentation_lists_every_route() -> None:
    text = (Path(__file__).parents[2] / "docs" / "rest.md").read_text()
    table = text.split("## A tour")[0]
    documented = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[\w./{}-]*)", table)
    here = {(route.method, route.path.replace("{connection}", "{id}")) for route in ROUTES}
    assert set(documented) == here | {("GET", "/v1/openapi.json")}


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for one in value.values() for ref in references(one)]
    return [ref for one in value for ref in references(one)] if isinstance(value, list) else []
