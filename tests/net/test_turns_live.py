"""Turns on real sockets: who gave up, who was let down, and by whom."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from chaosproxy.events import (
    AnswerCut,
    AnswerLate,
    ClientGaveUp,
    ConnectionClosed,
    Event,
    TurnEvent,
    TurnFailed,
    TurnRepeated,
    TurnsCounted,
)
from tests.net.building import fault
from tests.net.harness import Stage, close_with_reset, receive, run, send, until

NEARLY = 0.05
"""Seconds by which a time that was waited for may be exceeded where nothing but this machine delays it."""


def of_turns(stage: Stage) -> list[Event]:
    return [event for event in stage.events if isinstance(event, TurnEvent)]


async def gave_up(stage: Stage, is_pending: bool = False) -> ClientGaveUp:
    event = await stage.event_that(lambda one: isinstance(one, ClientGaveUp) and one.is_pending == is_pending)
    assert isinstance(event, ClientGaveUp)
    return event


async def failed(stage: Stage) -> TurnFailed:
    event = await stage.event("turn_failed")
    assert isinstance(event, TurnFailed)
    return event


async def over(stage: Stage) -> None:
    await stage.event("connection_closed")


def of_connection(event: Event, kind: type[ConnectionClosed], number: int) -> bool:
    return isinstance(event, kind) and event.connection == number


def waited(event: ClientGaveUp, opened_at: float) -> None:
    """Check that the client's wait began when it sent its request, as the test has seen it."""
    assert 0.0 <= event.waited_s <= event.at - opened_at


async def turn(client: socket.socket, server: socket.socket) -> None:
    await send(client, b"ask")
    assert await receive(server, 3) == b"ask"
    await send(server, b"answer")
    assert await receive(client, 6) == b"answer"


