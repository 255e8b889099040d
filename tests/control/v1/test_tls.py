"""TLS over REST: changed for new connections, whole or not at all."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from tests.control.serving import echo_server, serving
from tests.net.tls_peers import Certs


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


async def echo(listen: str, context: ssl.SSLContext | None, name: str | None, text: bytes) -> bytes:
    host, _, port = listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    try:
        writer.write(text)
        return await reader.readexactly(len(text))
    finally:
        writer.close()
        await writer.wait_closed()


def test_tls_is_given_changed_and_taken_away(certs: Certs) -> None:
    async def scenario() -> None:
        async with echo_server() as upstream, serving() as api:
            ends = {"listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream}"}
            made = await api.ask("POST", "/v1/proxies", {**ends, "name": "api", "listen_tls": certs.listen()})
            assert (made.status, made.body["listen_tls"], made.body["upstream_tls"]) == (201, certs.listen(), None)
            listen, context = made.body["listen"], certs.client_context()
            assert await echo(listen, context, "api.test", b"hello") == b"hello"

            sent_back = (await api.ask("PATCH", "/v1/proxies/api", made.body)).body
            traffic = {key: sent_back[key] for key in ("bytes_upstream", "bytes_downstream", "turns")}
            assert sent_back == {**made.body, **traffic}
            changed = await api.ask("PATCH", "/v1/proxies/api", {"listen_tls": certs.listen("localhost")})
            assert (changed.status, changed.body["listen"]) == (200, listen)
            assert await echo(listen, context, "localhost", b"hello") == b"hello"
            with pytest.raises(ssl.SSLCertVerificationError):
                await echo(listen, context, "api.test", b"hello")

            more = await api.ask("PATCH", "/v1/proxies/api", {"listen_tls": {"alpn": ["h2"], "client_ca": None}})
            assert more.body["listen_tls"] == certs.listen("localhost", alpn=["h2"])  # merged, as RFC 7396 has it

            assert (await api.ask("PATCH", "/v1/proxies/api", {"listen_tls": None})).status == 200
            assert await echo(listen, None, None, b"plain") == b"plain"

    asyncio.run(scenario())


def test_a_change_of_something_else_leaves_tls_alone_whatever_has_become_of_its_files(tmp_path: Path) -> None:
    async def scenario() -> None:
        own = Certs(tmp_path)
        async with echo_server() as upstream, serving() as api:
            ends = {"listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream}"}
            made = await api.ask("POST", "/v1/proxies", {**ends, "name": "api", "listen_tls": own.listen()})
            Path(own("api.test.pem")).write_text("half a certif")
            changed = await api.ask("PATCH", "/v1/proxies/api", {"queue": "1MiB"})
            assert (changed.status, changed.body["queue"]) == (200, "1MiB")
            assert await echo(made.body["listen"], own.client_context(), "api.test", b"hello") == b"hello"

    asyncio.run(scenario())


def test_what_cannot_be_used_is_named_and_nothing_changes(certs: Certs) -> None:
    async def scenario() -> None:
        async with echo_server() as upstream, serving() as api:
            ends = {"listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream}"}
            made = await api.ask("POST", "/v1/proxies", {**ends, "name": "api", "listen_tls": certs.listen()})
            before = made.body
            parsing: list[tuple[dict[str, object], str, int]] = [
                ({"listen_tls": {**certs.listen(), "key": certs("other")}}, "listen_tls.key", 409),
                ({"upstream_tls": {"ca": "/nowhere"}, "service": "x"}, "upstream_tls.ca", 409),
                ({"listen_tls": {"cert": "x"}, "queue": "1MiB"}, "listen_tls.cert", 409),
                ({"listen_tls": {"key": None}}, "listen_tls.key", 400),
                ({"listen_tls": {**certs.listen(), "require_client_cert": True}}, "listen_tls.client_ca", 400),
            ]
            for wish, field, status in parsing:
                refused = await api.ask("PATCH", "/v1/proxies/api", wish)
                assert (refused.status, list(refused.wrong)) == (status, [field])
                assert (await api.ask("GET", "/v1/proxies/api")).body == before
            wish = {**ends, "name": "b", "listen_tls": {"cert": "x", "key": "y"}}
            posted = await api.ask("POST", "/v1/proxies", wish)
            assert (posted.status, list(posted.wrong)) == (409, ["listen_tls.cert", "listen_tls.key"])
            assert await echo(before["listen"], certs.client_context(), "api.test", b"hello") == b"hello"

    asyncio.run(scenario())


def test_a_fault_that_needs_tls_holds_it_in_place(certs: Certs) -> None:
    async def scenario() -> None:
        async with serving() as api:
            ends = {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
            await api.ask("POST", "/v1/proxies", {**ends, "name": "api", "listen_tls": certs.listen()})
            await api.ask("POST", "/v1/proxies", {**ends, "name": "plain"})
            fault = {"type": "tls_handshake", "name": "wrong", "how": "expired_cert", "match": {"sni": "api.*"}}
            refused = await api.ask("POST", "/v1/proxies/plain/faults", fault)
            assert (refused.status, refused.wrong["type"]) == (409, "not-applicable")
            added = await api.ask("POST", "/v1/proxies/api/faults", fault)
            assert (added.status, added.body["match"]) == (201, {"sni": "api.*"})
            taken = await api.ask("PATCH", "/v1/proxies/api", {"listen_tls": None})
            assert (taken.status, list(taken.wrong)) == (409, ["faults.wrong.type"])
            listen = (await api.ask("GET", "/v1/proxies/api")).body["listen"]
            with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
                await echo(listen, certs.client_context(), "api.test", b"hello")
            metrics = await api.ask("GET", "/metrics")
            assert metrics.status == 200

    asyncio.run(scenario())


def test_a_fault_without_its_ca_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving() as api:
            certs = Certs(tmp_path)
            (tmp_path / "ca.key").unlink()
            ends = {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
            await api.ask("POST", "/v1/proxies", {**ends, "name": "api", "listen_tls": certs.listen()})
            refused = await api.ask("PUT", "/v1/proxies/api/faults/x", {"type": "tls_handshake", "how": "wrong_host"})
            assert (refused.status, refused.body["code"]) == (409, "unsupported")
            patch = {"service": "s", "faults": {"x": {"type": "tls_handshake", "how": "wrong_host"}}}
            assert (await api.ask("PATCH", "/v1/proxies/api", patch)).status == 409
            body = (await api.ask("GET", "/v1/proxies/api")).body
            assert (body["service"], body["faults"]) == (None, [])

    asyncio.run(scenario())
