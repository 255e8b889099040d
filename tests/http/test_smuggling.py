"""What can be read in two ways passes as it came, and nobody claims to know what it means."""

from __future__ import annotations

import random
import time

import pytest

from tests.http.corpus import CORPUS, LEGAL_REQUEST, Shape
from tests.http.driving import HOWS, Driven, Event, How, cut, singly
from tests.http.fuzz import fuzz, pieces

SHORT = [shape for shape in CORPUS if len(shape.client) + len(shape.server) <= 600]


def events_of(client: list[bytes], server: list[bytes]) -> list[Event]:
    return [*(("client", data) for data in client if data), *(("server", data) for data in server if data)]  # type: ignore[misc]


def check(driven: Driven, shape: Shape, events: list[Event]) -> None:
    driven.play([*events, ("client", None), ("server", None)])
    assert (driven.client.out, driven.server.out) == (shape.client, shape.server), shape.name
    assert driven.conversation.is_framed == shape.framed, (shape.name, driven.reasons)
    assert len(driven.reasons) == (not shape.framed), shape.name


@pytest.mark.parametrize("how", HOWS)
def test_every_shape_passes_as_it_came(how: How) -> None:
    for shape in CORPUS:
        check(Driven(how=how), shape, events_of([shape.client], [shape.server]))


@pytest.mark.parametrize("how", HOWS)
def test_so_it_does_byte_by_byte_and_cut_at_any_place(how: How) -> None:
    dice = random.Random(5)
    for shape in SHORT:
        check(Driven(how=how), shape, events_of(singly(shape.client), singly(shape.server)))
        check(Driven(how=how), shape, events_of(pieces(dice, shape.client), pieces(dice, shape.server)))


def test_so_it_does_while_faults_come_and_go() -> None:
    dice = random.Random(6)
    for shape in SHORT:
        driven = Driven(how=dice.choice(HOWS))
        for event in events_of(pieces(dice, shape.client), pieces(dice, shape.server)):
            driven.switch(dice.choice(HOWS))
            driven.play([event])
        check(driven, shape, [])


@pytest.mark.slow
def test_so_it_does_when_it_breaks_off_at_any_byte() -> None:
    dice = random.Random(7)
    for shape in SHORT:
        client, server = shape.client, shape.server
        for end in range(len(client) + len(server)):
            kept = client[:end], server[: max(0, end - len(client))]
            driven = Driven(how=dice.choice(HOWS))
            middle = len(kept[0]) // 2
            driven.play(
                [*events_of([kept[0][:middle], kept[0][middle:]], [kept[1]]), ("client", None), ("server", None)]
            )
            assert (driven.client.out, driven.server.out) == kept, shape.name


@pytest.mark.parametrize("how", HOWS)
def test_strict_refuses_it_and_what_offends_does_not_pass(how: How) -> None:
    for shape in CORPUS:
        driven = Driven(how=how, strict=True)
        driven.play(events_of([shape.client], [shape.server]))
        assert driven.is_refused == (not shape.framed), shape.name
        offender = driven.server if driven.conversation.stream_reason and shape.server else driven.client
        if shape.framed:
            assert (driven.client.out, driven.server.out) == (shape.client, shape.server), shape.name
        elif how == "glance":
            assert offender.out == b"", f"{shape.name}: nothing of a piece in which something offends"
        else:
            sent = shape.server if offender is driven.server else shape.client
            assert sent.startswith(bytes(offender.out)) and len(offender.out) < len(sent), shape.name


@pytest.mark.parametrize("how", HOWS)
def test_strict_never_lets_a_head_that_offends_be_whole(how: How) -> None:
    for shape in SHORT:
        if shape.framed or shape.in_body or shape.server:
            continue
        driven = Driven(how=how, strict=True).play(events_of(singly(shape.client), []))
        assert driven.is_refused, shape.name
        assert shape.client.startswith(bytes(driven.client.out))
        assert driven.client.out.lstrip(b"\r\n").count(b"\n\r\n") <= driven.conversation.count, shape.name


POST = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = {
    "empty lines": b"\r\n" * 20_000 + LEGAL_REQUEST,
    "requests behind empty lines": (b"\r\n" + LEGAL_REQUEST) * 1500,
    "one field": b"GET / HTTP/1.1\r\nX: " + b"a" * 45_000 + b"\r\n\r\n",
    "one name": b"GET / HTTP/1.1\r\n" + b"a" * 45_000 + b": a\r\n\r\n",
    "empty fields": b"GET / HTTP/1.1" + b"\r\nX:" * 11_000 + b"\r\n\r\n",
    "a target": b"GET /" + b"a" * 45_000 + b" HTTP/1.1\r\n\r\n",
    "extensions": POST + (b"1;" + b"a" * 4000 + b"\r\na\r\n") * 11,
    "chunks": POST + b"1\r\na\r\n" * 7500,
    "one trailer": POST + b"0\r\nX: " + b"a" * 45_000 + b"\r\n\r\n",
    "trailers": POST + b"0\r\n" + b"X:\r\n" * 11_000 + b"\r\n",
    "a body": b"POST / HTTP/1.1\r\nContent-Length: 45000\r\n\r\n" + b"a" * 45_000,
    "no end": b"GET / HTTP/1.1" + b"\r\nX: a" * 8000,
}


def _seconds(data: bytes, piece: int) -> float:
    best = 9.0
    for _ in range(2):
        driven = Driven()
        started = time.thread_time()
        driven.play(events_of([data[place : place + piece] for place in range(0, len(data), piece)], []))
        best = min(best, time.thread_time() - started)
    return best


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_no_input_takes_much_longer_than_requests_of_the_same_length(name: str) -> None:
    """Byte by byte, where what has been seen before must not be looked at again."""
    data = SLOW[name]
    benign = (LEGAL_REQUEST * (len(data) // len(LEGAL_REQUEST) + 1))[: len(data)]
    assert _seconds(data, 1) < 4 * _seconds(benign, 1)


@pytest.mark.slow
def test_a_megabyte_in_one_piece_takes_no_longer_than_its_length_says() -> None:
    """Where what is still to come must not be copied for each message."""
    short, long = ((b"\r\n" + LEGAL_REQUEST) * count for count in (2000, 30_000))
    assert _seconds(long, 2**30) < 15 * 3 * _seconds(short, 2**30)


@pytest.mark.slow
def test_a_short_run_of_the_fuzzer_finds_nothing() -> None:
    count, findings = fuzz(20_26, lambda count: count == 2000)
    assert findings == []
    assert count == 2000


def test_the_corpus_says_each_thing_once() -> None:
    assert len({shape.name for shape in CORPUS}) == len(CORPUS) > 300
    assert cut(b"abc", [1, 1, 2, 7]) == [b"a", b"b", b"c"]
