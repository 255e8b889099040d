"""nginx through the proxy, seen by aiohttp, curl and bare sockets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.servers.backends import Web
from tests.servers.chaos import ChaosproxyServer
from tests.servers.processes import find

pytestmark = pytest.mark.real_server


def test_keep_alive_is_one_connection_all_the_way(chaosproxy_server: ChaosproxyServer, web_server: Web) -> None:
    port = chaosproxy_server.add_proxy("web", web_server.port)

    async def connections_of(requests: int) -> set[str]:
        async with aiohttp.ClientSession() as session:
            seen = set()
            for _ in range(requests):
                async with session.get(f"http://127.0.0.1:{port}/small") as answer:
                    assert await answer.text() == "hello\n"
                    seen.add(answer.headers["X-Connection"])
            return seen

    assert len(asyncio.run(connections_of(50))) == 1


@pytest.mark.slow
def test_100_mb_arrive_as_they_were_sent(chaosproxy_server: ChaosproxyServer, web_server: Web) -> None:
    port = chaosproxy_server.add_proxy("web", web_server.port)

    async def sha256() -> str:
        digest = hashlib.sha256()
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/big") as answer:
            async for block in answer.content.iter_any():
                digest.update(block)
        return digest.hexdigest()

    assert asyncio.run(sha256()) == web_server.big_sha256


@pytest.mark.slow
def test_100_mb_arrive_with_curl_under_a_link_that_is_far_and_slices(
    chaosproxy_server: ChaosproxyServer, web_server: Web, tmp_path: Path
) -> None:
    port = chaosproxy_server.add_proxy("web", web_server.port)
    chaosproxy_server.inject("web", "far", type="latency", delay="20ms")
    chaosproxy_server.inject("web", "slices", type="slicer", size="32KiB")
    got = tmp_path / "big"
    curl(port, "/big", "--output", str(got))
    with got.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == web_server.big_sha256


def test_curl_sees_its_time_out(chaosproxy_server: ChaosproxyServer, web_server: Web) -> None:
    port = chaosproxy_server.add_proxy("web", web_server.port)
    assert curl(port, "/small") == "hello\n"
    chaosproxy_server.inject("web", type="stall")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        curl(port, "/small", "--max-time", "0.5")
    assert failed.value.returncode == 28, "curl's code for a time-out"


def test_a_client_that_has_said_all_still_hears_a_long_answer(chaosproxy_server: ChaosproxyServer) -> None:
    """Not with nginx, which cuts a long answer short when its client half-closes, proxy or not."""
    said = os.urandom(20_000_000)
    with answers_after_the_end_of_stream() as upstream:
        port = chaosproxy_server.add_proxy("echo", upstream)
        with socket.create_connection(("127.0.0.1", port), 60.0) as client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            heard = receive_all(client)
    assert hashlib.sha256(heard).digest() == hashlib.sha256(said).digest()


def test_an_end_of_stream_waits_behind_what_is_held(chaosproxy_server: ChaosproxyServer, web_server: Web) -> None:
    port = chaosproxy_server.add_proxy("web", web_server.port)
    chaosproxy_server.inject("web", type="latency", delay="200ms", direction="both")
    with socket.create_connection(("127.0.0.1", port), 60.0) as client:
        began = time.monotonic()
        client.sendall(b"GET /small HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client).endswith(b"hello\n")
        assert time.monotonic() - began >= 0.400


@contextmanager
def answers_after_the_end_of_stream() -> Iterator[int]:
    """A server that says nothing until its client has half-closed, and then all it has heard; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60.0)

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(60.0)
                peer.sendall(receive_all(peer))

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30.0)


def curl(port: int, path: str, *arguments: str) -> str:
    command = [find("curl"), "--silent", "--show-error", "--fail", *arguments, f"http://127.0.0.1:{port}{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def receive_all(client: socket.socket) -> bytes:
    """Everything until the end of the stream."""
    return b"".join(iter(lambda: client.recv(1 << 18), b""))
