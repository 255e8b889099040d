"""Ambiguous messages through a running proxy: the server receives the same bytes, and nothing is left over."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import pytest

from chaosproxy.declare import Problems
from chaosproxy.model import FaultSpec, read_fault
from tests.http.corpus import CORPUS, LEGAL_ANSWER, LEGAL_REQUEST, Shape
from tests.http.driving import cut
from tests.http.talk import make_talks
from tests.net.harness import Stage, address_of, close_with_reset, is_empty, receive, run, send, taken, until

PAGE = {"type": "http_headers", "set": {"X-Injected": "yes"}, "match": {"path": "/nowhere"}}
ALL = {"type": "http_headers", "set": {"X-Injected": "yes"}, "on": "request"}
MOODS: dict[str, list[dict[str, object]]] = {
    "without faults": [],
    "with a fault that matches nothing": [{**PAGE}, {**PAGE, "on": "request"}],
    "with a fault that matches all": [{**ALL}],
}


def fault(name: str, **settings: object) -> FaultSpec:
    problems = Problems()
    spec = read_fault(settings, name, problems, protocol="http")
    problems.raise_if_any()
    assert spec is not None
    return spec


async def swap(client: socket.socket, server: socket.socket, shape: Shape) -> tuple[bytes, bytes]:
    """Send from both sides and close; return the bytes that each side received."""
    dice = random.Random(shape.name)

    async def say(sock: socket.socket, data: bytes) -> None:
        for piece in cut(data, [dice.randint(0, len(data)) for _ in range(2)]) if data else ():
            await send(sock, piece)
            await asyncio.sleep(0)
        sock.shutdown(socket.SHUT_WR)

    _, upstream = await asyncio.gather(say(client, shape.client), receive(server, 2**30))
    _, downstream = await asyncio.gather(say(server, shape.server), receive(client, 2**30))
    return upstream, downstream


@pytest.mark.parametrize("mood", MOODS)
def test_every_shape_comes_out_as_it_went_in(loop_name: str, mood: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", protocol="http")
        for number, settings in enumerate(MOODS[mood]):
            stage.supervisor.put_fault("proxy", fault(f"f{number}", **settings), "test")
        not_framed = 0
        for shape in CORPUS:
            client = await stage.connect(running)
            server = await stage.accept(listener)
            upstream, downstream = await swap(client, server, shape)
            if mood == "with a fault that matches all":
                changed = upstream.count(b"X-Injected: yes\r\n")
                upstream = upstream.replace(b"X-Injected: yes\r\n", b"")
                assert changed or not shape.framed or not shape.client, shape.name
            assert (upstream, downstream) == (shape.client, shape.server), shape.name
            not_framed += not shape.framed
            assert running.tally.not_framed == not_framed, shape.name
            client.close()
            server.close()

    run(loop_name, scenario)


def test_strict_resets_what_cannot_be_framed_and_the_server_never_sees_it(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", protocol="http", strict=True)
        for shape in CORPUS:
            if shape.framed or shape.server or len(shape.client) > 4000:
                continue
            client = await stage.connect(running)
            server = await stage.accept(listener)
            with contextlib.suppress(OSError):
                await send(client, shape.client)
            got = b""
            with contextlib.suppress(ConnectionResetError):
                got = await receive(server, 2**30)
            assert got == b"", shape.name
            client.close()
            server.close()

    run(loop_name, scenario)


def test_a_client_that_was_slowed_goes_on_when_its_answers_can_no_longer_be_told_apart(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair(protocol="http", pipeline_limit=10)
        await send(client, LEGAL_REQUEST * 30)
        await receive(server, len(LEGAL_REQUEST) * 30)
        await send(server, b"\x00garbage")
        assert await receive(client, 8) == b"\x00garbage"
        await send(client, b"more")
        assert await receive(server, 4) == b"more"

    run(loop_name, scenario)


def test_half_a_head_reaches_a_server_that_turns_out_to_speak_something_else(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair(protocol="http")
        stage.supervisor.put_fault("proxy", fault("f", **PAGE), "test")
        await send(client, b"GET ")
        await taken(proxy, upstream=4)
        assert is_empty(server)
        await send(server, b"220 hello\r\n")
        assert await receive(client, 11) == b"220 hello\r\n"
        assert await receive(server, 4) == b"GET "

    run(loop_name, scenario)


def test_http_0_9_is_not_kept_waiting_for_a_head(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair(protocol="http")
        stage.supervisor.put_fault("proxy", fault("f", **PAGE), "test")
        await send(client, b"GET /\r\n")
        assert await receive(server, 7) == b"GET /\r\n"
        await send(server, b"<p>hello")
        assert await receive(client, 8) == b"<p>hello"

    run(loop_name, scenario)


def test_what_is_left_of_an_aborted_request_is_no_request(loop_name: str) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair(protocol="http")
        stage.supervisor.put_fault("proxy", fault("f", type="http_abort", match={"path": "/a"}), "test")
        await send(client, head + b"x\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await receive(client, 2**20)).startswith(b"HTTP/1.1 503 ")
        assert await receive(server, 2**20) == b""

    run(loop_name, scenario)


def test_nor_is_it_when_the_fault_has_gone_meanwhile(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair(protocol="http")
        stage.supervisor.put_fault("proxy", fault("f", type="http_abort", match={"path": "/a"}), "test")
        head = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(LEGAL_REQUEST)
        await send(client, head)
        assert (await receive(client, 12)).startswith(b"HTTP/1.1 503")
        stage.supervisor.heal("test")
        await send(client, LEGAL_REQUEST)
        await taken(proxy, upstream=len(head) + len(LEGAL_REQUEST))
        marked = LEGAL_REQUEST.replace(b"/next", b"/after")
        await send(client, marked)
        assert await receive(server, len(marked)) == marked

    run(loop_name, scenario)


def test_behind_a_lost_answer_no_other_is_heard(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair(protocol="http")
        stage.supervisor.put_fault("proxy", fault("f", type="http_drop_response", match={"path": "/a"}), "test")
        await send(client, LEGAL_REQUEST.replace(b"/next", b"/a"))
        await receive(server, len(LEGAL_REQUEST) - 3)
        await send(server, LEGAL_ANSWER)
        await taken(proxy, downstream=len(LEGAL_ANSWER))
        await send(client, LEGAL_REQUEST)
        await receive(server, len(LEGAL_REQUEST))
        await send(server, LEGAL_ANSWER)
        await taken(proxy, downstream=2 * len(LEGAL_ANSWER))
        await send(server, b"\x00garbage")
        await taken(proxy, downstream=2 * len(LEGAL_ANSWER) + 8)
        assert is_empty(client)

    run(loop_name, scenario)


FAULTS: tuple[dict[str, object], ...] = (
    {"type": "http_headers", "set": {"X-Injected": "yes"}, "on": "request"},
    {"type": "http_headers", "remove": ["X-Number"]},
    {"type": "http_abort", "status": 503},
    {"type": "http_delay", "delay": "3ms"},
    {"type": "http_delay", "delay": "3ms", "on": "response"},
    {"type": "http_delay", "delay": "2ms", "on": "body"},
    {"type": "http_drop_request"},
    {"type": "http_drop_response"},
    {"type": "http_drop_response", "close_after": "20ms"},
    {"type": "http_duplicate"},
    {"type": "http_truncate", "share": 0.5},
    {"type": "http_truncate", "size": "3B", "then": "reset"},
    {"type": "http_corrupt", "rate": 0.1},
    {"type": "http_slow_body", "rate": "10kB/s", "on": "response"},
    {"type": "http_reset", "size": "2B"},
    {"type": "http_clock_skew", "offset": "1h"},
    {"type": "latency", "delay": "2ms", "direction": "both"},
    {"type": "slicer", "size": "20B", "direction": "both"},
)


def _made(dice: random.Random, side: str) -> bytes:
    if dice.random() < 0.3:
        shape = dice.choice(CORPUS)
        return shape.client if side == "client" else shape.server or shape.client
    talks = make_talks(dice, 3)
    return b"".join(one.request.data if side == "client" else one.answer for one in talks)


async def speak(sock: socket.socket, dice: random.Random, side: str) -> None:
    """Send some data in pieces, receive a little, and leave at any time, by close or reset."""
    loop = asyncio.get_running_loop()
    with sock:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.05):
                data = _made(dice, side)
                for piece in cut(data, [dice.randint(0, len(data)) for _ in range(dice.randint(0, 3))]):
                    await loop.sock_sendall(sock, piece)
                    if dice.random() < 0.2:
                        break
                    if dice.random() < 0.3:
                        await loop.sock_recv(sock, 65536)
                if dice.random() < 0.4:
                    sock.shutdown(socket.SHUT_WR)
                    while await loop.sock_recv(sock, 65536):
                        pass
        if dice.random() < 0.3:
            close_with_reset(sock)


def test_whoever_vanishes_in_the_middle_of_anything_leaves_nothing_behind(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        listener = stage.listener()
        running = await stage.proxy_to(
            f"127.0.0.1:{listener.getsockname()[1]}", protocol="http", caller_faults={"headers": True}
        )
        asking = 20
        served: set[asyncio.Task[None]] = set()

        server_dice = random.Random(1)

        def serve() -> None:
            """Accept without `sock_accept`, which may lose a socket when it is cancelled."""
            sock, _ = listener.accept()
            sock.setblocking(False)
            task = loop.create_task(speak(sock, random.Random(server_dice.random()), "server"))
            served.add(task)
            task.add_done_callback(served.discard)

        async def ask(dice: random.Random) -> None:
            nonlocal asking
            for _ in range(25):
                sock = socket.socket()
                sock.setblocking(False)
                await loop.sock_connect(sock, address_of(running))
                await speak(sock, dice, "client")
            asking -= 1

        async def meddle(dice: random.Random) -> None:
            while asking:
                settings = {**dice.choice(FAULTS), "probability": dice.choice((0.3, 1.0))}
                stage.supervisor.put_fault("proxy", fault(f"f{dice.randrange(4)}", **settings), "test")
                await asyncio.sleep(dice.random() * 0.03)
                if dice.random() < 0.4:
                    stage.supervisor.heal("test")

        loop.add_reader(listener, serve)
        await asyncio.gather(meddle(random.Random(2)), *(ask(random.Random(number)) for number in range(asking)))
        loop.remove_reader(listener)
        listener.close()  # clients that were not accepted are reset
        await asyncio.gather(*served)
        stage.supervisor.heal("test")
        await until(lambda: not running.connections)
        assert running.tally.closed["bug"] == 0

    run(loop_name, scenario)
