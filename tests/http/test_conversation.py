"""Requests are paired with their answers, whatever the order in which their bytes come, and whoever looks."""

from __future__ import annotations

import random

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.faults.base import Close, HalfClose, Send
from chaosproxy.faults.chain import Link
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.exchange import State
from chaosproxy.http.faults.abort import injected_response
from chaosproxy.http.faults.truncate import HttpTruncate
from chaosproxy.http.head import RequestHead, ResponseHead
from chaosproxy.http.stage import MessageOpening
from chaosproxy.seed import Seed
from chaosproxy.tallies import FaultTally
from tests.http.corpus import LEGAL_ANSWER, LEGAL_REQUEST
from tests.http.driving import HOWS, Aborting, Driven, Event, How, cut, singly
from tests.http.strategies import conversations, dice, hows
from tests.http.talk import Talk, make_talks

HEAD = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"
CONNECT = b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
GARBAGE = b"\x00\x01\x02"

all_ways = pytest.mark.parametrize("how", HOWS)


def talked(how: How, *events: Event, **options: bool | int) -> Driven:
    """A conversation, after which what came out is what went in."""
    driven = Driven(how=how, **options).play(events)
    for side, direction in (("client", driven.client), ("server", driven.server)):
        sent = b"".join(data for one, data in events if one == side and data)
        assert bytes(direction.out) + direction.held == sent
    return driven


# ── transcripts ───────────────────────────────────────────────────────────────────────


@all_ways
def test_a_request_and_its_answer(how: How) -> None:
    driven = talked(how, ("client", LEGAL_REQUEST))
    assert (driven.conversation.count, driven.conversation.outstanding) == (1, 1)
    driven.play([("server", LEGAL_ANSWER)])
    assert driven.statuses == [0, 0, 1, 0, 0, 0]
    assert driven.conversation.outstanding == 0


@all_ways
def test_answers_of_a_pipeline_come_in_the_order_of_requests(how: How) -> None:
    driven = talked(how, ("client", LEGAL_REQUEST + HEAD + LEGAL_REQUEST))
    assert driven.conversation.outstanding == 3
    driven.play([("server", LEGAL_ANSWER + LEGAL_ANSWER[:-2] + EMPTY)])
    assert (driven.statuses, driven.conversation.outstanding) == ([0, 0, 3, 0, 0, 0], 0)
    assert driven.conversation.is_framed
    assert [part.exchange.number for part in driven.server.parts if part.kind == "head"] == (
        [] if how == "glance" else [1, 2, 3]
    )


@all_ways
def test_interim_answers_are_not_the_answer(how: How) -> None:
    driven = talked(how, ("client", POST), ("server", CONTINUE), ("client", b"abc"), ("server", CONTINUE))
    assert (driven.statuses, driven.conversation.outstanding) == ([0] * 6, 1)
    driven.play([("server", LEGAL_ANSWER)])
    assert driven.statuses == [0, 0, 1, 0, 0, 0]


