"""A glance lets pass what the framer would have framed as one message, and nothing else."""

from __future__ import annotations

import pytest

from chaosproxy.http.context import KEPT_EACH, LONGEST_KEPT, HttpSettings
from chaosproxy.http.glance import BEGIN_AND_END, NOT_ONE, REQUEST, RESPONSE, STATUS_CLASSES, Glance
from chaosproxy.http.match import Rules
from tests.http.corpus import CORPUS, LEGAL_ANSWER, LEGAL_REQUEST
from tests.http.driving import Driven
from tests.http.test_match import matcher

CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def is_one(glance: Glance, data: bytes) -> bool:
    """A look as it is taken on the way of every message."""
    try:
        glance.feed(data)
    except NOT_ONE:
        glance.again(data)
    if glance.due:
        glance.renew()
        return False
    glance.due.extend(BEGIN_AND_END)
    return True


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
    assert [is_one(REQUEST, data) for _ in range(3)] == [True] * 3


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
    assert not is_one(REQUEST, data)
    assert is_one(REQUEST, LEGAL_REQUEST)


def test_an_answer_without_end_is_not_one() -> None:
    assert not is_one(RESPONSE, b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert is_one(RESPONSE, LEGAL_ANSWER)


def test_answers_need_no_new_parser_each() -> None:
    assert is_one(RESPONSE, LEGAL_ANSWER)
    feed = RESPONSE.feed
    assert is_one(RESPONSE, LEGAL_ANSWER) and RESPONSE.feed is feed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", 2), (b"HTTP/1.1 503", 5), (b"HTTP/1.1 404 ", 4), (b"HTTP/1.1 100 Go", 0),
        (b"HTTP/1.0 503", 0), (b"HTTP/1.1 999 Odd", 0), (b"HTTP/2.0 200 OK", 0), (b"RTSP/1.0 200 OK", 0),
        (b"HTTP/1.1 099 No", 0),
    ],
)  # fmt: skip
def test_a_status_has_a_class_where_its_line_is_well_formed(line: bytes, expected: int) -> None:
    assert [STATUS_CLASSES[line] for _ in range(2)] == [expected] * 2


def test_nothing_passes_at_a_glance_that_could_not_be_framed() -> None:
    for shape in CORPUS:
        glance, careful = Driven(), Driven()
        for driven in (glance, careful):
            if shape.server:
                driven.client.feed(shape.client)
        one, other = (driven.server if shape.server else driven.client for driven in (glance, careful))
        data = shape.server or shape.client
        if one.passes(data):
            other.stream.account(data, 0.0)
            assert careful.conversation.is_framed, shape.name
            assert (careful.conversation.count, careful.statuses) == (glance.conversation.count, glance.statuses)


POST = b"POST /%d HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"


def test_what_came_before_passes_without_another_look(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Driven().play([("client", POST % 1), ("server", LEGAL_ANSWER)])
    for glance in (REQUEST, RESPONSE):
        monkeypatch.setattr(glance, "feed", None)  # to parse would be a TypeError
    second = Driven(after=first).play([("client", POST % 1), ("server", LEGAL_ANSWER)])
    assert (second.client.follow.out.taken_in, second.server.follow.out.taken_in) == (0, 0)
    assert (second.client.out, second.server.out) == (POST % 1, LEGAL_ANSWER)
    assert second.statuses == [0, 0, 1, 0, 0, 0] and second.conversation.count == 1
    with pytest.raises(TypeError):
        second.play([("client", POST % 2)])


def test_what_is_of_the_same_length_is_not_the_same() -> None:
    driven = Driven()
    for turn in range(5):
        other = (POST % turn).replace(b"Length: 3", b"Length: %d" % (3 + turn % 2)) + b"d" * (turn % 2)
        driven.play([("client", other), ("server", LEGAL_ANSWER.replace(b"200", b"%d00" % (2 + turn % 4)))])
    assert driven.statuses == [0, 0, 2, 1, 1, 1]


@pytest.mark.parametrize("change", ["faults", "routes", "limits"])
def test_what_was_known_is_looked_at_again_once_something_else_holds(change: str) -> None:
    first = Driven().play([("client", POST % 1), ("server", LEGAL_ANSWER)])
    second = Driven(after=first)
    match change:
        case "faults":
            second.context.use_rules(Rules([matcher(path="/1")]))
        case "routes":
            second.context.configure(HttpSettings(), ["/1"])
        case _:
            second.context.configure(HttpSettings(head_limit=20), ())
    second.play([("client", POST % 1)])
    assert second.client.follow.out.taken_in == (change != "routes")
    assert (("POST", "/1") in second.tally.routes) == (change == "routes")


def test_of_a_connection_each_16th_is_kept_unless_it_is_long() -> None:
    driven = Driven()
    long = LEGAL_REQUEST[:-2] + b"X: %s\r\n\r\n" % (b"a" * LONGEST_KEPT)
    kept: list[list[bytes]] = []
    for request in (long, *(POST % turn for turn in range(100, 100 + KEPT_EACH))):
        driven.play([("client", request), ("server", LEGAL_ANSWER)])
        kept.append([data for data, _ in driven.context.latest_requests.values()])
    assert kept == [[]] * KEPT_EACH + [[POST % (99 + KEPT_EACH)]]
