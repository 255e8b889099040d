"""The life of `chaosproxy serve` itself."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.servers.backends import Web
from tests.servers.chaos import ChaosproxyServer, serving


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_loop_is_the_one_that_the_suite_means(chaosproxy_server: ChaosproxyServer, loop_name: str) -> None:
    loaded = Path(f"/proc/{chaosproxy_server.process.pid}/maps").read_text()
    assert ("/uvloop/" in loaded) is (loop_name == "uvloop")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_where_uvloop_cannot_be_imported_plain_asyncio_takes_its_place(tmp_path: Path) -> None:
    program = "import sys; sys.modules['uvloop'] = None; from chaosproxy.cli import main; main()"
    with serving(tmp_path, command=[sys.executable, "-c", program]) as server:
        assert "/uvloop/" not in Path(f"/proc/{server.process.pid}/maps").read_text()


@pytest.mark.slow
@pytest.mark.real_server
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=lambda sign: sign.name)
def test_a_signal_ends_it_however_busy(
    own_server: ChaosproxyServer, web_server: Web, sign: signal.Signals
) -> None:
    port = own_server.add_proxy("web", web_server.port)
    own_server.inject("web", "narrow", type="bandwidth", rate="1MB/s")
    own_server.inject("web", "far", type="latency", delay="1s")
    clients = [socket.create_connection(("127.0.0.1", port), 60.0) for _ in range(20)]
    try:
        for client in clients:
            client.sendall(b"GET /big HTTP/1.1\r\nHost: web\r\n\r\n")
        assert clients[0].recv(1), "the transfers have begun"
        assert own_server.stop(sign) == 0, "the transfers would take half an hour"
        for client in clients:
            read_to_its_end(client)
    finally:
        for client in clients:
            client.close()


def read_to_its_end(client: socket.socket) -> None:
    """Until the end of the stream or a reset: anything but a time-out."""
    try:
        while client.recv(1 << 18):
            pass
    except ConnectionError:
        return
