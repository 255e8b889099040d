"""After a request or response was lost, the client receives nothing more on that connection until it ends."""

from __future__ import annotations

import asyncio
import socket

import pytest

from chaosproxy.events import ConnectionClosed, ServerEnded
from tests.net.harness import Stage, close_with_reset, run
from tests.net.http_shapes import GET, INTERIM, OK, OTHER, OTHER_ANSWER, End, answer, request, settled

LOSSES = ("http_drop_request", "http_drop_response")
HIT = {"path": "/hit"}

GAVE_UP = ("client", "client gave up, unanswered for fault it")

both_losses = pytest.mark.parametrize("loss", LOSSES)


async def ends(stage: Stage, loss: str, **settings: object) -> tuple[End, End]:
    faults = {"it": {"type": loss, "match": HIT, **settings}}
    _, client, server = await stage.pair(protocol="http", faults=faults, routes=["/hit", "/other"])
    return End(client), End(server)


async def is_silent(stage: Stage, client: End, server: End, number: int = 1) -> bool:
    """Return whether the client receives nothing, not even an end, after the proxy has read all bytes sent so far."""
    size = len(client.raw)
    await settled(stage.supervisor.proxy("proxy").connections[number], client, server)
    return (len(client.raw), client.end) == (size, "")


async def closed(stage: Stage, *ends: End) -> tuple[str, str]:
    event = await stage.event("connection_closed")
    assert isinstance(event, ConnectionClosed)
    for end in ends:
        await end.stop()
    return event.cause, event.detail


async def lose_one(stage: Stage, loss: str, client: End, server: End) -> None:
    """Send the request for /hit; a fault drops it, or its response."""
    size = len(server.raw)
    await client.send(GET.raw)
    if loss == "http_drop_response":
        await server.has(size + len(GET.raw))
        await server.send(OK.raw)
    assert await is_silent(stage, client, server)
    assert len(server.raw) == size + (len(GET.raw) if loss == "http_drop_response" else 0)


@both_losses
def test_what_was_asked_before_is_answered_and_what_is_asked_later_is_not(loss: str, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, loss)
        await client.send(OTHER.raw + GET.raw + OTHER.raw)
        if loss == "http_drop_request":
            assert await server.has(len(OTHER.raw))
            await server.send(OTHER_ANSWER.raw)
        else:
            await server.has(2 * len(OTHER.raw) + len(GET.raw))
            await server.send(OTHER_ANSWER.raw + OK.raw + OTHER_ANSWER.raw)
        assert await client.has(len(OTHER_ANSWER.raw))
        for _ in range(3):
            await client.send(OTHER.raw)  # no fault acts on this request
            await server.send(OTHER_ANSWER.raw)
            assert await is_silent(stage, client, server)
        assert client.raw == OTHER_ANSWER.raw
        expected = OTHER.raw if loss == "http_drop_request" else OTHER.raw + GET.raw + OTHER.raw * 4
        assert server.raw == expected
        client.sock.shutdown(socket.SHUT_WR)
        assert await client.over() == "eof"
        assert await closed(stage, client, server) == GAVE_UP

    run(loop_name, scenario)


@both_losses
@pytest.mark.parametrize("unheard", [
    OTHER_ANSWER.raw, answer("408 Request Timeout", "Connection: close").raw, INTERIM, b"no HTTP at all\r\n\r\n",
    OK.raw[:40],
], ids=["answer", "unasked", "interim", "garbage", "half"])  # fmt: skip
def test_whatever_the_server_sends_is_not_heard(loss: str, unheard: bytes, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, loss)
        await lose_one(stage, loss, client, server)
        await server.send(unheard)
        assert await is_silent(stage, client, server)
        stage.supervisor.heal("test")
        await server.send(unheard)
        assert await is_silent(stage, client, server)
        assert client.raw == b""
        await client.stop()
        assert await server.over() == "eof"
        assert await closed(stage, server) == GAVE_UP

    run(loop_name, scenario)


@both_losses
@pytest.mark.parametrize("heals", [False, True], ids=["placed", "healed"])
@pytest.mark.parametrize("leaves", ["half-close", "close", "reset"])
@pytest.mark.parametrize("server_ends", ["stays", "closes", "resets"])
def test_it_ends_with_its_client(loss: str, heals: bool, leaves: str, server_ends: str, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, loss)
        await lose_one(stage, loss, client, server)
        if server_ends == "closes":
            server.sock.shutdown(socket.SHUT_WR)
        elif server_ends == "resets":
            server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await server.stop()
        if heals:
            stage.supervisor.heal("test")
        assert await is_silent(stage, client, server)
        if leaves == "half-close":
            client.sock.shutdown(socket.SHUT_WR)
            assert await client.over() == "eof"
        elif leaves == "close":
            await client.stop()
        else:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await client.stop()
        first = {"stays": "client reset", "closes": "server closed first, then client reset", "resets": "server reset"}
        expected = (first[server_ends][:6], first[server_ends]) if leaves == "reset" else GAVE_UP
        assert await closed(stage, client, server) == expected

    run(loop_name, scenario)


