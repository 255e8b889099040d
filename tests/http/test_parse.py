"""A head's bytes become a head and the framing of its body, or the reason why not."""

from __future__ import annotations

import pytest

from chaosproxy.http.head import RequestHead, ResponseHead
from chaosproxy.http.parse import Body, RequestParser, ResponseParser, Unframed, Unsized
from tests.http.driving import singly


def request(data: bytes) -> tuple[RequestHead, Body]:
    whole, bytewise = RequestParser(), RequestParser()
    whole.feed(data)
    for piece in singly(data):
        bytewise.feed(piece)
    assert whole.finish() == bytewise.finish()
    return whole.finish()


def response(data: bytes, method: str = "GET") -> tuple[ResponseHead, Body]:
    whole, bytewise = ResponseParser(), ResponseParser()
    whole.feed(data)
    for piece in singly(data):
        bytewise.feed(piece)
    assert whole.finish(method) == bytewise.finish(method)
    return whole.finish(method)


def test_a_request_keeps_names_order_and_duplicates() -> None:
    head, body = request(b"PATCH /a?b HTTP/1.1\r\nhOST: h\r\nX:\r\nx: \t\xe4 b\t \r\nX: c\r\n\r\n")
    fields = (("hOST", "h"), ("X", ""), ("x", "ä b"), ("X", "c"))
    assert (head, body) == (RequestHead("PATCH", "/a?b", "1.1", fields), 0)


def test_a_response_has_a_reason_or_none() -> None:
    assert response(b"HTTP/1.1 200 All \xe4\r\n\r\n")[0] == ResponseHead(200, "All ä", "1.1", ())
    assert response(b"HTTP/1.0 404\r\n\r\n")[0] == ResponseHead(404, "", "1.0", ())


@pytest.mark.parametrize("target", ["/", "*", "http://h:80/p?q", "/%00?#", "//a"])
def test_targets_are_as_sent(target: str) -> None:
    method = "OPTIONS" if target == "*" else "GET"
    assert request(f"{method} {target} HTTP/1.1\r\n\r\n".encode())[0].target == target


def test_a_connect_has_an_authority_and_no_body() -> None:
    head, body = request(b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (head.method, head.target, body) == ("CONNECT", "h:443", 0)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"", 0), (b"Content-Length: 0\r\n", 0), (b"content-LENGTH:\t12 \r\n", 12), (b"Content-Length: 007\r\n", 7),
        (b"Transfer-Encoding: chunked\r\n", Unsized.CHUNKED), (b"transfer-encoding:CHUNKED\t\r\n", Unsized.CHUNKED),
    ],
)  # fmt: skip
def test_the_body_of_a_request_has_the_length_its_head_says(fields: bytes, body: Body) -> None:
    assert request(b"POST / HTTP/1.1\r\n" + fields + b"\r\n")[1] == body


SIZED, CHUNKED = b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("method", "line", "fields", "body"),
    [
        ("GET", b"HTTP/1.1 200 OK", SIZED, 3),
        ("GET", b"HTTP/1.1 200 OK", CHUNKED, Unsized.CHUNKED),
        ("GET", b"HTTP/1.1 200 OK", b"", Unsized.UNTIL_CLOSE),
        ("GET", b"HTTP/1.0 200 OK", b"", Unsized.UNTIL_CLOSE),
        ("HEAD", b"HTTP/1.1 200 OK", SIZED, 0),
        ("HEAD", b"HTTP/1.1 200 OK", CHUNKED, 0),
        ("HEAD", b"HTTP/1.1 200 OK", b"", 0),
        ("GET", b"HTTP/1.1 204 No", b"", 0),
        ("GET", b"HTTP/1.1 204 No", SIZED, 0),
        ("GET", b"HTTP/1.1 304 No", SIZED, 0),
        ("GET", b"HTTP/1.1 304 No", CHUNKED, 0),
        ("GET", b"HTTP/1.1 100 Go", b"", 0),
        ("GET", b"HTTP/1.1 101 Go", b"", Unsized.TUNNEL),
        ("CONNECT", b"HTTP/1.1 200 OK", SIZED, Unsized.TUNNEL),
        ("CONNECT", b"HTTP/1.1 403 No", SIZED, 3),
        ("GET", b"HTTP/1.1 426 No", b"Connection: upgrade\r\nUpgrade: x\r\n" + SIZED, 3),
    ],
)
def test_the_body_of_a_response_has_the_length_of_rfc_9112(method: str, line: bytes, fields: bytes, body: Body) -> None:
    assert response(line + b"\r\n" + fields + b"\r\n", method)[1] == body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "a transfer coding in an HTTP/1.0 message"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "a transfer coding other than chunked"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n", "other than chunked"),
        (b"GET / HTTP/0.9\r\n\r\n", "a first line that is not HTTP/1.0 or 1.1"),
        (b"OPTIONS / RTSP/1.0\r\n\r\n", "a first line that is not HTTP/1.0 or 1.1"),
        (b"GET  / HTTP/1.1\r\n\r\n", "a first line that is not HTTP/1.0 or 1.1"),
        (b"GET / HTTP/1.1\r\n\r", "a head that does not end where its empty line is"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "duplicate Content-Length"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_in_words(data: bytes, reason: str) -> None:
    with pytest.raises(Unframed, match=reason):
        request(data)


@pytest.mark.parametrize("line", [b"HTTP/2.0 200 OK", b"RTSP/1.0 200 OK", b"HTTP/1.1 099 No", b"HTTP/1.1 200 O\x00K"])
def test_a_status_line_is_refused_too(line: bytes) -> None:
    with pytest.raises(Unframed, match="a first line"):
        response(line + b"\r\n\r\n")
