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
        ({"Origin": "http://127.0.0.1:{port}/"}, "foreign-page"),
        ({"Origin": "http://x@127.0.0.1:{port}"}, "foreign-page"),
        ({"Origin": "ftp://127.0.0.1:{port}"}, "foreign-page"),
        ({"Sec-Fetch-Site": "same-site"}, "foreign-page"),
        ({"Sec-Fetch-Site": "Same-Origin"}, "foreign-page"),
        ({"Host": "evil.example"}, "foreign-host"),
        ({"Host": "127.0.0.1.evil.example:8474"}, "foreign-host"),
    ],
)
def test_what_a_foreign_page_makes_a_browser_send_is_refused(headers: dict[str, str], code: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            sent = {name: value.replace("{port}", str(api.port)) for name, value in headers.items()}
            answer = await api.ask("POST", "/v1/heal", headers=sent)
            assert (answer.status, answer.body["code"]) == (403, code)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "host",
    ["[::1].evil.com", "[::1]evil.com", "localhost:evil.com", "evil.com@127.0.0.1", "127.0.0.1:80:80", "127.0.0.1.",
     "[fe80::1%25lo]", "local%68ost", "[bad", "localhost, evil.com"],
)  # fmt: skip
@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_a_malformed_host_is_refused_wherever_the_server_listens(host: str, listen: str) -> None:
    async def scenario() -> None:
        async with serving(replace(LOOPBACK, listen=Address(listen, 0))) as api:
            answer = await api.ask("POST", "/v1/heal", headers={"Host": host})
            assert (answer.status, answer.body["code"]) == (400, "bad-request")
            assert host not in answer.body["detail"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost:\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n", 200),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n", 200),
        (b"GET http://evil.com/healthz HTTP/1.1\r\nHost: localhost\r\n", 403),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.com\r\n", 403),
        (b"GET http://a@localhost/healthz HTTP/1.1\r\nHost: localhost\r\n", 400),
        (b"GET http:///healthz HTTP/1.1\r\nHost: localhost\r\n", 400),
        (b"CONNECT evil.com:80 HTTP/1.1\r\nHost: localhost\r\n", 403),
    ],
)
def test_the_host_of_the_target_and_of_each_host_field_counts(head: bytes, status: int) -> None:
    async def scenario() -> None:
        async with serving() as api:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
            writer.write(head + b"\r\n")
            async with asyncio.timeout(30):
                line = await reader.readline()
            writer.close()
            assert line.split()[1] == str(status).encode()

    asyncio.run(scenario())


def test_two_tokens_are_no_token() -> None:
    async def scenario() -> None:
        async with serving(replace(LOOPBACK, token="secret")) as api:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
            field = b"Authorization: Bearer secret\r\n"
            writer.write(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n" + field + field + b"\r\n")
            async with asyncio.timeout(30):
                assert (await reader.readline()).split()[1] in (b"400", b"401")
            writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "localhost.:{port}", "LOCALHOST", "[::1]:{port}"]
)
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
        (Address("localhost", 1), True), (Address("LocalHost.", 1), True), (Address("/run/x.sock"), True),
        (Address("::ffff:127.0.0.1", 1), True), (Address("::ffff:10.0.0.1", 1), False),
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
