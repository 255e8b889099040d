"""Token, foreign pages, DNS rebinding, policy."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from chaosproxy.control.web.guards import is_loopback
from chaosproxy.model import Address, PolicySpec
from tests.control.serving import LOOPBACK, serving


@pytest.mark.parametrize("sent", [None, "Bearer", "Bearer wrong", "Basic secret", "secret", "Bearer sécret"])
def test_without_the_token_nothing_is_answered_but_probes(sent: str | None) -> None:
    async def scenario() -> None:
        async with serving(replace(LOOPBACK, token="secret")) as api:
            headers = {} if sent is None else {"Authorization": sent}
            for path in ("/v1/status", "/metrics", "/v1/openapi.json"):
                refused = await api.ask("GET", path, headers=headers)
                assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            for path in ("/healthz", "/readyz"):
                assert (await api.ask("GET", path, headers=headers)).status == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_the_token_everything_is_answered(scheme: str) -> None:
    async def scenario() -> None:
        async with serving(replace(LOOPBACK, token="secret ü")) as api:
            assert (await api.ask("GET", "/v1/status", headers={"Authorization": f"{scheme} secret ü"})).status == 200

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "http://evil.example"}, "foreign-page"),
        ({"Origin": "null"}, "foreign-page"),
        ({"Origin": "http://127.0.0.1:1"}, "foreign-page"),
        ({"Origin": "http://[bad"}, "foreign-page"),
        ({"Sec-Fetch-Site": "cross-site"}, "foreign-page"),
        ({"Sec-Fetch-Site": "same-site"}, "foreign-page"),
        ({"Host": "evil.example"}, "foreign-host"),
        ({"Host": "127.0.0.1.evil.example:8474"}, "foreign-host"),
        ({"Host": "[bad"}, "foreign-host"),
    ],
)
def test_what_a_foreign_page_makes_a_browser_send_is_refused(headers: dict[str, str], code: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask("POST", "/v1/heal", headers=headers)
            assert (answer.status, answer.body["code"]) == (403, code)

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "[::1]:{port}"])
def test_own_pages_and_own_names_are_answered(host: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            name = host.format(port=api.port)
            headers = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
            assert (await api.ask("POST", "/v1/heal", headers=headers)).status == 200

    asyncio.run(scenario())


def test_beyond_loopback_any_host_name_is_answered_and_a_warning_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        exposed = replace(LOOPBACK, listen=Address("0.0.0.0", 0))
        with caplog.at_level(logging.WARNING, "chaosproxy"):
            async with serving(exposed) as api:
                assert (await api.ask("GET", "/v1/status", headers={"Host": "chaos.internal"})).status == 200
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "each client that reaches it has control" in caplog.text

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        (Address("127.0.0.1", 1), True), (Address("127.9.9.9", 1), True), (Address("::1", 1), True),
        (Address("localhost", 1), True), (Address("/run/x.sock"), True),
        (Address("0.0.0.0", 1), False), (Address("::", 1), False), (Address("10.0.0.1", 1), False),
        (Address("localhost.evil.example", 1), False),
    ],
)  # fmt: skip
def test_which_addresses_only_this_machine_can_reach(address: Address, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_policy_is_asked_for_what_is_new_and_names_its_rule() -> None:
    async def scenario() -> None:
        policy = PolicySpec(upstreams=("127.0.0.0/8",), listen=("127.0.0.1",))
        async with serving(policy=policy) as api:
            wish = {"name": "db", "listen": "0.0.0.0:0", "upstream": "10.0.0.1:5432"}
            refused = await api.ask("POST", "/v1/proxies", wish)
            assert (refused.status, refused.body["code"]) == (403, "forbidden-by-policy")
            assert refused.wrong == {"upstream": "forbidden-by-policy", "listen": "forbidden-by-policy"}
            assert api.supervisor.proxies() == []

            allowed = {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:5432"}
            assert (await api.ask("POST", "/v1/proxies", allowed)).status == 201
            moved = await api.ask("PATCH", "/v1/proxies/db", {"upstream": "10.0.0.1:1"})
            assert (moved.status, list(moved.wrong)) == (403, ["upstream"])
            assert (await api.ask("GET", "/v1/proxies/db")).body["upstream"] == "127.0.0.1:5432"

    asyncio.run(scenario())
