"""Listen again after a fault has refused clients, also if another process or the file system is in the way."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chaosproxy.events import FaultExpired, FaultRemoved, PartitionRemoved
from chaosproxy.model import Address
from chaosproxy.net.sockets import listener
from chaosproxy.net.sockets.binding import bind_all
from tests.net.building import fault, partition, proxy
from tests.net.harness import Stage, address_of, run

NODES = {"from": "app", "to": "db"}
DOWN = fault("down", type="refuse", existing="reset")


class Log(logging.Handler):
    """The lines that the listener logs instead of failing."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._changed = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self._changed.set()

    async def line(self, text: str) -> str:
        while True:
            if found := [one for one in self.lines if text in one]:
                return found[0]
            self._changed.clear()
            await self._changed.wait()


Play = Callable[[Callable[[Stage, Log], Awaitable[None]]], None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, loop_name: str) -> Play:
    """Play a scenario in which the listener tries again in the next turn of the loop."""
    log = Log()
    monkeypatch.setattr(listener, "_RETRY", 0.0)
    monkeypatch.setattr(listener.logger, "handlers", [log])
    monkeypatch.setattr(listener.logger, "propagate", False)
    return lambda scenario: run(loop_name, lambda stage: scenario(stage, log))


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def server_at(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def test_a_heal_succeeds_although_the_directory_of_a_socket_is_gone(play: Play, tmp_path: Path) -> None:
    async def scenario(stage: Stage, log: Log) -> None:
        directory = tmp_path / "run"
        directory.mkdir()
        for name, listen in (("u", "127.0.0.1:0"), ("w", f"unix:{directory}/sock"), ("x", "127.0.0.1:0")):
            await stage.supervisor.add_proxy(proxy(name, listen=listen, upstream="127.0.0.1:9"), "test")
        stage.supervisor.faults.put_on(stage.supervisor.proxies(), DOWN, "test")
        shutil.rmtree(directory)
        assert stage.supervisor.waiting_for() == []
        assert len(stage.supervisor.heal("test", fault="down")) == 3
        assert [one.proxy for one in stage.events if isinstance(one, FaultRemoved)] == ["u", "w", "x"]
        assert not any(one.spec.faults for one in stage.supervisor.proxies())
        assert stage.supervisor.waiting_for() == ["w"]
        assert stage.supervisor.proxy("w").listening_on == []
        assert "No such file or directory; trying again" in await log.line(f"unix:{directory}/sock")
        directory.mkdir()
        await log.line("listening again on unix:")
        assert stage.supervisor.waiting_for() == []
        assert connects(directory / "sock")
        assert len(log.lines) == 2, "one for the failure, one for the success"

    play(scenario)


@pytest.mark.parametrize("by", ["ttl", "partition", "change"])
def test_every_end_of_a_refusal_succeeds_while_another_program_listens(play: Play, by: str) -> None:
    async def scenario(stage: Stage, log: Log) -> None:
        running = await stage.proxy_to("127.0.0.1:9", **NODES)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if by == "partition":
                stage.supervisor.partitions.add(partition("cut", fail_fast=True, **NODES), "test")
            else:
                ttl = {"ttl": "1ms"} if by == "ttl" else {}
                stage.supervisor.put_fault("proxy", fault("down", type="refuse", **ttl), "test")
            other.bind(address_of(running))
            other.listen()
            if by == "ttl":
                await stage.event_that(lambda event: isinstance(event, FaultExpired))
            elif by == "partition":
                stage.supervisor.partitions.remove("cut", "test")
                await stage.event_that(lambda event: isinstance(event, PartitionRemoved))
            else:
                stage.supervisor.put_fault("proxy", fault("down", type="latency", delay="1ms"), "test")
            await log.line("Address already in use")
            assert stage.supervisor.waiting_for() == ["proxy"]
        await log.line("listening again on 127.0.0.1:")
        assert stage.supervisor.waiting_for() == []
        await stage.connect(running)
        await stage.event("dial_failed")

    play(scenario)


async def bind_two(address: Address) -> list[socket.socket]:
    """Listen on two addresses, as for a name that has several."""
    return [*await bind_all(replace(address, host="127.0.0.2")), *await bind_all(address)]


def test_an_address_that_is_taken_keeps_no_other_from_listening(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage, log: Log) -> None:
        monkeypatch.setattr(listener, "bind_all", bind_two)
        running = await stage.proxy_to("127.0.0.1:9")
        first, second = running.listening_on
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stage.supervisor.put_fault("proxy", DOWN, "test")
            other.bind((first.host, first.port))
            other.listen()
            stage.supervisor.heal("test")
            assert running.listening_on == [second]
            assert stage.supervisor.waiting_for() == ["proxy"]
            stage.supervisor.put_fault("proxy", DOWN, "test")
            assert stage.supervisor.waiting_for() == [], "a proxy that refuses counts as bound"
            stage.supervisor.heal("test")
            await stage.connect(running)
            await stage.event("dial_failed")
        await log.line("listening again on")
        assert running.listening_on == [first, second]

    play(scenario)


def test_a_change_or_a_removal_does_not_wait_for_a_lost_address(play: Play, tmp_path: Path) -> None:
    async def scenario(stage: Stage, log: Log) -> None:
        path = tmp_path / "sock"
        running = await stage.proxy_to("127.0.0.1:9", listen=f"unix:{path}")
        stage.supervisor.put_fault("proxy", DOWN, "test")
        path.unlink()
        with server_at(path):
            stage.supervisor.heal("test")
            await stage.supervisor.change_proxy(proxy(upstream="127.0.0.1:7", listen=f"unix:{path}"), "test")
            assert running.spec.upstream.port == 7
            assert stage.supervisor.waiting_for() == ["proxy"]
            await stage.supervisor.remove_proxy("proxy", "test")
            assert connects(path), "the path of the other server is not deleted"

    play(scenario)


@pytest.mark.parametrize("end", ["heal", "remove"])
def test_a_path_that_another_program_has_taken_is_not_deleted(play: Play, tmp_path: Path, end: str) -> None:
    async def scenario(stage: Stage, log: Log) -> None:
        path = tmp_path / "sock"
        await stage.proxy_to("127.0.0.1:9", listen=f"unix:{path}")
        stage.supervisor.put_fault("proxy", DOWN, "test")
        path.unlink()
        with server_at(path):
            if end == "remove":
                await stage.supervisor.remove_proxy("proxy", "test")
                assert connects(path)
                return
            stage.supervisor.heal("test")
            await log.line("Address already in use")
            assert connects(path)
        path.unlink()
        await log.line("listening again on")
        assert connects(path)
        await stage.supervisor.remove_proxy("proxy", "test")
        assert not path.exists(), "its own file is deleted, also after it was bound again"

    play(scenario)


def test_a_socket_in_a_directory_without_write_access_is_removed_without_error(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(stage: Stage, log: Log) -> None:
        await stage.proxy_to("127.0.0.1:9", listen=f"unix:{tmp_path}/sock")

        def refuse(path: str) -> None:
            raise PermissionError(path)

        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", refuse)
            await stage.supervisor.remove_proxy("proxy", "test")
        assert stage.supervisor.proxies() == []

    play(scenario)


def test_a_backlog_that_cannot_be_filled_does_not_make_a_change_fail(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(stage: Stage, log: Log) -> None:
        await stage.proxy_to("127.0.0.1:9")

        def exhausted(*_: object) -> socket.socket:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", exhausted)
            stage.supervisor.put_fault("proxy", fault("off", type="unreachable", mode="stream"), "test")
        await log.line("cannot fill the backlog")

    play(scenario)
