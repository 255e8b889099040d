"""What makes two requests the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.http.fingerprint import fingerprint

ORDER = b"POST /orders?x=1 HTTP/1.1\r\nHost: h\r\nTraceparent: 00-1\r\n\r\n{}"


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
    identity, name = fingerprint(data)
    assert (identity, name) == fingerprint(data) and len(name) <= 200
