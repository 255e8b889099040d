"""What the pipes of an HTTP connection do for the effects of its states, in transcripts without sockets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaosproxy.endings import Ending
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.stall import Stall
from chaosproxy.http.faults.abort import HttpAbort
from chaosproxy.http.faults.delay import HttpDelay
from chaosproxy.http.faults.drop import HttpDropRequest, HttpDropResponse
from chaosproxy.http.faults.duplicate import HttpDuplicate
from chaosproxy.http.states import Requesting
from chaosproxy.net.http.readers import RequestReader, ResponseReader
from chaosproxy.net.stream.readers import ChainedReader, PlainDownstreamReader, PlainUpstreamReader
from tests.net.http_world import World

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
GARBAGE = b"\x00\x01\x02"
DELAY = HttpDelay(delay=0.1, on="response")


def are_plain(world: World) -> bool:
    readers = type(world.client.get_protocol()), type(world.server.get_protocol())
    return readers == (PlainUpstreamReader, PlainDownstreamReader)


def always(number: int) -> bool:
    return True


def watched(**settings: int | bool) -> World:
    """A fault treats messages, and none of these."""
    world = World(**settings)
    world.add("none", HttpDelay(delay=0.1), "upstream", lambda number: False)
    return world


def test_bytes_that_cannot_be_framed_swap_the_readers_of_both_sockets() -> None:
    world = World()
    assert isinstance(world.client.get_protocol(), RequestReader)
    assert isinstance(world.server.get_protocol(), ResponseReader)
    world.receive(world.client, GARBAGE)
    assert are_plain(world)
    world.receive(world.server, GARBAGE)
    assert world.client.written == world.server.written == GARBAGE


def test_they_do_so_with_faults_on_the_stream() -> None:
    world = World()
    world.add("slow", Latency(delay=0.1), "downstream", always)
    world.receive(world.client, GARBAGE)
    assert type(world.client.get_protocol()) is PlainUpstreamReader
    assert type(world.server.get_protocol()) is ChainedReader


def test_a_granted_upgrade_swaps_them_too() -> None:
    world = watched()
    world.receive(world.client, UPGRADE)
    world.receive(world.server, SWITCH + b"first")
    world.receive(world.client, GARBAGE)
    world.receive(world.server, GARBAGE)
    assert (world.server.written, world.client.written) == (UPGRADE + GARBAGE, SWITCH + b"first" + GARBAGE)
    assert type(world.client.get_protocol()) is type(world.server.get_protocol()) is ChainedReader


def test_a_reader_made_before_that_for_a_socket_that_comes_after_it_is_swapped_at_its_first_bytes() -> None:
    world = World()
    reader, world.downstream.source = world.server.get_protocol(), None  # the dial has made it, and is not done
    world.receive(world.client, GARBAGE)
    world.downstream.source = world.server
    assert world.server.get_protocol() is reader
    world.receive(world.server, OK)
    assert type(world.server.get_protocol()) is PlainDownstreamReader and world.client.written == OK


@pytest.mark.parametrize("half", [b"HTTP/1.1 20", OK[:-4]])
def test_half_a_response_goes_on_when_the_client_cannot_be_framed(half: bytes) -> None:
    world = watched()
    world.receive(world.client, GET)
    world.receive(world.server, half)
    world.receive(world.client, GARBAGE)
    assert world.client.written == half
    assert world.server.written == GET + GARBAGE


def test_half_a_request_goes_on_when_the_server_cannot_be_framed() -> None:
    world = watched()
    world.receive(world.client, GET + b"GET / HT")
    world.receive(world.server, GARBAGE)
    assert (world.server.written, world.client.written) == (GET + b"GET / HT", GARBAGE)


def test_strict_resets_and_forwards_nothing_of_the_chunk() -> None:
    for world in (World(strict=True), watched(strict=True)):
        world.receive(world.client, GARBAGE)
        assert world.server.written == b""
        assert world.ending == Ending("operator", "reset", error="strict: invalid method encountered")


def test_a_heal_delivers_the_responses_that_were_on_their_way() -> None:
    world = World()
    world.add("slow", DELAY, "downstream", always)
    world.receive(world.client, GET)
    world.receive(world.server, OK)
    assert (world.client.written, world.conversation.outstanding) == (b"", 1)
    world.remove("slow")
    assert (world.client.written, world.conversation.outstanding) == (OK, 0)


def test_a_heal_makes_doubtful_bytes_a_stream() -> None:
    world = World()
    world.add("slow", HttpDelay(delay=0.1), "upstream", always)
    world.receive(world.client, GET + GARBAGE)
    assert world.server.written == b"" and world.tally.not_framed == 0
    world.remove("slow")
    assert world.server.written == GET + GARBAGE and world.tally.not_framed == 1
    assert type(world.client.get_protocol()) is PlainUpstreamReader


def test_an_injected_response_leaves_in_the_turn_in_which_the_request_came() -> None:
    world = World()
    world.add("abort", HttpAbort(status=503), "upstream", always)
    world.receive(world.client, GET)
    assert world.client.written.startswith(b"HTTP/1.1 503") and world.server.written == b""


def test_copies_are_sent_also_when_the_fault_goes_in_that_turn() -> None:
    world = World()
    world.add("slow", HttpDelay(delay=0.1), "upstream", always)
    world.add("twice", HttpDuplicate(copies=2), "upstream", always)
    world.receive(world.client, POST)
    world.remove("slow")
    assert world.copies == [POST, POST]


def test_a_request_ahead_of_an_upgrade_in_one_chunk_is_copied() -> None:
    world = World()
    world.add("twice", HttpDuplicate(copies=1), "upstream", always)
    world.receive(world.client, POST + UPGRADE)
    assert world.copies == [POST]


def test_a_client_that_asks_much_faster_than_it_is_answered_is_paused_until_half_is() -> None:
    world = World(pipeline_limit=4)
    world.receive(world.client, GET * 5)
    assert world.client.is_paused
    world.receive(world.server, OK * 2)
    assert world.client.is_paused
    world.receive(world.server, OK)
    assert not world.client.is_paused


def test_a_client_whose_only_unanswered_request_is_half_sent_is_not_paused() -> None:
    world = World(pipeline_limit=1)
    world.receive(world.client, GET + POST[:-1])
    assert world.client.is_paused
    world.receive(world.server, OK)
    assert not world.client.is_paused
    world.receive(world.client, POST[-1:])
    world.receive(world.server, OK)
    assert (world.server.written, world.client.written) == (GET + POST, OK * 2)


def test_responses_that_a_fault_gives_at_once_pause_nobody() -> None:
    """The pause would be noted after the wake, and performed after what the wake brings."""
    world = World(pipeline_limit=1)
    world.add("abort", HttpAbort(status=503), "upstream", always)
    world.receive(world.client, GET * 3)
    assert not world.client.is_paused and world.client.written.count(b"HTTP/1.1 503") == 3


@pytest.mark.parametrize("fault", [HttpDropRequest(close_after=0.2), HttpDropResponse(close_after=0.2)])
def test_a_lost_message_ends_the_connection_when_the_fault_said_so(fault: HttpDropRequest | HttpDropResponse) -> None:
    world = World()
    world.add("lost", fault, "upstream" if isinstance(fault, HttpDropRequest) else "downstream", always)
    world.receive(world.client, GET)
    if world.server.written:
        world.receive(world.server, OK)
    world.remove("lost")
    world.wait(0.19)
    assert world.ending is None
    world.wait(0.02)
    assert world.ending == Ending("injected", "closed", "lost")


def test_a_silent_connection_ends_with_its_client() -> None:
    world = World()
    world.add("lost", HttpDropResponse(), "downstream", lambda number: number == 2)
    world.receive(world.client, GET * 2)
    world.end_of_stream(world.client)
    assert world.ending is None, "the first response may still come"
    world.receive(world.server, OK * 2)
    assert (world.client.written, world.ending) == (OK, Ending("client", "fin", "lost"))


def test_the_rest_of_a_lost_response_does_not_pass_when_the_fault_is_gone() -> None:
    world = World()
    world.add("lost", HttpDropResponse(), "downstream", always)
    world.receive(world.client, GET)
    world.receive(world.server, OK[:-1])
    world.remove("lost")
    world.receive(world.server, OK[-1:])
    assert world.client.written == b""


def strict_too_late() -> World:
    """A proxy that becomes strict after bytes that cannot be framed have arrived behind a held request."""
    world = World()
    world.add("slow", HttpDelay(delay=0.1), "upstream", always)
    world.receive(world.client, GET)
    world.receive(world.client, GARBAGE)
    context = world.conversation.context
    context.configure(replace(context.settings, strict=True), ())
    return world


@pytest.mark.parametrize("is_healed", [True, False])
def test_bytes_from_before_the_proxy_became_strict_pass(is_healed: bool) -> None:
    """A strict proxy does not refuse earlier plain streams either."""
    world = strict_too_late()
    if is_healed:
        world.remove("slow")
    else:
        world.wait(0.2)
    assert (world.server.written, world.ending) == (GET + GARBAGE, None)


def test_nothing_of_the_client_passes_once_the_bytes_of_the_server_are_refused() -> None:
    world = strict_too_late()
    world.receive(world.server, GARBAGE)
    assert world.ending is not None
    world.wait(0.2)
    assert GARBAGE not in world.server.written + world.client.written


def test_a_strict_proxy_sends_nothing_of_what_it_refuses_from_the_server() -> None:
    world = watched(strict=True)
    world.receive(world.client, GET)
    world.receive(world.server, GARBAGE)
    assert (world.client.written, world.conversation.states.requests) == (b"", Requesting.REFUSED)


# ── bytes that are framed in slices ───────────────────────────────────────────────────────

CHUNKS = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n"


def hurried(data: bytes) -> World:
    """A client has sent `data`, of which the first slice is framed."""
    world = World()
    world.is_hurried = True
    world.client.get_protocol().data_received(data)
    assert 0 < len(world.server.written) < len(data)
    assert world.client.is_paused
    return world


@pytest.mark.parametrize("data", [CHUNKS + GET, GET * 100], ids=["chunks", "requests"])
def test_many_tiny_pieces_are_framed_in_slices_while_nothing_is_read(data: bytes) -> None:
    world = hurried(data)
    first = len(world.server.written)
    world.upstream.on_due(world.now)
    assert first < len(world.server.written) < len(data) and world.client.is_paused
    world.wait(0.0)
    assert world.server.written == data and not world.client.is_paused
    assert world.conversation.outstanding == data.count(b"HTTP")


@pytest.mark.parametrize("fault", [HttpDelay(delay=0.1), Latency(delay=0.1)])
def test_a_fault_that_begins_between_two_slices_acts_on_the_rest(fault: HttpDelay | Latency) -> None:
    world = hurried(CHUNKS + GET)
    first = len(world.server.written)
    world.add("slow", fault, "upstream", always)
    assert not world.client.is_paused
    world.wait(0.09)
    assert len(world.server.written) == (first if isinstance(fault, Latency) else len(CHUNKS))
    world.receive(world.client, GET)
    world.wait(0.2)
    assert world.server.written == CHUNKS + GET * 2
    world.remove("slow")
    world.receive(world.client, GET)
    assert world.server.written == CHUNKS + GET * 3
    assert world.conversation.outstanding == 4


def test_whatever_else_a_pipe_with_a_chain_does_between_two_slices_the_rest_follows() -> None:
    world = World()
    world.add("slow", Latency(delay=0.1), "upstream", always)
    world.is_hurried = True
    world.client.get_protocol().data_received(CHUNKS)
    assert world.client.is_paused
    world.upstream.sink_full()
    world.upstream.sink_ready()
    world.wait(0.0)
    assert not world.client.is_paused
    world.wait(0.1)
    assert world.server.written == CHUNKS


def test_the_rest_passes_once_the_server_cannot_be_framed() -> None:
    world = hurried(CHUNKS)
    world.receive(world.server, GARBAGE)
    assert (world.server.written, world.client.written) == (CHUNKS, GARBAGE)
    world.receive(world.client, GARBAGE)
    assert world.server.written == CHUNKS + GARBAGE


def test_a_later_slice_that_cannot_be_framed_makes_the_rest_a_stream() -> None:
    data = CHUNKS.replace(b"0\r\n\r\n", b"1\r\nxx") + CHUNKS
    world = hurried(data)
    world.wait(0.0)
    assert world.server.written == data and world.tally.not_framed == 1
    assert type(world.client.get_protocol()) is PlainUpstreamReader and not world.client.is_paused


def test_the_rest_is_dropped_when_the_server_is_gone() -> None:
    world = hurried(CHUNKS + GET)
    first = bytes(world.server.written)
    world.upstream.lose_sink()
    assert not world.client.is_paused
    world.wait(0.0)
    assert (world.server.written, world.conversation.outstanding) == (first, 1)


@pytest.mark.parametrize("also", ["nothing else", "another fault before", "another fault"])
def test_a_fault_on_the_stream_that_becomes_one_on_messages_lets_go_of_what_it_holds(also: str) -> None:
    world = World()
    if also != "nothing else":
        world.add("other", HttpDelay(delay=0.0, on="response"), "downstream", always)
    world.add("changing", Stall(), "downstream", always)
    world.receive(world.client, GET + GET)
    world.receive(world.server, OK)
    assert world.client.written == b""
    if also == "another fault before":
        world.remove("other")
    world.add("changing", DELAY, "downstream", always)
    assert world.client.written == OK, "it has passed all faults on messages"
    world.receive(world.server, OK)
    assert world.client.written == OK
    world.wait(0.1)
    assert world.client.written == OK + OK and world.conversation.outstanding == 0


def test_a_fault_on_messages_that_becomes_one_on_the_stream_lets_go_of_what_it_holds() -> None:
    world = World()
    world.add("changing", DELAY, "downstream", always)
    world.add("other", HttpDelay(delay=0.0, on="response"), "downstream", always)
    world.receive(world.client, GET + GET)
    world.receive(world.server, OK)
    world.add("changing", Stall(), "downstream", always)
    world.receive(world.server, OK)
    assert world.client.written == b"", "a stall holds what comes behind it too"
    world.remove("changing")
    assert world.client.written == OK + OK and world.conversation.outstanding == 0
