"""http_abort: the answers it gives."""

from __future__ import annotations

import pytest

from chaosproxy.http.faults.abort import HttpAbort
from chaosproxy.http.part import Part
from tests.faults.playing import wrong
from tests.http.faults.playing import GET, POST, Talk


def answer(fault: HttpAbort, raw: bytes = GET) -> tuple[bytes, bool]:
    """What the client is told, and whether the connection is closed then."""
    talk = Talk(fault)
    assert talk.client(raw, 2.0) == []
    first, *end = talk.responses.injected_responses(3.0)
    assert isinstance(first, Part) and first.is_injected and first.last and first.due == 3.0
    return first.data, bool(end)


def test_it_answers_with_the_status_and_nothing_else() -> None:
    assert answer(HttpAbort()) == (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", False)
    assert answer(HttpAbort(status=599))[0].startswith(b"HTTP/1.1 599 Injected\r\n")


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("söme", b"text/plain; charset=utf-8", "söme".encode()),
        ({"a": [1]}, b"application/json", b'{"a": [1]}'),
        ([], b"application/json", b"[]"),
    ],
)
def test_a_body_says_what_it_is(body: object, kind: bytes, text: bytes) -> None:
    data, _ = answer(HttpAbort(body=body))
    assert data.endswith(b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(text), text))
    data, _ = answer(HttpAbort(body=body, headers={"content-type": "x/y"}))
    assert data.count(b"ontent-") == 1 + data.count(b"content-") + 0 and b"content-type: x/y" in data


def test_fields_and_the_time_to_come_back() -> None:
    data, _ = answer(HttpAbort(status=429, headers={"X-A": "b"}, retry_after=1.2))
    assert data == b"HTTP/1.1 429 Too Many Requests\r\nX-A: b\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"


def test_answers_that_have_no_body_have_none() -> None:
    assert answer(HttpAbort(status=204))[0] == b"HTTP/1.1 204 No Content\r\n\r\n"
    head = GET.replace(b"GET", b"HEAD")
    assert answer(HttpAbort(body="text"), head)[0].endswith(b"Content-Length: 4\r\n\r\n")


@pytest.mark.parametrize(
    ("raw", "closes", "says"),
    [
        (GET, False, b""),
        (GET.replace(b"Host: x", b"Connection: keep-alive, Close"), True, b"Connection: close"),
        (GET.replace(b"1.1", b"1.0"), True, b"Connection: close"),
        (GET.replace(b"1.1", b"1.0").replace(b"Host: x", b"Connection: keep-alive"), False, b"Connection: keep-alive"),
        (POST[:-10].replace(b"Host: x", b"Expect: 100-continue"), True, b"Connection: close"),
        (GET.replace(b"Host: x", b"Connection: upgrade\r\nUpgrade: x"), True, b"Connection: close"),
        (POST[:-10].replace(b"Host: x", b"Connection: close"), False, b"Connection: close"),
    ],
    ids=["plain", "close", "1.0", "1.0-keep-alive", "expect", "upgrade", "close-not-whole"],
)
def test_it_closes_where_the_client_or_the_protocol_wants_it(raw: bytes, closes: bool, says: bytes) -> None:
    data, closed = answer(HttpAbort(), raw)
    assert closed == closes
    assert [line for line in data.split(b"\r\n") if line.startswith(b"Connection")] == ([says] if says else [])


def test_the_rest_of_the_request_is_swallowed() -> None:
    talk = Talk(HttpAbort())
    assert talk.client(POST[:-4]) + talk.client(POST[-4:]) == []
    assert not talk.conversation.drops_requests


@pytest.mark.parametrize(
    ("given", "where", "code"),
    [
        ({"headers": {"Content-Length": "3"}}, "headers.Content-Length", "not-applicable"),
        ({"headers": {"a b": "3"}}, "headers.a b", "malformed"),
        ({"headers": {"a": "x\ny"}}, "headers.a", "malformed"),
        ({"status": 204, "body": "x"}, "body", "invalid-together"),
        ({"status": 101}, "status", "out-of-range"),
    ],
)
def test_what_cannot_be_answered_is_refused(given: dict[str, object], where: str, code: str) -> None:
    assert wrong({"type": "http_abort", **given}) == [(where, code)]
