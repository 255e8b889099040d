"""The demo's store, spoken to over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from chaosproxy.demo.store import Store, primary, replica

MAX_WAIT_S = 60.0


async def ask(store: Store, *lines: str) -> list[str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
    try:
        async with asyncio.timeout(MAX_WAIT_S):
            answers = []
            for line in lines:
                writer.write(line.encode() + b"\n")
                answers.append((await reader.readline()).decode().strip())
            return answers
    finally:
        writer.close()
        await writer.wait_closed()


def test_what_is_set_can_be_got() -> None:
    async def story() -> None:
        async with primary() as store:
            assert await ask(store, "GET a", "SET a hello world", "GET a") == ["MISSING", "OK", "VALUE hello world"]

    asyncio.run(story())


def test_a_replica_has_what_was_there_and_what_comes() -> None:
    async def story() -> None:
        async with primary() as store:
            store.set("old", "1")
            async with replica(store) as copy:
                assert await ask(copy, "GET old") == ["VALUE 1"]
                await ask(store, "SET new 2")
                async with asyncio.timeout(MAX_WAIT_S):
                    answers = [await ask(copy, "GET new")]
                    while answers[-1] != ["VALUE 2"]:  # each question takes a turn of the loop, the copy at most a few
                        answers.append(await ask(copy, "GET new"))

    asyncio.run(story())


def test_a_replica_takes_no_writes() -> None:
    async def story() -> None:
        async with primary() as store, replica(store) as copy:
            assert await ask(copy, "SET a 1", "GET a") == ["READONLY", "MISSING"]

    asyncio.run(story())


@pytest.mark.parametrize("line", ["", "PUT a", "GET", "SET a"])
def test_what_it_does_not_know_is_answered_with_what_it_knows(line: str) -> None:
    async def story() -> None:
        async with primary() as store:
            assert await ask(store, line) == ["ERROR give GET key, SET key text or FOLLOW"]

    asyncio.run(story())


def test_a_line_without_end_ends_the_connection_and_not_the_store() -> None:
    async def story() -> None:
        async with primary() as store:
            reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
            writer.write(b"x" * 100_000)
            async with asyncio.timeout(MAX_WAIT_S):
                try:
                    assert await reader.read() == b""
                except ConnectionResetError:
                    pass  # bytes it never read make the kernel send a reset instead of an end
            writer.transport.abort()
            assert await ask(store, "GET a") == ["MISSING"]

    asyncio.run(story())
