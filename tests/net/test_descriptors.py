"""The descriptors that the data plane counts are those that the system shows in /proc/self/fd."""

from __future__ import annotations

import asyncio
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.net.building import fault, proxy
from tests.net.harness import Stage, open_descriptors, run, send, until
from tests.net.tls_peers import Certs, Peer, connect
from tests.supervising import change_proxy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")

DISAGREE_S = 10.0
"""Seconds in which both numbers must become right: loops close descriptors one or two iterations later."""
REFUSE = fault("off", type="refuse")
FULL = fault("off", type="unreachable", mode="stream")


class Books:
    """The descriptors that were opened since this object was made: those counted, and those that are open."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._free = stage.supervisor.descriptors.free
        self._others = open_descriptors() - stage.open_sockets()

    @property
    def both(self) -> tuple[int, int]:
        open_now = open_descriptors() - self._stage.open_sockets() - self._others
        return self._free - self._stage.supervisor.descriptors.free, open_now

    async def show(self, counted: int, unused: int = 0) -> None:
        """Check that so many are counted besides an open tap, and all but `unused` of them open, now or soon."""
        tap = self._stage.supervisor.tap.is_open  # depends on the privileges of this process
        expected = (counted + tap, counted + tap - unused)
        try:
            async with asyncio.timeout(DISAGREE_S):
                await until(lambda: self.both == expected)
        except TimeoutError:
            assert self.both == expected, "counted, open"


def test_sockets_that_listen_hold_a_port_or_fill_a_backlog(loop_name: str, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        books, supervisor = Books(stage), stage.supervisor
        running = await stage.proxy_to("127.0.0.1:9")
        await books.show(1)
        supervisor.put_fault("proxy", REFUSE, "test")
        await books.show(1)  # the socket that holds the port
        supervisor.put_fault("proxy", FULL, "test")
        await books.show(2)  # and the filler
        supervisor.put_fault("proxy", REFUSE, "test")
        await books.show(1)
        supervisor.put_fault("proxy", FULL, "test")
        supervisor.heal("test")
        await books.show(1)
        await change_proxy(supervisor, replace(running.spec, enabled=False), "test")
        await books.show(1)

        await supervisor.add_proxy(proxy("unix", listen=f"unix:{tmp_path}/sock", upstream="127.0.0.1:9"), "test")
        await books.show(3)  # its socket, and the file that identifies its path
        supervisor.put_fault("unix", FULL, "test")
        await books.show(3)
        supervisor.put_fault("unix", REFUSE, "test")
        await books.show(3)  # a socket that does not listen has the path
        supervisor.heal("test")
        await books.show(3)

        await supervisor.remove_proxy("proxy", "test")
        await supervisor.remove_proxy("unix", "test")
        await books.show(0)

    run(loop_name, scenario)


def test_an_address_that_is_lost_has_none_until_it_is_back(loop_name: str, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        directory = tmp_path / "run"
        directory.mkdir()
        books = Books(stage)
        await stage.proxy_to("127.0.0.1:9", listen=f"unix:{directory}/sock")
        stage.supervisor.put_fault("proxy", REFUSE, "test")
        (directory / "sock").unlink()
        directory.rmdir()
        stage.supervisor.heal("test")
        await stage.event("listen_failed")
        await books.show(1)  # the file that is gone
        directory.mkdir()
        await stage.event("listen_recovered")
        await books.show(2)

    run(loop_name, scenario)


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_connections(protocol: str, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        books = Books(stage)
        running, client, server = await stage.pair(protocol=protocol)
        await books.show(1 + 2)
        await send(client, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        await stage.event("client_ended")
        await books.show(1 + 2)
        server.close()
        await stage.event("connection_closed")
        await books.show(1)
        stage.supervisor.put_fault("proxy", fault("slow", type="slow_accept", delay="1h"), "test")
        await stage.connect(running)
        await until(lambda: len(running.connections) == 1)
        await books.show(1 + 2, unused=1)  # the second is kept for the dial

    run(loop_name, scenario)


def test_a_copy_of_a_request_has_one_until_its_response(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        books, listener = Books(stage), stage.listener()
        upstream = f"127.0.0.1:{listener.getsockname()[1]}"
        running = await stage.proxy_to(upstream, protocol="http", faults={"twice": {"type": "http_duplicate"}})
        client = await stage.connect(running)
        await stage.accept(listener)
        await send(client, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        copied = await stage.accept(listener)
        await books.show(1 + 2 + 1)
        await send(copied, b"HTTP/1.1 204 No Content\r\n\r\n")
        await books.show(1 + 2)

    run(loop_name, scenario)


def test_a_name_has_a_second_descriptor_for_its_dial_alone(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        books, listener = Books(stage), stage.listener()
        running = await stage.proxy_to(f"localhost:{listener.getsockname()[1]}")
        await stage.connect(running)
        await stage.accept(listener)
        await stage.event("connection_opened")
        await books.show(1 + 2)

    run(loop_name, scenario)


def test_connections_with_tls_on_both_sides(loop_name: str, tmp_path: Path) -> None:
    certs = Certs(tmp_path)

    async def scenario(stage: Stage) -> None:
        books, listener = Books(stage), stage.listener()
        tls = {"listen_tls": certs.listen(), "upstream_tls": certs.upstream()}
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", **tls)
        await asyncio.gather(connect(stage, running, certs.client_context()), _served(stage, listener, certs))
        await stage.event("connection_opened")
        await books.show(1 + 2)
        running.end_connections("reset")
        await stage.event("connection_closed")
        await books.show(1)

    run(loop_name, scenario)


async def _served(stage: Stage, listener: socket.socket, certs: Certs) -> Peer:
    return await Peer(await stage.accept(listener), certs.server_context()).handshake()


@pytest.mark.namespace
def test_filters_in_the_kernel_need_none_and_the_tap_needs_one(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        books = Books(stage)
        running, _, _ = await stage.pair()
        loss = fault("loss", type="packet_loss", rate="1%", mode="packet", direction="both")
        stage.supervisor.put_fault("proxy", loss, "test")
        assert running.fault_modes() == {"loss": "packet"}
        await books.show(1 + 2)
        stage.supervisor.put_fault("proxy", fault("off", type="unreachable", mode="packet"), "test")
        assert running.fault_modes() == {"loss": "packet", "off": "packet"}
        assert stage.supervisor.tap.is_open
        await books.show(1 + 2)
        stage.supervisor.heal("test")
        await books.show(1 + 2)

    run(loop_name, scenario)
