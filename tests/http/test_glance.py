"""A glance lets pass what the framer would have framed as one message, and nothing else."""

from __future__ import annotations

import pytest

from chaosproxy.http.glance import REQUEST, RESPONSE, status_class
from tests.http.corpus import CORPUS, LEGAL_ANSWER, LEGAL_REQUEST
from tests.http.driving import Driven

CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        LEGAL_REQUEST,
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 10000\r\n\r\n" + b"\n00" * 3333 + b"\n",
        CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
    ],
)
def test_one_whole_request_passes_as_often_as_it_comes(data: bytes) -> None:
    assert [REQUEST.is_one(data) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize(
    "data",
    [
        LEGAL_REQUEST[:-1],
        LEGAL_REQUEST * 2,
        LEGAL_REQUEST + b"G",
        b"\x00",
        b"CONNECT h:443 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        CHUNKED + b"0000000000000003\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_anything_else_does_not_and_what_comes_next_does(data: bytes) -> None:
    assert not REQUEST.is_one(data)
    assert REQUEST.is_one(LEGAL_REQUEST)


def test_an_answer_without_end_is_not_one() -> None:
    assert not RESPONSE.is_one(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert RESPONSE.is_one(LEGAL_ANSWER)


def test_answers_need_no_new_parser_each() -> None:
    parser = RESPONSE._parser
    assert RESPONSE.is_one(LEGAL_ANSWER)
    assert RESPONSE._parser is parser


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", 2), (b"HTTP/1.0 503", 5), (b"HTTP/1.1 404 ", 4), (b"HTTP/1.1 100 Go", 0),
        (b"HTTP/1.1 999 Odd", 0), (b"HTTP/2.0 200 OK", 0), (b"RTSP/1.0 200 OK", 0), (b"HTTP/1.1 099 No", 0),
    ],
)  # fmt: skip
def test_a_status_has_a_class_where_its_line_is_well_formed(line: bytes, expected: int) -> None:
    assert [status_class(line + b"\r\n\r\n") for _ in range(2)] == [expected] * 2


def test_a_coding_in_http_1_0_takes_more_than_a_glance() -> None:
    assert status_class(b"HTTP/1.0 200 OK\r\nTransfer-ENCODING: chunked\r\n\r\n") == 0
    assert status_class(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") == 2


def test_nothing_passes_at_a_glance_that_could_not_be_framed() -> None:
    for shape in CORPUS:
        glance, careful = Driven(), Driven()
        for driven in (glance, careful):
            if shape.server:
                driven.client.feed(shape.client)
        one, other = ((driven.server if shape.server else driven.client).way for driven in (glance, careful))
        data = shape.server or shape.client
        if one.passes(data, 0.0):
            other.account(data, 0.0)
            assert careful.conversation.over is None, shape.name
            assert (careful.conversation.count, careful.statuses) == (glance.conversation.count, glance.statuses)
