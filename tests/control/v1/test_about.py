"""The native API about itself: status, fault types and its description."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema

from chaosproxy import __version__
from chaosproxy.control.v1.routes import ROUTES, SERVER_OPERATIONS
from chaosproxy.declare import params_of
from chaosproxy.model.control import ControlLimits, ControlSpec
from chaosproxy.model.types import FAULT_TYPES
from tests.control.serving import DOCUMENT, serving


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


def test_status_has_the_limits_in_force() -> None:
    async def scenario() -> None:
        control = ControlSpec(limits=ControlLimits(idle_timeout=5.0))
        async with serving(control) as api:
            limits = {one["name"]: one for one in (await api.ask("GET", "/v1/status")).body["limits"]}
            idle = limits["control.limits.idle_timeout"]
            assert (idle["value"], idle["unit"], idle["source"]) == (5.0, "seconds", "configuration")
            assert {f"control.limits.{one.name}" for one in params_of(ControlLimits)} < set(limits)
            for number in range(2):
                wish = {"name": f"db{number}", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
                assert (await api.ask("POST", "/v1/proxies", wish)).status == 201
            later = {one["name"]: one for one in (await api.ask("GET", "/v1/status")).body["limits"]}
            assert later["connections"]["value"] == limits["connections"]["value"] - 1, "of two sockets"

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
            document = (await api.ask("GET", "/v1/openapi.json")).whole
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
    text = (Path(__file__).parents[3] / "docs" / "rest.md").read_text()
    table = text.split("## A tour")[0]
    documented = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[\w./{}-]*)", table)
    operations = (*ROUTES, *SERVER_OPERATIONS.values())
    here = {(one.method, one.path.replace("{connection}", "{id}")) for one in operations}
    assert set(documented) == here | {("GET", "/v1/openapi.json")}


def test_every_step_of_the_tour_works() -> None:
    text = (Path(__file__).parents[3] / "docs" / "rest.md").read_text()
    [tour] = re.findall(r"## A tour\n\n```sh\n(.*?)```", text, re.DOTALL)
    steps = [shlex.split(step) for step in re.findall(r"^curl .*?(?=^curl |\Z)", tour, re.DOTALL | re.MULTILINE)]

    async def scenario() -> None:
        async with serving() as api:
            for step in steps:
                method = step[step.index("-X") + 1] if "-X" in step else "GET"
                [url] = [word for word in step if word.startswith("http://")]
                body = json.loads(step[step.index("-d") + 1]) if "-d" in step else None
                if body is not None and "listen" in body:
                    body["listen"] = "127.0.0.1:0"
                answer = await api.ask(method, urlsplit(url).path, body)
                assert answer.status in (200, 201), (step, answer.whole)

    assert len(steps) > 8
    asyncio.run(scenario())


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for one in value.values() for ref in references(one)]
    return [ref for one in value for ref in references(one)] if isinstance(value, list) else []
