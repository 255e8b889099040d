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

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.errors import CannotListen
from chaosproxy.events import Event, FaultExpired, FaultRemoved, ListenFailed, ListenRecovered, PartitionRemoved
from chaosproxy.model import Address
from chaosproxy.net.sockets import binding, fillers, listener, ports
from chaosproxy.net.sockets.binding import bind_all
from chaosproxy.seed import Seed
from tests.net.building import fault, partition, proxy
from tests.net.clockwork import Clockwork
from tests.net.harness import LOOPS, Stage, address_of, run
from tests.supervising import change_proxy

NODES = {"from": "app", "to": "db"}
DOWN = fault("down", type="refuse", existing="reset")

Play = Callable[[Callable[[Stage], Awaitable[None]]], None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, loop_name: str) -> Play:
    """Play a scenario in which the listener tries again soon."""
    monkeypatch.setattr(ports, "_FIRST", 0.001)
    monkeypatch.setattr(ports, "_LONGEST", 0.001)
    return lambda scenario: run(loop_name, scenario)


@pytest.fixture
def unheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand for a system on which a bound socket does not keep others from its port."""
    monkeypatch.setattr(binding, "hold", lambda _: None)


def thief(where: tuple[str, int], reuse: str = "SO_REUSEADDR") -> socket.socket:
    """Return another program's socket that listens on an address."""
    sock = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
    try:
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, reuse), 1)
        sock.bind(where)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


async def lost(stage: Stage) -> str:
    """Return the reason for the first address that could not be listened on again."""
    event = await stage.event("listen_failed")
    assert isinstance(event, ListenFailed)
    return event.reason


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def server_at(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
    except OSError:
        sock.close()
        raise
    sock.listen()
    return sock


@pytest.mark.parametrize("off", ["refuse", "disabled", "disabled from the start"])
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "localhost:0"])
def test_no_other_program_can_take_the_port_of_a_proxy_that_is_off(play: Play, off: str, listen: str) -> None:
    async def scenario(stage: Stage) -> None:
        enabled = off != "disabled from the start"
        running = await stage.proxy_to("127.0.0.1:9", listen=listen, enabled=enabled)
        if off == "refuse":
            stage.supervisor.put_fault("proxy", DOWN, "test")
        elif enabled:
            await change_proxy(stage.supervisor, replace(running.spec, enabled=False), "test")
        assert running.listener is not None
        port = running.listener.addresses[0].port
        assert port
        for host in ("127.0.0.1", "0.0.0.0", "::"):
            for reuse in ("", "SO_REUSEADDR", "SO_REUSEPORT"):
                with pytest.raises(OSError) as refused:
                    thief((host, port), reuse)
                assert refused.value.errno == errno.EADDRINUSE, (host, reuse)
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
        stage.supervisor.heal("test")
        await change_proxy(stage.supervisor, replace(running.spec, enabled=True), "test")
        assert {one.port for one in running.listening_on} == {port}
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) == 0
        await stage.event("dial_failed")

    play(scenario)


