"""What makes two requests the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.http.fingerprint import BODY, fingerprint

ORDER = b"POST /orders?x=1 HTTP/1.1\r\nHost: h\r\nTraceparent: 00-1\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"POST /orders HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
GET = b"GET /orders HTTP/1.1\r\nHost: h\r\n\r\n"


def test_a_retry_has_another_trace_and_is_the_same() -> None:
    again = ORDER.replace(b"00-1", b"00-2")
    assert again != ORDER and fingerprint(again) == fingerprint(ORDER)
    assert fingerprint(ORDER)[1] == "POST /orders"


@pytest.mark.parametrize(
    "other",
    [
        ORDER.replace(b"POST", b"PUT"), ORDER.replace(b"x=1", b"x=2"), ORDER.replace(b"{}", b"[]"),
        ORDER.replace(b"Host: h", b"Host: h\r\nidempotency-key: 7"),
    ],
)  # fmt: skip
def test_another_method_target_body_or_key_is_another_request(other: bytes) -> None:
    assert fingerprint(other)[0] != fingerprint(ORDER)[0]


def test_a_key_is_read_in_any_case() -> None:
    fields = b"Idempotency-Key: 7", b"IDEMPOTENCY-KEY:7 "
    spelled = [ORDER.replace(b"Host: h", b"Host: h\r\n" + field) for field in fields]
    assert len({fingerprint(one)[0] for one in spelled}) == 1


@given(st.binary(max_size=9000))
def test_any_bytes_have_one(data: bytes) -> None:
    _, name, is_partial, body_at, _ = fingerprint(data)
    assert len(name) <= 200 and (is_partial or data[:body_at].endswith(b"\r\n\r\n"))


@pytest.mark.parametrize("request_", [ORDER, CHUNKED, GET])
def test_a_request_is_partial_until_its_last_byte(request_: bytes) -> None:
    assert [length for length in range(len(request_) + 1) if not fingerprint(request_[:length])[2]] == [len(request_)]


@pytest.mark.parametrize("request_", [ORDER, GET])
def test_a_request_that_follows_is_no_part_of_it(request_: bytes) -> None:
    assert fingerprint(request_ + GET) == fingerprint(request_)


@pytest.mark.parametrize(("request_", "length"), [(ORDER, 2), (CHUNKED, None), (GET, 0)])
def test_the_place_and_length_of_the_body(request_: bytes, length: int | None) -> None:
    *_, body_at, told = fingerprint(request_)
    assert request_[:body_at].endswith(b"\r\n\r\n") and told == length
    assert fingerprint(request_[: body_at - 1])[3] == 0


@given(st.integers(0, 1500), st.integers(0, 1500), st.integers(BODY, 3 * BODY))
def test_a_head_of_another_length_does_not_change_a_long_body(first: int, second: int, length: int) -> None:
    head = b"POST / HTTP/1.1\r\nTraceparent: %s\r\nContent-Length: %d\r\n\r\n"
    one, other = (head % (b"t" * each, length) + b"b" * length for each in (first, second))
    assert fingerprint(one)[:3] == fingerprint(other)[:3]
    assert not fingerprint(one)[2]
