"""A real supervisor behind a real control API on a real socket, for the tests of this folder.

Every answer is held against the OpenAPI document: its status must be declared, and its
body must match the schema.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import aiohttp
import jsonschema
from yarl import URL

from chaosproxy.control.limits import limits_of
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.control.v1 import INDEX, v1_routes
from chaosproxy.control.v1 import Api as Program
from chaosproxy.control.v1.openapi import openapi_document
from chaosproxy.control.web import Route, health_routes, listening, make_app, metrics_routes
from chaosproxy.journal.ring import RING_SIZE, Ring
from chaosproxy.model import Address, Config, ControlSpec, PolicySpec
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.sockets.binding import bound
from chaosproxy.observe import GcPauses, make_registry
from chaosproxy.seed import Seed
from tests.net.clockwork import Clockwork
from tests.origins import without_origins

DOCUMENT = openapi_document()
LOOPBACK = ControlSpec(listen=Address("127.0.0.1", 0))


@dataclass(frozen=True)
class Answer:
    status: int
    whole: Any
    headers: Mapping[str, str]

    @property
    def body(self) -> Any:
        """The body without who made each thing and when."""
        return without_origins(self.whole)

    @property
    def wrong(self) -> dict[str, str]:
        """Return the code of each field that is wrong."""
        return {error["path"]: error["code"] for error in self.body["errors"]}


class Api:
    """Asks a running control API."""

    def __init__(self, program: Program, session: aiohttp.ClientSession, port: int) -> None:
        self.program, self.supervisor, self.leases = program, program.supervisor, program.leases
        self.session = session
        self.port = port

    async def ask(
        self,
        method: str,
        path: str,
        wish: object = None,
        *,
        raw: bytes | BytesIO | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and check its answer against the description; `raw` is sent as it is."""
        sent = {"Content-Type": "application/json"} if wish is not None or raw is not None else {}
        data = raw if raw is not None else json.dumps(wish).encode() if wish is not None else None
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.session.request(method, url, data=data, headers={**sent, **(headers or {})}) as response:
            text = await response.text()
            body = json.loads(text) if "json" in response.content_type else text
            answer = Answer(response.status, body, response.headers)
        check_answer(method, path.partition("?")[0], answer, response.content_type)
        return answer


@asynccontextmanager
async def serving(
    control: ControlSpec = LOOPBACK,
    policy: PolicySpec | None = None,
    seed: int = 42,
    beside: Sequence[Route] = (),
    kernel: Capabilities | None = None,
    time: Clockwork | None = None,
    ring_size: int = RING_SIZE,
) -> AsyncIterator[Api]:
    """A control API with nothing behind it yet, until the block ends.

    `beside` is another set of routes; `time` is moved by the test instead of passing.
    """
    if time is None:
        supervisor = Supervisor(Seed(seed), kernel=kernel)
    else:
        supervisor = Supervisor(Seed(seed), kernel=kernel, clock=time.clock, make_timer=time.make_timer)
    registry = make_registry(supervisor, GcPauses(), "asyncio")
    limits = functools.partial(limits_of, Config(control=control), 512, supervisor.descriptors)
    program = Program(
        supervisor=supervisor, policy=policy or PolicySpec(), limits=limits, loop_name="asyncio",
        ring=Ring(supervisor.bus, ring_size),
    )  # fmt: skip
    sets = (v1_routes(program), health_routes(supervisor.waiting_for), metrics_routes(registry), beside)
    app = make_app(*sets, control=control, index=INDEX)
    try:
        async with bound(LOOPBACK.listen, "for the control API") as sockets, listening(app, sockets, control.limits):
            async with aiohttp.ClientSession(skip_auto_headers=("Content-Type",)) as session:
                yield Api(program, session, sockets[0].getsockname()[1])
    finally:
        await program.leases.close()
        await supervisor.close()


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    """The port of a server that answers what it is sent."""
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


def check_answer(method: str, path: str, answer: Answer, content_type: str) -> None:
    """
    :raises AssertionError: if the description does not say that such an answer may come.
    """
    if answer.status >= 400 and answer.status != 503:
        assert content_type == "application/problem+json", answer
        _validator("#/components/schemas/Problem").validate(answer.whole)
        assert answer.body["status"] == answer.status
        assert ("errors" in answer.body) or answer.body["code"] not in ("invalid-input", "forbidden-by-policy")
    operation = _operation(method, path)
    if operation is None:
        assert answer.status in (200, 400, 401, 403, 404, 405), answer
        return
    assert str(answer.status) in operation["responses"], f"{method} {path} answered {answer}, undeclared"
    content = operation["responses"][str(answer.status)].get("content", {}).get("application/json")
    if content is not None:
        _validator(content["schema"]["$ref"]).validate(answer.whole)


def _operation(method: str, path: str) -> Any:  # Any: JSON
    for template, operations in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return operations.get(method.lower())
    return None


@functools.cache
def _validator(reference: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": reference, "components": DOCUMENT["components"]})
