"""The messages that a fault acts on, and several faults on one message."""

from __future__ import annotations

import math
import re
import time

import pytest

from chaosproxy.net.proxy import Proxy
from tests.net.harness import Stage, run
from tests.net.http_shapes import GET, OK, OTHER, OTHER_ANSWER, End, Server, Shape, answer, request

PLAIN = Shape("plain", GET, OK)


async def served(stage: Stage, shape: Shape = PLAIN, **faults: dict[str, object]) -> tuple[Proxy, End, Server]:
    proxy, client, server = await stage.pair(protocol="http", faults=faults)
    return proxy, End(client), Server(server, shape)


async def over(*ends: End) -> None:
    for end in ends:
        await end.stop()


def statuses(raw: bytes) -> list[str]:
    return [one.decode() for one in re.findall(rb"HTTP/1\.1 (\d+) ", raw)]


async def hits(
    loop_stage: Stage, count: int, cut: int = 0, connections: int = 1, **faults: dict[str, object]
) -> list[int]:
    """Send `count` requests for /hit, each after one for /other; return the numbers of those that `it` responded to."""
    listener = loop_stage.listener()
    proxy = await loop_stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}", protocol="http", faults=faults)
    found: list[str] = []
    for _ in range(connections):
        client, server = End(await loop_stage.connect(proxy)), Server(await loop_stage.accept(listener), PLAIN)
        asked = (OTHER.raw + GET.raw) * (count // connections)
        size = cut or len(asked)
        for start in range(0, len(asked), size):
            await client.send(asked[start : start + size])
        expected = 2 * (count // connections)
        assert await client.until(lambda end=client, wanted=expected: len(statuses(end.raw)) == wanted)  # type: ignore[misc]
        found += statuses(client.raw)
        await over(client, server)
    assert set(found[::2]) == {"200"}, "what does not match is left alone"
    touched = [index for index, status in enumerate(found[1::2]) if status == "418"]
    assert proxy.fault_tallies()["it"].messages == len(touched)
    return touched


ABORT = {"type": "http_abort", "status": 418, "match": {"path": "/hit"}}


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ({"nth": 3}, [2, 5, 8, 11]),
        ({"skip": 5}, [5, 6, 7, 8, 9, 10, 11]),
        ({"count": 2}, [0, 1]),
        ({"skip": 1, "nth": 3, "count": 2}, [3, 6]),
        ({"probability": 0}, []),
    ],
)
@pytest.mark.parametrize("connections", [1, 3])
def test_skip_count_and_nth_count_the_messages_that_match(
    placement: dict[str, object], expected: list[int], connections: int, loop_name: str
) -> None:
    async def scenario(stage: Stage) -> None:
        assert await hits(stage, 12, connections=connections, it={**ABORT, **placement}) == expected

    run(loop_name, scenario)


def test_probability_is_that_share_of_the_messages() -> None:
    count, share = 2000, 0.2
    margin = 4 * math.sqrt(count * share * (1 - share))  # one seed in 16 000 exceeds it; this seed is fixed

    async def scenario(stage: Stage) -> None:
        touched = await hits(stage, count, connections=4, it={**ABORT, "probability": share})
        assert abs(len(touched) - count * share) < margin

    run("uvloop", scenario)


def test_the_same_messages_are_touched_however_they_are_cut_and_whatever_stands_beside() -> None:
    alone = {"it": {**ABORT, "probability": "30%"}}
    ways: list[tuple[int, dict[str, dict[str, object]]]] = [
        (0, alone),
        (1, alone),
        (37, alone),
        (0, {"a": {"type": "http_headers", "remove": ["x"]}, **alone}),
        (50, {**alone, "z": {"type": "http_delay", "delay": "0ms", "jitter": "0ms", "probability": "50%"}}),
        (0, {"s": {"type": "slicer", "size": "20B", "direction": "both"}, **alone}),
        (0, {"a": {"type": "http_corrupt", "rate": "1%", "probability": "10%"}, **alone}),
    ]
    found: list[list[int]] = []
    for cut, faults in ways:

        async def scenario(stage: Stage, cut: int = cut, faults: dict[str, dict[str, object]] = faults) -> None:
            found.append(await hits(stage, 60, cut, **faults))

        run("uvloop", scenario)
    assert 5 < len(found[0]) < 30
    assert all(one == found[0] for one in found), found