@both_losses
def test_a_client_that_had_half_closed_before_is_closed(loss: str, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, loss)
        await client.send(OTHER.raw + GET.raw)
        client.sock.shutdown(socket.SHUT_WR)
        await server.has(len(OTHER.raw))
        assert await is_silent(stage, client, server)
        await server.send(OTHER_ANSWER.raw + (OK.raw if loss == "http_drop_response" else b""))
        assert await client.over() == "eof"
        assert client.raw == OTHER_ANSWER.raw, "which was asked for before"
        assert await closed(stage, client, server) == GAVE_UP

    run(loop_name, scenario)


@both_losses
@pytest.mark.parametrize("heals", [False, True], ids=["placed", "healed"])
def test_close_after_ends_it_whether_or_not_the_fault_is_still_there(loss: str, heals: bool, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, loss, close_after="100ms")
        await lose_one(stage, loss, client, server)
        if heals:
            stage.supervisor.heal("test")
        assert await client.over() == "eof"
        assert client.raw == b""
        assert await closed(stage, client, server) == ("injected", "closed by fault it")

    run(loop_name, scenario)


@both_losses
def test_a_client_that_pipelines_into_the_silence_is_still_noticed_when_it_leaves(loss: str, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        faults = {"it": {"type": loss, "match": HIT}}
        proxy, c, s = await stage.pair(protocol="http", faults=faults, pipeline_limit=5, routes=["/hit", "/other"])
        client, server = End(c), End(s)
        await lose_one(stage, loss, client, server)
        for _ in range(3):
            await client.send(OTHER.raw * 20)
            await asyncio.sleep(0)
        await client.stop()
        await server.over()
        assert await closed(stage, server) == GAVE_UP
        counts = {route: tally.statuses for (_, route), tally in proxy.tally.routes.items()}
        assert counts == {"/hit": [1, 0, 0, 0, 0, 0], "/other": [60, 0, 0, 0, 0, 0]}

    run(loop_name, scenario)


def test_a_lost_answer_does_not_keep_others_from_theirs(loop_name: str) -> None:
    """Only that connection becomes silent, not the proxy."""

    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        port = listener.getsockname()[1]
        faults = {"it": {"type": "http_drop_response", "count": 1}}
        proxy = await stage.proxy_to(f"127.0.0.1:{port}", protocol="http", faults=faults)
        pairs = [(End(await stage.connect(proxy)), End(await stage.accept(listener))) for _ in range(2)]
        for client, server in pairs:
            await client.send(GET.raw)
            await server.has(len(GET.raw))
            await server.send(OK.raw)
        assert await pairs[1][0].has(len(OK.raw))
        assert await is_silent(stage, *pairs[0]) and pairs[0][0].raw == b""
        for client, server in pairs:
            await client.stop()
            await server.over()
            await server.stop()

    run(loop_name, scenario)


def test_a_lost_upgrade_says_nothing_in_whatever_protocol(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, "http_drop_response")
        asked = request("GET", "/hit", "Connection: Upgrade", "Upgrade: echo").raw
        await client.send(asked)
        await server.has(len(asked))
        await server.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello")
        assert await is_silent(stage, client, server)
        stage.supervisor.heal("test")
        await server.send(b"again")
        assert await is_silent(stage, client, server)
        assert client.raw == b""
        close_with_reset(client.sock)
        await client.stop()
        await server.over()
        await server.stop()

    run(loop_name, scenario)


@both_losses
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_the_loss_holds_the_end_of_the_server(loss: str, how: str, loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await ends(stage, loss)
        await lose_one(stage, loss, client, server)
        if how == "fin":
            server.sock.shutdown(socket.SHUT_WR)
        else:
            await server.stop_reading()
            close_with_reset(server.sock)
        event = await stage.event("server_ended")
        assert isinstance(event, ServerEnded) and (event.how, event.held_by) == (how, "it")
        [connection] = stage.supervisor.proxy("proxy").connections.values()
        assert (connection.held_by("server"), connection.held_by("client")) == ("it", None)
        client.sock.shutdown(socket.SHUT_WR)
        assert await closed(stage, client, *([server] if how == "fin" else [])) == GAVE_UP

    run(loop_name, scenario)
