"""After a message was lost, its connection stays silent, whatever the client requests next."""

from __future__ import annotations

import pytest

from tests.net.harness import Stage, is_empty, receive, run, send, taken

OTHER = b"GET /other HTTP/1.1\r\nHost: web\r\n\r\n"
LOST = b"GET /lost HTTP/1.1\r\nHost: web\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOSE_ANSWER = {"lose": {"type": "http_drop_response", "match": {"path": "/lost"}}}


def test_no_answer_to_a_later_request_is_taken_for_the_lost_one(loop_name: str) -> None:
    """This holds even if no fault acts on the later request, and each message arrives in one piece."""

    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair(protocol="http", faults=LOSE_ANSWER)
        for request in (OTHER, LOST, OTHER, OTHER):
            await send(client, request)
            assert await receive(server, len(request)) == request
            await send(server, ANSWER)
        assert await receive(client, len(ANSWER)) == ANSWER
        await taken(proxy, downstream=4 * len(ANSWER))
        assert is_empty(client)

    run(loop_name, scenario)


@pytest.mark.parametrize("first", [OTHER, LOST])
def test_the_silence_outlasts_the_fault(loop_name: str, first: bytes) -> None:
    async def scenario(stage: Stage) -> None:
        proxy, client, server = await stage.pair(protocol="http", faults=LOSE_ANSWER)
        await send(client, first)
        assert await receive(server, len(first)) == first
        await send(server, ANSWER)
        if first is OTHER:
            assert await receive(client, len(ANSWER)) == ANSWER
        else:
            await stage.event("message_touched")
        stage.supervisor.heal("test")
        await send(client, OTHER)
        assert await receive(server, len(OTHER)) == OTHER
        await send(server, ANSWER)
        if first is OTHER:
            assert await receive(client, len(ANSWER)) == ANSWER
        await taken(proxy, downstream=2 * len(ANSWER))
        assert is_empty(client)

    run(loop_name, scenario)
