"""Whether some bytes are exactly one whole message."""

from __future__ import annotations

import pytest

from chaosproxy.http.glance import REQUEST, RESPONSE

GET = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
UPGRADE = b"GET /talk HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT web:443 HTTP/1.1\r\nHost: web:443\r\n\r\n"
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("data", [GET, b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nok", GET.replace(b"1.1", b"1.0")])
def test_one_whole_request_is_one(data: bytes) -> None:
    assert REQUEST.is_one(data)


@pytest.mark.parametrize(
    "data",
    [UPGRADE, CONNECT, UPGRADE + b"more", GET[:-1], GET + GET, GET + b"G", b"\x16\x03\x01", HTTP_2],
)
def test_what_is_less_more_or_other_is_not_and_the_next_one_is_looked_at_afresh(data: bytes) -> None:
    assert not REQUEST.is_one(data)
    assert REQUEST.is_one(GET)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", OK[:-1], OK + OK]
)
def test_answers_are_looked_at_in_the_same_way(data: bytes) -> None:
    assert not RESPONSE.is_one(data)
    assert RESPONSE.is_one(OK)
