"""Addresses: read, written, and whether two of them are one place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.errors import BadValue
from chaosproxy.model.address import Address, UpstreamAddress, canonical_host, parse_address
from chaosproxy.model.places import Places
from tests.refused import code_of


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5432", Address("127.0.0.1", 5432)),
        ("localhost:0", Address("localhost", 0)),
        ("db-1.internal_net.:65535", Address("db-1.internal_net.", 65535)),
        ("[::1]:80", Address("::1", 80)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
        ("unix:/run/app.sock", Address("/run/app.sock")),
        ("unix:app.sock", Address("app.sock")),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address) -> None:
    assert parse_address(text, 0) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (5432, "not-an-address"),
        (None, "not-an-address"),
        ("", "not-an-address"),
        ("localhost", "not-an-address"),
        (":80", "not-an-address"),
        ("http://127.0.0.1:80", "not-an-address"),
        ("https://", "not-an-address"),
        ("::1:80", "not-an-address"),
        ("[::1]", "not-an-address"),
        ("[::g]:80", "not-an-address"),
        ("256.0.0.1:80", "not-an-address"),
        ("1.2.3:80", "not-an-address"),
        ("a b:80", "not-an-address"),
        ("http://a:80", "not-an-address"),
        ("a/b:80", "not-an-address"),
        ("a" * 64 + ".b:80", "not-an-address"),
        ("a:", "not-an-address"),
        ("a:x", "not-an-address"),
        ("a:0", "out-of-range"),
        ("a:65536", "out-of-range"),
        ("a:-1", "not-an-address"),
        ("a:٨٠", "not-an-address"),
        ("[::1%\x1b[31m]:80", "not-an-address"),
        ("[::1%\u202e]:80", "not-an-address"),
        ("[::1%]:80", "not-an-address"),
        ("a:" + "9" * 5000, "out-of-range"),
        ("unix:", "not-an-address"),
        ("unix:/\0", "not-an-address"),
        ("unix:/" + "x" * 107, "not-an-address"),
    ],
)
def test_what_is_no_address_is_refused(text: object, code: str) -> None:
    assert code_of(parse_address, text, 1) == code


@settings(deadline=None)
@given(st.text() | st.text("[]:.1a-unix/%"))
def test_any_text_is_an_address_or_refused_in_words(text: str) -> None:
    try:
        address = parse_address(text, 0)
    except BadValue as bad:
        assert "; " in str(bad)
    else:
        assert parse_address(str(address), 0) == address


def test_a_place_is_taken_once() -> None:
    places = Places()
    assert places.take(Address("127.0.0.1", 80), "a") is None
    assert places.take(Address("localhost", 80), "b") == "a"
    assert places.take(Address("::1", 80), "c") is None
    assert places.take(Address("0.0.0.0", 80), "d") == "a"
    assert places.take(Address("0.0.0.0", 81), "e") is None
    assert places.take(Address("db", 81), "f") == "e"
    assert [places.take(Address("127.0.0.1", 0), name) for name in "gh"] == [None, None]


EVERY_V4, EVERY, DB = "0.0.0.0:80", "[::]:80", "db:80"
ALONE = f"{EVERY} alone"
"""All of IPv6 without IPv4."""


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        (EVERY, EVERY_V4, True),
        (EVERY, "127.0.0.1:80", True),
        (EVERY, "[::1]:80", True),
        (EVERY, "[::ffff:192.0.2.1]:80", True),
        (EVERY, DB, True),
        (EVERY, "[::0]:80", True),
        (EVERY, "127.0.0.1:81", False),
        (EVERY, "unix:/run/a", False),
        (ALONE, EVERY, True),
        (ALONE, "[::1]:80", True),
        (ALONE, "localhost:80", True),
        (ALONE, DB, True),
        (ALONE, EVERY_V4, False),
        (ALONE, "127.0.0.1:80", False),
        (EVERY_V4, "10.0.0.1:80", True),
        (EVERY_V4, "[::ffff:10.0.0.1]:80", True),
        (EVERY_V4, "localhost:80", True),
        (EVERY_V4, DB, True),
        (EVERY_V4, "[::1]:80", False),
        ("localhost:80", "[::1]:80", True),
        ("localhost:80 alone", "127.0.0.1:80", False),
        ("unix:/run/a", "unix:/run/b/../a", True),
    ],
)
def test_addresses_that_overlap_are_found_in_either_order(first: str, second: str, overlap: bool) -> None:
    for one, other in ((first, second), (second, first)):
        places = Places()
        for text, holder in ((one, None), (other, "" if overlap else None)):
            address, _, alone = text.partition(" ")
            assert places.take(parse_address(address, 1), "", bool(alone)) == holder


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("https://user:secret@api.test/v1", "api.test:443"),
        ("http://[::1]/", "[::1]:80"),
        ("http://[::1]:8000/", "[::1]:8000"),
        ("postgres:///db", "127.0.0.1:8000"),
    ],
)
def test_the_message_for_a_url_has_the_address_in_it(url: str, address: str) -> None:
    with pytest.raises(BadValue) as bad:
        UpstreamAddress().read(url)
    assert str(bad.value).endswith(f" is a URL; use only its host and port, such as {address}")


@pytest.mark.parametrize(
    "spellings",
    [
        ("db.internal", "DB.internal."),
        ("10.0.0.7", "::ffff:10.0.0.7", "::FFFF:a00:7"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("fe80::1%eth0", "FE80:0::1%ETH0"),
        ("fe80::1",),
        ("10.0.0.7.",),
    ],
)
def test_a_host_is_one_value_in_all_of_its_spellings(spellings: tuple[str, ...]) -> None:
    values = {canonical_host(one) for one in spellings}
    assert len(values) == 1
    assert values.isdisjoint({canonical_host("fe80::1%eth1"), canonical_host("db"), canonical_host("10.0.0.8")})