def test_the_port_is_held_beside_open_connections_and_those_that_have_ended(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        second = await stage.connect(running)
        second.close()
        stage.supervisor.put_fault("proxy", fault("down", type="refuse"), "test")
        with pytest.raises(OSError, match="in use"):
            thief(address_of(running))
        stage.supervisor.heal("test")
        await asyncio.get_running_loop().sock_sendall(client, b"still open")
        assert await asyncio.get_running_loop().sock_recv(server, 10) == b"still open"
        await stage.connect(running)

    play(scenario)


def test_a_heal_succeeds_although_the_directory_of_a_socket_is_gone(play: Play, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        directory = tmp_path / "run"
        directory.mkdir()
        for name, listen in (("u", "127.0.0.1:0"), ("w", f"unix:{directory}/sock"), ("x", "127.0.0.1:0")):
            await stage.supervisor.add_proxy(proxy(name, listen=listen, upstream="127.0.0.1:9"), "test")
        for one in stage.supervisor.proxies():
            stage.supervisor.put_fault(one.name, DOWN, "test")
        shutil.rmtree(directory)
        assert stage.supervisor.waiting_for() == {}
        assert len(stage.supervisor.heal("test", fault="down")) == 3
        assert [one.proxy for one in stage.events if isinstance(one, FaultRemoved)] == ["u", "w", "x"]
        assert not any(one.spec.faults for one in stage.supervisor.proxies())
        reason = f"cannot listen on unix:{directory}/sock: No such file or directory"
        assert stage.supervisor.waiting_for() == {"w": reason}
        assert stage.supervisor.proxy("w").listening_on == []
        assert await lost(stage) == reason
        directory.mkdir()
        await stage.event("listen_recovered")
        assert stage.supervisor.waiting_for() == {}
        assert connects(directory / "sock")
        assert len([one for one in stage.events if isinstance(one, ListenFailed | ListenRecovered)]) == 2

    play(scenario)


@pytest.mark.usefixtures("unheld")
@pytest.mark.parametrize("by", ["ttl", "partition", "change"])
def test_every_end_of_a_refusal_succeeds_while_another_program_listens(play: Play, by: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:9", **NODES)
        if by == "partition":
            stage.supervisor.partitions.add(partition("cut", fail_fast=True, **NODES), "test")
        else:
            ttl = {"ttl": "1ms"} if by == "ttl" else {}
            stage.supervisor.put_fault("proxy", fault("down", type="refuse", **ttl), "test")
        with thief(address_of(running)):
            if by == "ttl":
                await stage.event_that(lambda event: isinstance(event, FaultExpired))
            elif by == "partition":
                stage.supervisor.partitions.remove("cut", "test")
                await stage.event_that(lambda event: isinstance(event, PartitionRemoved))
            else:
                stage.supervisor.put_fault("proxy", fault("down", type="latency", delay="1ms"), "test")
            assert "Address already in use" in await lost(stage)
            assert list(stage.supervisor.waiting_for()) == ["proxy"]
        await stage.event("listen_recovered")
        assert stage.supervisor.waiting_for() == {}
        await stage.connect(running)
        await stage.event("dial_failed")

    play(scenario)


@pytest.mark.usefixtures("unheld")
def test_a_lost_address_is_tried_again_after_twice_the_time_up_to_some_seconds(loop_name: str) -> None:
    async def main() -> None:
        time = Clockwork()
        supervisor = Supervisor(Seed(7), clock=time.clock, make_timer=time.make_timer)
        events: list[Event] = []
        supervisor.bus.subscribe(events.append)
        running = await supervisor.add_proxy(proxy(upstream="127.0.0.1:9"), "test")
        supervisor.put_fault("proxy", DOWN, "test")
        with thief(address_of(running)):
            supervisor.heal("test")
            tried = []
            for _ in range(8):
                tried.append(time.timer.due)
                time.go_to(time.timer.due)
            assert tried == [0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 23.75, 31.75]
            assert sum(isinstance(one, ListenFailed) for one in events) == 1, "it is told once"
        time.go_to(time.timer.due)
        assert [(one.at, one.listen) for one in events if isinstance(one, ListenRecovered)] == [
            (39.75, str(running.listening_on[0]))
        ]
        supervisor.put_fault("proxy", DOWN, "test")
        with thief(address_of(running)):
            supervisor.heal("test")
            assert time.timer.due == 40.0, "it begins with the shortest time again"
        await supervisor.close()

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(main())


async def bind_two(address: Address, **how: bool) -> list[socket.socket]:
    """Listen on two addresses, as for a name that has several."""
    return [*await bind_all(replace(address, host="127.0.0.2"), **how), *await bind_all(address, **how)]


@pytest.mark.usefixtures("unheld")
def test_an_address_that_is_taken_keeps_no_other_from_listening(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        monkeypatch.setattr(listener, "bind_all", bind_two)
        running = await stage.proxy_to("127.0.0.1:9")
        first, second = running.listening_on
        stage.supervisor.put_fault("proxy", DOWN, "test")
        with thief((first.host, first.port or 0)):
            stage.supervisor.heal("test")
            assert running.listening_on == [second]
            assert list(stage.supervisor.waiting_for()) == ["proxy"]
            stage.supervisor.put_fault("proxy", DOWN, "test")
            assert stage.supervisor.waiting_for() == {}, "a proxy that refuses counts as bound"
            stage.supervisor.heal("test")
            await stage.connect(running)
            await stage.event("dial_failed")
        await stage.event("listen_recovered")
        assert running.listening_on == [first, second]

    play(scenario)


@pytest.mark.usefixtures("unheld")
def test_a_proxy_that_has_lost_its_address_can_be_moved_disabled_and_removed(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:9")
        where, spec = address_of(running), running.spec
        stage.supervisor.put_fault("proxy", DOWN, "test")
        with thief(where):
            stage.supervisor.heal("test")
            await change_proxy(stage.supervisor, replace(spec, enabled=False), "test")
            assert stage.supervisor.waiting_for() == {}
            with pytest.raises(CannotListen, match="in use"):
                await change_proxy(stage.supervisor, replace(spec, enabled=True), "test")
            assert not running.spec.enabled
            await change_proxy(stage.supervisor, replace(spec, listen=Address("127.0.0.2", 0)), "test")
            assert [one.host for one in running.listening_on] == ["127.0.0.2"]
            await stage.connect(running)
            await stage.event("dial_failed")
            await stage.supervisor.remove_proxy("proxy", "test")

    play(scenario)


def test_a_change_or_a_removal_does_not_wait_for_a_lost_address(play: Play, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        path = tmp_path / "sock"
        running = await stage.proxy_to("127.0.0.1:9", listen=f"unix:{path}")
        stage.supervisor.put_fault("proxy", DOWN, "test")
        path.unlink()
        with server_at(path):
            stage.supervisor.heal("test")
            await change_proxy(stage.supervisor, proxy(upstream="127.0.0.1:7", listen=f"unix:{path}"), "test")
            assert running.spec.upstream.port == 7
            assert list(stage.supervisor.waiting_for()) == ["proxy"]
            await stage.supervisor.remove_proxy("proxy", "test")
            assert connects(path), "the path of the other server is not deleted"

    play(scenario)


@pytest.mark.parametrize("end", ["heal", "remove", "disable", "move", "enable", "stop"])
@pytest.mark.parametrize("taken", ["by a server", "by a dead socket", "by a file"])
def test_a_path_that_another_program_has_taken_is_not_deleted(
    play: Play, tmp_path: Path, end: str, taken: str
) -> None:
    async def scenario(stage: Stage) -> None:
        path = tmp_path / "sock"
        running = await stage.proxy_to("127.0.0.1:9", listen=f"unix:{path}")
        if end == "heal":
            stage.supervisor.put_fault("proxy", DOWN, "test")
        if end == "enable":
            await change_proxy(stage.supervisor, replace(running.spec, enabled=False), "test")
        path.unlink()
        if taken == "by a file":
            path.write_text("not a socket")
        else:
            other = stage.keep(server_at(path))
            if taken == "by a dead socket":
                other.close()
        foreign = path.stat().st_ino
        match end:
            case "heal":
                stage.supervisor.heal("test")
                assert "Address already in use" in await lost(stage)
                assert path.stat().st_ino == foreign
                path.unlink()
                await stage.event("listen_recovered")
                assert connects(path)
                await stage.supervisor.remove_proxy("proxy", "test")
                assert not path.exists(), "its own file is deleted, also after it was bound again"
                return
            case "remove":
                await stage.supervisor.remove_proxy("proxy", "test")
            case "disable":
                await change_proxy(stage.supervisor, replace(running.spec, enabled=False), "test")
            case "enable":
                with pytest.raises(CannotListen, match="in use"):
                    await change_proxy(stage.supervisor, replace(running.spec, enabled=True), "test")
            case "move":
                moved = replace(running.spec, listen=Address(f"{path}2"))
                await change_proxy(stage.supervisor, moved, "test")
            case "stop":
                await stage.supervisor.close()
        assert path.stat().st_ino == foreign

    play(scenario)


def test_a_proxy_at_a_path_refuses_clients_while_it_is_disabled_and_keeps_the_path(play: Play, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        path = tmp_path / "sock"
        running = await stage.proxy_to("127.0.0.1:9", listen=f"unix:{path}", enabled=False)
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as client:
                assert client.connect_ex(str(path)) == errno.ECONNREFUSED
            with pytest.raises(OSError, match="in use"):
                server_at(path)
            with pytest.raises(CannotListen, match="in use") as refused:
                await stage.supervisor.add_proxy(proxy("b", listen=f"unix:{path}", upstream="127.0.0.1:9"), "test")
            assert "'proxy'" in str(refused.value)
            await change_proxy(stage.supervisor, replace(running.spec, enabled=True), "test")
            assert connects(path)
            await change_proxy(stage.supervisor, replace(running.spec, enabled=False), "test")
        await stage.supervisor.remove_proxy("proxy", "test")
        assert not path.exists()

    play(scenario)


def test_a_path_that_cannot_be_listened_on_leaves_no_file(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: socket.socket) -> None:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    async def scenario(stage: Stage) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(binding, "start_listening", fail)
            with pytest.raises(CannotListen, match="No buffer space"):
                await stage.proxy_to("127.0.0.1:9", listen=f"unix:{tmp_path}/sock")
        assert list(tmp_path.iterdir()) == []

    play(scenario)


@pytest.mark.parametrize("end", ["heal", "remove"])
def test_its_own_file_is_recognised_whatever_its_times_are(play: Play, tmp_path: Path, end: str) -> None:
    async def scenario(stage: Stage) -> None:
        path = tmp_path / "sock"
        await stage.proxy_to("127.0.0.1:9", listen=f"unix:{path}")
        if end == "heal":
            stage.supervisor.put_fault("proxy", DOWN, "test")
        os.utime(path, ns=(1, 1))
        stage.supervisor.heal("test")
        assert connects(path)
        assert stage.supervisor.waiting_for() == {}
        await stage.supervisor.remove_proxy("proxy", "test")
        assert not path.exists()

    play(scenario)


def test_a_file_is_not_taken_for_its_own_because_of_its_inode_and_times(play: Play, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        path = tmp_path / "sock"
        await stage.proxy_to("127.0.0.1:9", listen=f"unix:{path}")
        stage.supervisor.put_fault("proxy", DOWN, "test")
        before = path.stat()
        path.unlink()
        path.write_text("not a socket")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        await stage.supervisor.remove_proxy("proxy", "test")
        assert path.read_text() == "not a socket"

    play(scenario)


def test_a_socket_in_a_directory_without_write_access_is_removed_without_error(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(stage: Stage) -> None:
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
    lines: list[str] = []
    log = logging.Handler()
    monkeypatch.setattr(log, "emit", lambda record: lines.append(record.getMessage()))
    monkeypatch.setattr(fillers.logger, "handlers", [log])
    monkeypatch.setattr(fillers.logger, "propagate", False)

    async def scenario(stage: Stage) -> None:
        await stage.proxy_to("127.0.0.1:9")

        def exhausted(*_: object) -> socket.socket:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", exhausted)
            stage.supervisor.put_fault("proxy", fault("off", type="unreachable", mode="stream"), "test")
        assert [one for one in lines if "cannot fill the backlog" in one]

    play(scenario)
