"""TLS with other programs: openssl and curl as clients, openssl as the server."""

from __future__ import annotations

import asyncio
import socket
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.net.harness import Stage, address_of, run
from tests.net.tls_peers import Certs


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


@asynccontextmanager
async def openssl_server(certs: Certs, directory: Path, *words: str) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    files = ["-cert", certs("api.test.pem"), "-key", certs("api.test.key")]
    server = await asyncio.create_subprocess_exec(
        "openssl", "s_server", "-accept", f"127.0.0.1:{port}", *files, *words, cwd=directory, stdin=DEVNULL,
        stdout=PIPE, stderr=DEVNULL,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        async with asyncio.timeout(60):
            while b"ACCEPT" not in await server.stdout.readline():
                pass
        yield port
    finally:
        server.kill()
        await server.communicate()


async def said(*words: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    return process.returncode, out, err


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_to_openssl(loop_name: str, certs: Certs, tmp_path: Path, version: str) -> None:
    async def scenario(stage: Stage) -> None:
        async with openssl_server(certs, tmp_path, "-rev", version) as port:
            tls = {"listen_tls": certs.listen(), "upstream_tls": certs.upstream()}
            running = await stage.proxy_to(f"127.0.0.1:{port}", **tls)
            client = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", "{}:{}".format(*address_of(running)), "-CAfile", certs("ca.pem"),
                "-verify_return_error", "-verify_hostname", "api.test", "-servername", "api.test", "-quiet", version,
                stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
            )  # fmt: skip
            assert client.stdin is not None and client.stdout is not None
            client.stdin.write(b"hello\n")
            async with asyncio.timeout(60):
                assert await client.stdout.readline() == b"olleh\n"
            client.terminate()
            await client.communicate()
            await stage.event("connection_closed")
            counted = running.tally.tls_handshakes
            assert (counted["client", "ok"], counted["server", "ok"]) == (1, 1)

    run(loop_name, scenario)


def test_curl_gets_a_page_and_says_what_is_wrong(loop_name: str, certs: Certs, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        page = bytes(range(256)) * 8192  # 2 MiB
        (tmp_path / "page").write_bytes(page)
        async with openssl_server(certs, tmp_path, "-WWW") as port:
            tls = {"listen_tls": certs.listen(), "upstream_tls": certs.upstream()}
            running = await stage.proxy_to(f"127.0.0.1:{port}", **tls)
            host, own_port = address_of(running)
            curl = ["curl", "-sS", "--http1.0", "--connect-to", f"api.test:443:{host}:{own_port}", "https://api.test/page"]
            code, out, err = await said(*curl, "--cacert", certs("ca.pem"))
            assert (code, err) == (0, b"")
            assert out == page
            code, _, err = await said(*curl)
            assert code == 60 and b"unable to get local issuer certificate" in err

    run(loop_name, scenario)


def test_openssl_may_change_its_keys(loop_name: str, certs: Certs, tmp_path: Path) -> None:
    """TLS 1.3's KeyUpdate, which also requests one from the proxy (RFC 8446 §4.6.3)."""

    async def scenario(stage: Stage) -> None:
        async with openssl_server(certs, tmp_path, "-rev") as port:
            tls = {"listen_tls": certs.listen(), "upstream_tls": certs.upstream()}
            running = await stage.proxy_to(f"127.0.0.1:{port}", **tls)
            client = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", "{}:{}".format(*address_of(running)), "-CAfile", certs("ca.pem"),
                "-servername", "api.test", "-tls1_3", stdin=PIPE, stdout=PIPE, stderr=PIPE,
            )  # fmt: skip
            assert client.stdin is not None and client.stdout is not None and client.stderr is not None
            await stage.event("connection_opened")
            async with asyncio.timeout(60):
                for words in (b"one\n", b"K\n", b"two\n", b"k\n", b"three\n"):
                    client.stdin.write(words)
                    # openssl takes a line for a command only if it arrives alone, so each response is awaited.
                    said = (client.stdout, words.strip()[::-1]) if len(words) > 2 else (client.stderr, b"KEYUPDATE")
                    while (await said[0].readline()).strip() != said[1]:
                        pass
            client.terminate()
            await client.communicate()

    run(loop_name, scenario)