@all_ways
@pytest.mark.parametrize("answer", [LEGAL_ANSWER[:-2], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_the_answer_to_head_has_no_body(how: How, answer: bytes) -> None:
    driven = talked(how, ("client", HEAD), ("server", answer), ("client", LEGAL_REQUEST), ("server", LEGAL_ANSWER))
    assert (driven.statuses, driven.is_between) == ([0, 0, 2, 0, 0, 0], True)


@all_ways
@pytest.mark.parametrize("status", [b"204", b"304"])
def test_an_answer_that_can_have_no_body_has_none(how: How, status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b" No\r\nContent-Length: 5\r\n\r\n"
    driven = talked(how, ("client", LEGAL_REQUEST * 2), ("server", answer + LEGAL_ANSWER))
    assert (sum(driven.statuses), driven.is_between) == (2, True)


@all_ways
def test_an_answer_until_close_ends_with_the_stream(how: How) -> None:
    driven = talked(how, ("client", LEGAL_REQUEST), ("server", b"HTTP/1.0 200 OK\r\n\r\nabc"), ("server", LEGAL_ANSWER))
    assert driven.conversation.outstanding == 1
    driven.play([("server", None)])
    assert (driven.statuses, driven.is_between) == ([0, 0, 1, 0, 0, 0], True)


@all_ways
def test_http_1_0_that_stays_open_is_framed_on_and_so_is_one_that_does_not(how: How) -> None:
    stays = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answer = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
    driven = talked(how, *[("client", stays), ("server", answer)] * 2, ("client", b"GET / HTTP/1.0\r\n\r\n"))
    driven.play([("server", answer.replace(b"Connection: keep-alive\r\n", b""))])
    assert driven.statuses == [0, 0, 3, 0, 0, 0]


@all_ways
def test_an_answer_may_be_whole_before_its_request(how: How) -> None:
    driven = talked(how, ("client", POST + b"a"), ("server", LEGAL_ANSWER), ("client", b"bc"))
    assert (driven.statuses, driven.is_between, driven.conversation.sending) == ([0, 0, 1, 0, 0, 0], True, None)
    driven.play([("client", LEGAL_REQUEST), ("server", LEGAL_ANSWER)])
    assert driven.statuses == [0, 0, 2, 0, 0, 0]


@all_ways
def test_behind_a_tunnel_that_is_granted_all_is_a_stream(how: How) -> None:
    driven = talked(how, ("client", CONNECT), ("server", b"HTTP/1.1 200 OK\r\n\r\n\x16\x03"), ("client", GARBAGE))
    assert (driven.conversation.stream_reason, driven.reasons, driven.statuses) == ("upgraded", [], [0, 0, 1, 0, 0, 0])


@all_ways
def test_behind_an_upgrade_that_is_granted_all_is_a_stream(how: How) -> None:
    driven = talked(how, ("client", UPGRADE), ("server", SWITCH + GARBAGE), ("client", GARBAGE))
    assert (driven.conversation.stream_reason, driven.reasons, driven.statuses) == ("upgraded", [], [0, 1, 0, 0, 0, 0])


@all_ways
@pytest.mark.parametrize("request_data", [CONNECT, UPGRADE])
def test_behind_an_upgrade_that_is_refused_messages_follow(how: How, request_data: bytes) -> None:
    driven = talked(how, ("client", request_data), ("server", b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"))
    driven.play([("client", LEGAL_REQUEST), ("server", LEGAL_ANSWER)])
    assert (driven.statuses, driven.is_between, driven.conversation.stream_reason) == ([0, 0, 1, 0, 1, 0], True, None)


@all_ways
def test_bytes_ahead_of_the_answer_to_an_upgrade_can_mean_two_things(how: How) -> None:
    driven = talked(how, ("client", UPGRADE), ("client", LEGAL_REQUEST))
    assert driven.conversation.stream_reason == "bytes sent before the response to an upgrade"


@all_ways
def test_an_upgrade_that_nobody_asked_for_can_mean_two_things(how: How) -> None:
    driven = talked(how, ("client", LEGAL_REQUEST), ("server", SWITCH + LEGAL_ANSWER))
    assert driven.conversation.stream_reason == "an upgrade that no request asked for"


@all_ways
def test_an_answer_that_nobody_asked_for_is_nobodys(how: How) -> None:
    """Such as the 408 of a server that has waited long enough."""
    timeout = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    driven = talked(how, ("server", timeout), ("server", None))
    assert (driven.conversation.count, driven.statuses, driven.conversation.stream_reason) == (0, [0] * 6, None)


@all_ways
def test_behind_an_answer_that_nobody_asked_for_nobody_knows_whose_the_next_is(how: How) -> None:
    driven = talked(how, ("client", LEGAL_REQUEST), ("server", LEGAL_ANSWER * 2), ("client", LEGAL_REQUEST))
    assert driven.conversation.is_framed
    driven.play([("server", LEGAL_ANSWER)])
    assert driven.conversation.stream_reason == "a response after one that no request asked for"


@all_ways
def test_what_is_not_answered_at_the_end_is_counted_so(how: How) -> None:
    driven = talked(how, ("client", LEGAL_REQUEST * 3), ("server", LEGAL_ANSWER + LEGAL_ANSWER[:10]))
    driven.conversation.close()
    assert driven.statuses == [2, 0, 1, 0, 0, 0]


def test_head_behind_an_empty_line_is_head_at_a_glance_too() -> None:
    driven = talked("glance", ("client", b"\r\n" + HEAD), ("server", LEGAL_ANSWER[:-2]))
    assert (driven.statuses, driven.is_between) == ([0, 0, 1, 0, 0, 0], True)
    assert {method for method, _ in driven.tally.routes} >= {"HEAD"}


def test_a_head_beyond_the_limit_is_none_at_a_glance_either() -> None:
    driven = talked("glance", ("client", LEGAL_REQUEST), head_limit=20)
    assert driven.conversation.stream_reason == "a head longer than 20 bytes"


# ── when it cannot be framed ──────────────────────────────────────────────────────────


@all_ways
def test_what_cannot_be_framed_passes_once_and_in_order(how: How) -> None:
    for pieces in ([LEGAL_REQUEST + GARBAGE], [b"GET / HT", GARBAGE], singly(b"GET / HT" + GARBAGE * 2)):
        driven = talked(how, *[("client", piece) for piece in pieces])
        driven.switch("glance")
        driven.switch("chain")
        driven.switch("glance")
        assert driven.client.out == b"".join(pieces)


@pytest.mark.parametrize("how", ["frame", "chain"])
def test_half_a_head_goes_on_when_the_other_direction_cannot_be_framed(how: How) -> None:
    driven = Driven(how=how).play([("client", LEGAL_REQUEST + b"GET / HT")])
    assert driven.client.out == LEGAL_REQUEST
    driven.play([("server", GARBAGE)])
    assert driven.client.out == LEGAL_REQUEST + b"GET / HT"
    driven.play([("client", b"TP/1.1\r\n"), ("client", None)])
    assert driven.client.out == LEGAL_REQUEST + b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize("how", ["frame", "chain"])
def test_half_a_head_goes_on_at_the_end_of_the_stream(how: How) -> None:
    driven = Driven(how=how).play([("client", b"GET / HT"), ("client", None)])
    assert driven.client.out == b"GET / HT"


@all_ways
def test_strict_ends_it(how: How) -> None:
    driven = Driven(how=how, strict=True).play([("client", LEGAL_REQUEST), ("client", GARBAGE), ("client", GARBAGE)])
    assert (driven.client.out, driven.is_refused) == (LEGAL_REQUEST, True)


def test_strict_lets_nothing_of_what_waits_behind_pass() -> None:
    driven = Driven(how="frame", strict=True)
    assert driven.client.stream.frame(GARBAGE, 0.0) == driven.client.stream.frame(LEGAL_REQUEST, 0.0) == []


# ── when a fault owes something ───────────────────────────────────────────────────────


def conversation_that_lost(driven: Driven, *, requests: bool) -> Conversation:
    exchange = driven.conversation.waiting[0]
    if requests:
        driven.conversation.lose_request(exchange, "fault", 0.0)
    else:
        driven.conversation.lose_response(exchange, "fault", 0.0)
    return driven.conversation


CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_what_is_left_of_a_swallowed_request_never_reaches_the_server() -> None:
    driven = Aborting(1).play([("client", CHUNKED), ("client", b"x\r\n" + LEGAL_REQUEST), ("client", LEGAL_REQUEST)])
    assert (driven.client.out, driven.server.out) == (b"", b"ours")
    assert driven.server.is_closed, "a server that cannot read on would close, too"
    assert (driven.conversation.is_framed, driven.conversation.breach_fault) == (True, "fault")


def test_a_swallowed_request_is_swallowed_to_its_end_when_it_has_been_answered() -> None:
    driven = Aborting(1).play([("client", POST + b"a")])
    assert (driven.server.out, driven.conversation.outstanding) == (b"ours", 0)
    assert driven.conversation.is_treated, "framing must not end yet"
    driven.play([("client", b"bc")])
    assert not driven.conversation.is_treated
    driven.play([("client", LEGAL_REQUEST)])
    assert driven.client.out == LEGAL_REQUEST


def test_answers_that_are_owed_come_before_the_end() -> None:
    driven = Aborting(2).play([("client", LEGAL_REQUEST * 2 + GARBAGE), ("client", LEGAL_REQUEST)])
    assert (driven.client.out, driven.server.out, driven.server.is_closed) == (LEGAL_REQUEST, b"", False)
    driven.play([("server", LEGAL_ANSWER)])
    assert (driven.server.out, driven.server.is_closed) == (LEGAL_ANSWER + b"ours", True)


def test_a_request_that_breaks_behind_one_that_is_owed_ends_it_in_its_turn() -> None:
    driven = Aborting(2).play([("client", LEGAL_REQUEST * 2 + CHUNKED + b"x\r\n")])
    assert not driven.server.is_closed
    driven.play([("server", LEGAL_ANSWER)])
    assert (driven.server.out, driven.server.is_closed) == (LEGAL_ANSWER + b"ours", True)


def test_an_answer_that_cannot_be_framed_ahead_of_one_that_is_owed_ends_it() -> None:
    driven = Aborting(2).play([("client", LEGAL_REQUEST * 2), ("server", GARBAGE), ("server", LEGAL_ANSWER)])
    assert (driven.server.out, driven.server.is_closed) == (b"", True)


@pytest.mark.parametrize("requests", [True, False])
@pytest.mark.parametrize("data", [GARBAGE, LEGAL_ANSWER + GARBAGE, SWITCH + GARBAGE])
def test_a_silence_is_kept_when_the_server_speaks_something_else(requests: bool, data: bytes) -> None:
    driven = Driven(how="frame").play([("client", UPGRADE)])
    conversation_that_lost(driven, requests=requests)
    driven.play([("server", data), ("server", GARBAGE), ("client", GARBAGE), ("server", LEGAL_ANSWER)])
    assert driven.server.out == b""
    assert driven.conversation.is_treated


def test_a_silence_is_kept_when_the_client_speaks_something_else() -> None:
    driven = Driven(how="frame").play([("client", LEGAL_REQUEST)])
    conversation_that_lost(driven, requests=True)
    driven.play([("client", GARBAGE), ("server", GARBAGE)])
    assert (driven.client.out, driven.server.out) == (LEGAL_REQUEST, b"")


def test_behind_a_lost_answer_no_request_passes_at_a_glance() -> None:
    driven = Driven(how="frame").play([("client", LEGAL_REQUEST)])
    conversation_that_lost(driven, requests=False)
    driven.play([("server", LEGAL_ANSWER)])
    assert driven.conversation.outstanding == 0
    assert not driven.client.passes(LEGAL_REQUEST)


# ── laws ──────────────────────────────────────────────────────────────────────────────


def check_legal(driven: Driven, talks: list[Talk], events: list[Event]) -> None:
    conversation = driven.conversation
    assert conversation.is_framed, driven.reasons
    assert driven.client.out == b"".join(data for side, data in events if side == "client" and data)
    assert driven.server.out == b"".join(data for side, data in events if side == "server" and data)
    assert (driven.client.held, driven.server.held) == (b"", b"")
    expected = [0] * 6
    for talk in talks:
        expected[talk.status // 100] += 1
    assert driven.statuses == expected
    assert (conversation.count, conversation.outstanding) == (len(talks), 0)
    assert driven.is_between
    for part in (*driven.client.parts, *driven.server.parts):
        assert 1 <= part.exchange.number <= len(talks)
        if part.kind == "head" and not part.is_incomplete:
            assert b"X-Number: %d\r\n" % part.exchange.number in part.data
        if part.kind == "head" and part.on == "response":
            assert part.exchange.state in (State.DONE, State.LATE)


@given(conversations(), hows)
def test_legal_exchanges_pass_and_are_paired(made: tuple[list[Talk], list[Event]], how: How) -> None:
    talks, events = made
    check_legal(Driven(how=how).play(events), talks, events)


@pytest.mark.slow
@given(conversations(), st.data())
def test_so_they_do_while_faults_come_and_go(made: tuple[list[Talk], list[Event]], data: st.DataObject) -> None:
    talks, events = made
    driven = Driven()
    source = data.draw(dice)
    for event in events:
        if source.random() < 0.4:
            driven.switch(source.choice(HOWS))
        driven.play([event])
    driven.switch("glance")
    check_legal(driven, talks, events)


Seen = list[tuple[int, str, RequestHead | ResponseHead | None, bytes]]


def seen(driven: Driven) -> Seen:
    """What faults would have seen: heads, and what each body is made of."""
    found: Seen = []
    for direction in (driven.client, driven.server):
        bodies: dict[tuple[int, str], bytes] = {}
        heads: dict[tuple[int, str], RequestHead | ResponseHead | None] = {}
        for part in direction.parts:
            key = (part.exchange.number, part.on)
            if part.kind == "head":
                heads[key] = part.exchange.request if part.on == "request" else part.exchange.response
            if part.kind == "body":
                bodies[key] = bodies.get(key, b"") + part.data
        found += [(*key, head, bodies.get(key, b"")) for key, head in heads.items()]
    return found


def cut_anew(events: list[Event], places: list[int]) -> list[Event]:
    """The same order of sides, in one piece where a side goes on, or in other pieces."""
    merged: list[Event] = []
    for side, data in events:
        if merged and data is not None and merged[-1][0] == side and merged[-1][1] is not None:
            merged[-1] = (side, merged[-1][1] + data)
        else:
            merged.append((side, data))
    return [
        (side, piece) for side, data in merged for piece in ([None] if data is None else cut(data, places) or [data])
    ]


@given(conversations(), st.lists(st.integers(1, 400)), hows, hows)
def test_how_bytes_are_cut_changes_nothing_that_faults_see(
    made: tuple[list[Talk], list[Event]], places: list[int], how: How, other: How
) -> None:
    talks, events = made
    one = Driven(how=how).play(events)
    again = Driven(how=other).play(cut_anew(events, places))
    check_legal(again, talks, cut_anew(events, places))
    assert one.statuses == again.statuses
    if "glance" not in (how, other):
        assert seen(one) == seen(again)
        assert [body for _, on, _, body in seen(one) if on == "request"] == [talk.request.body for talk in talks]
        assert [body for _, on, _, body in seen(one) if on == "response"] == [talk.response.body for talk in talks]


def lower(head: RequestHead | ResponseHead) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in head.fields]


@settings(max_examples=150)
@given(dice)
def test_h11_reads_the_same_in_legal_messages(source: random.Random) -> None:
    for talk in make_talks(source):
        driven = Driven(how="frame").play([("client", talk.request.data), ("server", talk.answer)])
        if talk.until_close:
            driven.play([("server", None)])
        (_, _, request, sent), (_, _, response, given_back) = seen(driven)
        assert isinstance(request, RequestHead) and isinstance(response, ResponseHead)
        server = h11.Connection(h11.SERVER)
        asked, body, _ = read(server, talk.request.data.lstrip(b"\r\n"))
        assert isinstance(asked, h11.Request)
        assert (asked.method, asked.target) == (request.method.encode(), request.target.encode())
        assert (asked.http_version.decode(), body) == (request.version, sent)
        assert sorted(asked.headers) == sorted(_as_h11(request))
        if not talk.blocks and talk.version == "1.1":  # h11 lets no HTTP/1.0 go on
            ours = injected_response(driven.client.parts[0].exchange, 503, {}, None, "fault", 0.0)
            assert ours.then_close == (server.their_state is h11.MUST_CLOSE) == (not talk.keeps_alive)
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=talk.method, target=talk.target, headers=[("Host", "h")]))
        client.send(h11.EndOfMessage())
        answered, body, interims = read(client, talk.answer, ends=talk.until_close)
        assert isinstance(answered, h11.Response)
        assert (answered.status_code, answered.http_version.decode(), body) == (
            response.status, response.version, given_back,
        )  # fmt: skip
        assert (answered.reason.strip(), interims) == (response.reason.encode("latin-1").strip(), len(talk.interims))
        assert sorted(answered.headers) == sorted(_as_h11(response))


def _as_h11(head: RequestHead | ResponseHead) -> list[tuple[bytes, bytes]]:
    """h11 writes a length as a number, and a coding in lower case."""
    pairs = []
    for name, value in lower(head):
        pairs.append((name, value.lower() if name == b"transfer-encoding" else value))
    return pairs


def read(connection: h11.Connection, data: bytes, ends: bool = False) -> tuple[h11.Event | None, bytes, int]:
    """The head, the body and the number of interim answers."""
    connection.receive_data(data)
    if ends:
        connection.receive_data(b"")
    head, body, interims = None, b"", 0
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request | h11.Response):
            head = event
        elif isinstance(event, h11.InformationalResponse):
            interims += 1
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return head, body, interims
        else:
            raise AssertionError(event)


def test_the_steps_of_an_end_are_what_was_there() -> None:
    """An end-of-stream goes through the framing, behind all that was kept."""
    driven = Driven(how="frame").play([("client", b"GET / HT")])
    assert [*driven.client.framing.on_step(HalfClose(1.0))] == [Send(1.0, b"GET / HT"), HalfClose(1.0)]
    assert [*driven.client.gate.on_step(Close(1.0))] == [Close(1.0)]


@pytest.mark.parametrize("end", [b"x\r\nmore", None])
def test_what_a_fault_holds_to_see_all_of_a_body_goes_ahead_of_what_breaks_it_off(end: bytes | None) -> None:
    driven = Driven(how="frame").play([("client", LEGAL_REQUEST)])
    settings_ = HttpTruncate(share=0.5)
    opening = MessageOpening(Seed(0).at, 0.0, None, driven.conversation, "cut", "response", 0.0, lambda _: True)  # type: ignore[arg-type]
    links = [
        Link("", driven.server.framing, FaultTally()),
        Link("cut", settings_.open_stage(opening), FaultTally()),
        Link(" ", driven.server.gate, FaultTally()),
    ]
    driven.server.how = "chain"
    driven.server.chain.arrange(links, 0.0)
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    driven.play([("server", begun)])
    assert len(driven.server.out) < len(begun)
    driven.play([("server", end)])
    assert driven.server.out == begun + (end or b"")
