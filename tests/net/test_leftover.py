"""The file of a unix socket is deleted if it is left over from a crash, and only then."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaosproxy.errors import CannotListen
from chaosproxy.model import Address
from chaosproxy.net.sockets import leftover
from chaosproxy.net.sockets.binding import bind_all
from tests.net.building import fault
from tests.net.harness import Stage, run

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the sockets of other programs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app (1).sock"


@pytest.fixture
def other(path: Path) -> Iterator[socket.socket]:
    """Another program's socket, which is bound and does not listen."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        yield sock


async def is_in_use(path: Path | str) -> bool:
    """Return whether no proxy can listen at `path`."""
    try:
        [sock] = await bind_all(Address(str(path)))
    except CannotListen as refused:
        assert refused.code == "address-in-use"
        return True
    sock.close()
    return False


@linux
def test_a_socket_that_does_not_listen_at_the_moment_keeps_its_file(path: Path, other: socket.socket) -> None:
    assert asyncio.run(is_in_use(path))
    other.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@linux
@pytest.mark.parametrize("end", ["refuse", "disabled"])
def test_a_proxy_that_refuses_clients_keeps_its_file(loop_name: str, path: Path, end: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:9", listen=f"unix:{path}")
        if end == "refuse":
            stage.supervisor.put_fault("proxy", fault("down", type="refuse"), "test")
        else:
            assert running.listener is not None
            running.listener.hold()
        assert await is_in_use(path)
        await stage.supervisor.remove_proxy("proxy", "test")
        assert not path.exists()

    run(loop_name, scenario)


@linux
def test_another_spelling_of_the_directory_is_recognised(tmp_path: Path, path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{tmp_path}/link/./{path.name}")
        assert asyncio.run(is_in_use(path))


@linux
def test_a_path_relative_to_an_unknown_directory_may_be_that_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as third:
        other.bind(path.name)
        third.bind(f"another {path.name}")
        assert asyncio.run(is_in_use(path))
        other.close()
        assert not asyncio.run(is_in_use(path)), "now it is left over"


def test_a_socket_of_that_name_elsewhere_does_not_keep_the_file(tmp_path: Path, path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as other:
        dead.bind(str(path))
        other.bind(str(tmp_path / "elsewhere" / path.name))
        dead.close()
        assert not asyncio.run(is_in_use(path))


def test_connections_that_are_still_open_do_not_keep_the_file(path: Path, other: socket.socket) -> None:
    other.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        accepted, _ = other.accept()
        with accepted:
            other.close()
            assert not asyncio.run(is_in_use(path))


def test_a_link_to_a_socket_is_no_socket(tmp_path: Path, path: Path, other: socket.socket) -> None:
    other.close()
    link = tmp_path / "link"
    link.symlink_to(path)
    assert asyncio.run(is_in_use(link))
    assert os.path.samefile(link, path)


@pytest.mark.usefixtures("other")
def test_without_the_list_of_sockets_a_file_that_refuses_is_left_over(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftover, "_TABLE", tmp_path / "none")
    assert not asyncio.run(is_in_use(path))