def test_a_client_that_closes_during_a_stall_has_given_up(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        await turn(client, server)
        stage.supervisor.put_fault("proxy", fault("stall", type="stall", direction="downstream"), "test")
        began = stage.supervisor.now()
        await send(client, b"ask")
        assert await receive(server, 3) == b"ask"
        await send(server, b"answer")
        await until(lambda: running.registry.held("downstream") == 6)
        await asyncio.sleep(0.1)
        client.close()
        pending = await gave_up(stage, is_pending=True)
        waited(pending, began)
        assert pending.waited_s >= 0.1 and pending.answer_arrived and pending.faults == ("stall",)
        stage.supervisor.heal("test")
        event = await gave_up(stage)
        assert (event.at, event.waited_s, event.turn) == (pending.at, pending.waited_s, 2)
        assert event.faults == ("stall",), "those of the time at which it left"
        late = await stage.event("answer_late")
        assert isinstance(late, AnswerLate) and late.late_s > 0.4
        server.close()
        await over(stage)

    run(loop_name, scenario)


def test_a_client_that_resets_has_given_up_at_once(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair()
        began = stage.supervisor.now()
        await send(client, b"ask")
        assert await receive(server, 3) == b"ask"
        close_with_reset(client)
        event = await gave_up(stage)
        waited(event, began)
        assert (event.how, event.turn, event.faults, event.answer_arrived) == ("reset", 1, (), False)
        await over(stage)
        assert of_turns(stage) == [event]

    run(loop_name, scenario)


def test_a_client_that_has_left_resets_when_the_answer_comes(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair()
        await send(client, b"ask")
        assert await receive(server, 3) == b"ask"
        await asyncio.sleep(NEARLY)
        client.close()
        assert await receive(server, 1) == b"", "the end of the stream has reached it"
        await send(server, b"answer")
        event = await gave_up(stage)
        server.close()
        await over(stage)
        known = [one for one in of_turns(stage) if not (isinstance(one, ClientGaveUp) and one.is_pending)]
        assert [type(one) for one in known] == [ClientGaveUp, AnswerLate]
        assert event.how == "fin" and event.waited_s >= 0.9 * NEARLY

    run(loop_name, scenario)


def test_a_client_that_leaves_within_an_answer_has_cut_it(loop_name: str) -> None:
    """The connection is kept, and its first answer was whole."""

    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        await turn(client, server)
        trickle = fault("slow", type="slicer", size="1B", gap="30ms", direction="downstream")
        stage.supervisor.put_fault("proxy", trickle, "test")
        began = stage.supervisor.now()
        await send(client, b"ask")
        assert await receive(server, 3) == b"ask"
        await send(server, 100 * b"x")
        assert await receive(client, 4) == b"xxxx"
        for _ in running.count_turns():
            pass
        longest = max(one.longest_answer_s for one in stage.events if isinstance(one, TurnsCounted))
        assert longest >= 0.08
        close_with_reset(client)
        cut = await stage.event("answer_cut")
        assert isinstance(cut, AnswerCut)
        assert (cut.turn, cut.how, cut.faults) == (2, "reset", ("slow",))
        assert longest <= cut.waited_s <= cut.at - began and 0 <= cut.quiet_s < cut.waited_s
        await over(stage)
        assert [type(one) for one in of_turns(stage)] == [AnswerCut]

    run(loop_name, scenario)


def test_a_client_that_leaves_after_its_answer_has_not_cut_it(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        trickle = fault("slow", type="slicer", size="1B", gap="10ms", direction="downstream")
        stage.supervisor.put_fault("proxy", trickle, "test")
        await turn(client, server)
        await until(lambda: running.registry.held("downstream") == 0)
        client.close()
        assert await receive(server, 1) == b""
        server.close()
        await over(stage)
        assert of_turns(stage) == []

    run(loop_name, scenario)


def test_a_client_that_half_closes_and_reads_has_not_given_up(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running, client, server = await stage.pair()
        await send(client, b"ask")
        client.shutdown(socket.SHUT_WR)
        assert await receive(server, 4) == b"ask"
        await send(server, b"answer")
        server.close()
        assert await receive(client, 7) == b"answer"
        client.close()
        await over(stage)
        for _ in running.count_turns():
            pass
        counted = [one for one in stage.events if isinstance(one, TurnsCounted)]
        assert of_turns(stage) == [] and sum(one.answered for one in counted) == 1

    run(loop_name, scenario)


def test_a_server_that_ends_in_an_open_turn_has_failed_it(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        for end, reason in ((socket.socket.close, "server_closed"), (close_with_reset, "server_reset")):
            stage.events.clear()
            running, client, server = await stage.pair()
            await send(client, b"ask")
            assert await receive(server, 3) == b"ask"
            end(server)
            event = await failed(stage)
            with contextlib.suppress(ConnectionError):
                await receive(client, 1)
            client.close()
            await over(stage)
            told = [one for one in of_turns(stage) if not isinstance(one, TurnRepeated)]
            assert (event.reason, event.fault) == (reason, "") and told == [event]
            await stage.supervisor.remove_proxy("proxy", "test")

    run(loop_name, scenario)


def test_a_fault_that_ends_a_connection_has_failed_its_turn(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair()
        await turn(client, server)
        await send(client, b"ask")
        assert await receive(server, 3) == b"ask"
        stage.supervisor.put_fault("proxy", fault("cut", type="reset"), "test")
        event = await failed(stage)
        assert (event.reason, event.fault, event.turn) == ("injected", "cut", 2)
        await over(stage)
        assert of_turns(stage) == [event]

    run(loop_name, scenario)


def test_a_dial_that_fails_has_failed_the_turn(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        gone = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{gone.getsockname()[1]}")
        gone.close()
        await stage.connect(running)
        event = await failed(stage)
        await over(stage)
        assert event.reason == "dial_failed" and of_turns(stage) == [event]

    run(loop_name, scenario)


def test_natural_ends_are_no_events_of_turns(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        for end in (socket.socket.close, close_with_reset):
            for leaves in ("client", "server"):
                stage.events.clear()
                _, client, server = await stage.pair()
                await turn(client, server)
                end(client if leaves == "client" else server)
                with contextlib.suppress(ConnectionError):
                    await receive(server if leaves == "client" else client, 1)
                client.close()
                server.close()
                await over(stage)
                assert of_turns(stage) == []
                await stage.supervisor.remove_proxy("proxy", "test")

    run(loop_name, scenario)


def test_a_client_that_comes_back_with_the_same_bytes_is_recognised(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        listener = stage.listener()
        running = await stage.proxy_to(f"127.0.0.1:{listener.getsockname()[1]}")
        for number in (1, 2, 3):
            client = await stage.connect(running)
            server = await stage.accept(listener)
            await send(client, b"SELECT 1")
            assert await receive(server, 8) == b"SELECT 1"
            close_with_reset(client)
            await stage.event_that(lambda one, number=number: of_connection(one, ConnectionClosed, number))
        repeated = [one for one in stage.events if isinstance(one, TurnRepeated)]
        assert [(one.connection, one.of_connection, one.attempt) for one in repeated] == [(2, 1, 2), (3, 2, 3)]
        assert all(one.gap_s >= 0.0 for one in repeated)

    run(loop_name, scenario)


def test_an_interval_ends_at_each_change_of_faults(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        _, client, server = await stage.pair()
        await turn(client, server)
        stage.supervisor.put_fault("proxy", fault("slow", type="latency", delay="1ms"), "test")
        await turn(client, server)
        await turn(client, server)
        stage.supervisor.heal("test")
        await turn(client, server)
        stage.supervisor.put_fault("proxy", fault("slow", type="latency", delay="1ms"), "test")
        told = [
            (one.answered, one.faults) if isinstance(one, TurnsCounted) else one.kind
            for one in stage.events
            if one.kind in ("turns_counted", "fault_added", "fault_removed")
        ]
        assert told == [
            (1, {}), "fault_added", (2, {"slow": (1, 0)}), "fault_removed", (1, {}), "fault_added",
        ]  # fmt: skip
        faulted = [one for one in stage.events if isinstance(one, TurnsCounted)][1]
        assert sum(faulted.felt.values()) == sum(faulted.service.values()) == 2
        assert max(faulted.felt) > max(faulted.service), "the fault has delayed them"

    run(loop_name, scenario)


