"""Host names: a name server that does not respond delays no other name, and not the end."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from chaosproxy.app import LoopName, run_on
from chaosproxy.net.sockets.names import is_literal, look_up

LOOPS: tuple[LoopName, ...] = ("uvloop", "asyncio")
HERE = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))]


class Resolver:
    """The system's resolver, as it behaves with a server that does not respond for some names."""

    def __init__(self) -> None:
        self.responds = threading.Event()
        self.calls: Counter[str] = Counter()

    def __call__(self, host: str, *_: object, **__: object) -> Any:
        self.calls[host] += 1
        if host.startswith("lost"):
            assert self.responds.wait(60.0)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return HERE


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.responds.set()


@pytest.mark.parametrize("loop_name", LOOPS)
def test_names_that_get_no_response_do_not_delay_others(loop_name: LoopName, resolver: Resolver) -> None:
    async def scenario() -> None:
        lost = [asyncio.ensure_future(look_up(f"lost-{number}", 80)) for number in range(40)]
        async with asyncio.timeout(30.0):
            assert await look_up("db", 80) == HERE
        resolver.responds.set()
        ended = await asyncio.gather(*lost, return_exceptions=True)
        assert {type(one) for one in ended} == {socket.gaierror}

    run_on(loop_name, scenario())


@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_name_is_looked_up_once_at_a_time_for_all(loop_name: LoopName, resolver: Resolver) -> None:
    async def scenario() -> None:
        first, *others = [asyncio.ensure_future(look_up("lost", 80)) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        resolver.responds.set()
        ended = await asyncio.gather(*others, return_exceptions=True)
        assert {type(one) for one in ended} == {socket.gaierror}
        assert resolver.calls["lost"] == 1
        with pytest.raises(socket.gaierror):
            await look_up("lost", 80)
        assert resolver.calls["lost"] == 2, "the result is not kept"

    run_on(loop_name, scenario())


@pytest.mark.parametrize("loop_name", LOOPS)
def test_an_address_is_not_looked_up(loop_name: LoopName) -> None:
    async def scenario() -> None:
        assert [info[4] for info in await look_up("127.0.0.1", 80)] == [("127.0.0.1", 80)]
        assert [info[4][0] for info in await look_up("::1", 80)] == ["::1"]

    run_on(loop_name, scenario())
    assert [is_literal(host) for host in ("10.0.0.1", "::1", "localhost", "10.0.0.1.example")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_lookup_without_a_response_does_not_keep_the_process_from_ending(loop_name: str) -> None:
    program = f"""
import asyncio, socket, threading
from chaosproxy.app import run_on
from chaosproxy.net.sockets.names import look_up

begun = threading.Event()
socket.getaddrinfo = lambda *_, **__: begun.set() or threading.Event().wait()

async def main():
    try:
        async with asyncio.timeout(0.05):
            await look_up("lost", 80)
    except TimeoutError:
        begun.wait()

run_on({loop_name!r}, main())
print("over")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60.0, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")