def test_an_empty_line_hides_no_request_from_its_fault(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        fault = {**ABORT, "match": {"path": "/hit", "method": "GET"}}
        _, client, server = await served(stage, it=fault)
        await client.send(b"\r\n" + GET.raw)
        assert await client.has(1)
        assert statuses(client.raw) == ["418"] and server.raw == b""
        await over(client, server)

    run(loop_name, scenario)


def test_an_answer_that_a_fault_wants_by_its_status_or_type(loop_name: str) -> None:
    ok = answer("500 Internal Server Error", "Content-Type: application/json; charset=utf-8", body=b"{}")

    async def scenario(stage: Stage) -> None:
        faults = {
            "by-status": {"type": "http_headers", "add": {"X-A": "1"}, "match": {"status": "5xx"}},
            "by-type": {"type": "http_headers", "add": {"X-B": "1"}, "match": {"content_type": "application/json"}},
            "by-both": {"type": "http_headers", "add": {"X-C": "1"}, "match": {"status": 404, "path": "/hit"}},
        }
        _, client, server = await served(stage, Shape("json", GET, ok), **faults)
        await client.send(GET.raw + OTHER.raw)
        expected = ok.head[:-2] + b"X-A: 1\r\nX-B: 1\r\n\r\n{}" + OTHER_ANSWER.raw
        assert await client.has(len(expected))
        assert client.raw == expected
        await over(client, server)

    run(loop_name, scenario)


# ── two faults on one message ─────────────────────────────────────────────────────────────


def test_the_first_of_two_aborts_wins_and_a_delay_ahead_of_it_holds_it(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        faults = {
            "slow": {"type": "http_delay", "delay": "60ms"},
            "it": ABORT,
            "other": {"type": "http_abort", "status": 500},
            "late": {"type": "http_delay", "delay": "1h", "match": {"path": "/hit"}},
        }
        proxy, client, server = await served(stage, **faults)
        began = time.monotonic()
        await client.send(GET.raw)
        assert await client.has(1)
        assert time.monotonic() - began >= 0.06
        assert statuses(client.raw) == ["418"] and server.raw == b""
        counts = {name: tally.messages for name, tally in proxy.fault_tallies().items()}
        assert counts == {"slow": 1, "it": 1, "other": 0, "late": 0}
        await over(client, server)

    run(loop_name, scenario)


def test_delays_of_the_request_and_of_its_answer_add_up(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        faults = {
            "there": {"type": "http_delay", "delay": "50ms"},
            "back": {"type": "http_delay", "delay": "70ms", "on": "response"},
        }
        proxy, client, server = await served(stage, **faults)
        began = time.monotonic()
        await client.send(GET.raw)
        assert await server.has(len(GET.raw))
        assert time.monotonic() - began >= 0.05
        assert await client.has(len(OK.raw))
        assert time.monotonic() - began >= 0.12
        assert client.raw == OK.raw
        delays = {name: tally.delay.sum for name, tally in proxy.fault_tallies().items()}
        assert delays == pytest.approx({"there": 0.05, "back": 2 * 0.07}), "the answer is a head and a body"
        await over(client, server)

    run(loop_name, scenario)


def test_two_changes_of_one_head_both_hold(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        faults = {
            "edit": {"type": "http_headers", "set": {"Date": "Tue, 15 Nov 1994 08:12:31 GMT"}, "remove": ["server"]},
            "clock": {"type": "http_clock_skew", "offset": "-1h"},
        }
        _, client, server = await served(stage, **faults)
        await client.send(GET.raw)
        expected = OK.raw.replace(b"Server:  test \r\n", b"").replace(b" 08:12:31 ", b" 07:12:31 ")
        assert await client.has(len(expected))
        assert client.raw == expected
        await over(client, server)

    run(loop_name, scenario)


@pytest.mark.parametrize("first", ["http_abort", "http_drop_request"])
def test_of_an_abort_and_a_loss_the_first_wins(first: str, loop_name: str) -> None:
    second = "http_drop_request" if first == "http_abort" else "http_abort"

    async def scenario(stage: Stage) -> None:
        proxy, client, server = await served(stage, a={"type": first}, b={"type": second})
        await client.send(GET.raw)
        await stage.event("message_touched")
        if first == "http_abort":
            assert await client.has(1)
        assert statuses(client.raw) == (["503"] if first == "http_abort" else [])
        assert {name: one.messages for name, one in proxy.fault_tallies().items()} == {"a": 1, "b": 0}
        assert server.raw == b""
        await over(client, server)

    run(loop_name, scenario)


def test_a_copy_is_made_of_what_faults_ahead_have_made_of_the_request(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        faults = {
            "edit": {"type": "http_headers", "on": "request", "set": {"X-Old": "new"}},
            "twice": {"type": "http_duplicate"},
            "gone": {"type": "http_abort"},
        }
        port = listener.getsockname()[1]
        proxy = await stage.proxy_to(f"127.0.0.1:{port}", protocol="http", faults=faults)
        client, server = End(await stage.connect(proxy)), Server(await stage.accept(listener), PLAIN)
        asked = request("POST", "/hit", body=b"0123")
        await client.send(asked.raw)
        copy = Server(await stage.accept(listener), PLAIN)
        assert await copy.over() == "eof"
        assert copy.raw == asked.raw.replace(b"X-Old: 1", b"X-Old: new")
        assert await client.has(1)
        assert statuses(client.raw) == ["503"] and server.raw == b""
        await over(client, server, copy)

    run(loop_name, scenario)
