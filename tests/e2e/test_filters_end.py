"""A filter never outlives what asked for it: not the proxy, not the process, however that ends."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import HOST, wait_until

pytestmark = pytest.mark.namespace

TIME_WAIT = "06"


@contextmanager
def cut_connection(directory: Path) -> Iterator[tuple[ChaosproxyServer, int, socket.socket, socket.socket]]:
    """A running server with a connection that a partition cuts both ways; its port and both ends."""
    with socket.create_server((HOST, 0)) as listener, serving(directory) as server:
        port = server.add_proxy("db", listener.getsockname()[1], **{"from": "app", "to": "db"})
        with socket.create_connection((HOST, port), 60.0) as client:
            far_end, _ = listener.accept()
            with far_end:
                server.call("POST", "/v1/partitions", {"from": "app", "to": "db", "mode": "packet"})
                client.sendall(b"lost")
                wait_until(lambda: server.withheld("db", "upstream") > 0, 30.0, "a filter has dropped the data")
                far_end.setblocking(False)
                with pytest.raises(BlockingIOError):
                    far_end.recv(1)
                far_end.settimeout(60.0)
                yield server, port, client, far_end


def sockets_on(port: int) -> list[str]:
    """The states of all sockets of ours on that port, orphans included; connections that have ended wait at most."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[3] for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] != TIME_WAIT]


def test_after_kill_9_the_kernel_drops_sockets_and_filters_at_once(tmp_path: Path) -> None:
    """Without a reset the kernel would keep our sockets for minutes: the acknowledgements of their ends get lost."""
    not_ended_with_0 = pytest.raises(AssertionError, match="ended with -9")
    with not_ended_with_0, cut_connection(tmp_path) as (server, port, client, far_end):
        assert len(sockets_on(port)) == 2
        server.process.kill()
        server.process.wait(10)
        for end in (client, far_end):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        assert sockets_on(port) == []


def test_sigterm_ends_cut_connections_in_good_order(tmp_path: Path) -> None:
    with cut_connection(tmp_path) as (server, port, client, far_end):
        assert server.stop(signal.SIGTERM) == 0
        assert client.recv(1) == b""
        assert far_end.recv(1) == b""
        client.close()
        wait_until(lambda: sockets_on(port) == [], 30.0, "no socket is left")


def test_removing_the_proxy_ends_its_filters(tmp_path: Path) -> None:
    with cut_connection(tmp_path) as (server, port, client, far_end):
        server.call("DELETE", "/v1/proxies/db")
        assert client.recv(1) == b""
        assert far_end.recv(1) == b""
        client.close()
        wait_until(lambda: sockets_on(port) == [], 30.0, "no socket is left")
        again = server.add_proxy("db", far_end.getsockname()[1])
        with socket.create_connection((HOST, again), 60.0) as fresh:
            assert fresh.getpeername()[1] == again
