"""Addresses: read, written, and whether two of them are one place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.model.address import Address, Places, parse_address


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
    ("text", "message"),
    [
        (5432, "5432 is not an address; give host:port, such as 127.0.0.1:5432, [::1]:5432 or unix:/run/app.sock"),
        (None, "null is not an address"),
        ("", "'' is not an address"),
        ("localhost", "'localhost' is not an address; give host:port"),
        (":80", "':80' has no host; give one, such as 127.0.0.1:80 (0.0.0.0 is every interface)"),
        ("::1:80", "'::1:80' is ambiguous; write an IPv6 address in brackets, such as [::1]:5432"),
        ("[::1]", "'[::1]' is ambiguous"),
        ("[::g]:80", "'[::g]:80' holds no IPv6 address in its brackets"),
        ("256.0.0.1:80", "'256.0.0.1:80' holds no IPv4 address"),
        ("1.2.3:80", "'1.2.3:80' holds no IPv4 address"),
        ("a b:80", "'a b:80' has no usable host name"),
        ("http://a:80", "'http://a:80' is ambiguous"),
        ("a/b:80", "'a/b:80' has no usable host name"),
        ("a" * 64 + ".b:80", "'" + "a" * 60 + "'… (69 characters) has no usable host name"),
        ("a:", "'a:' has the port ''; give one from 1 to 65535"),
        ("a:x", "'a:x' has the port 'x'"),
        ("a:0", "'a:0' has the port '0'; give one from 1 to 65535"),
        ("a:65536", "'a:65536' has the port '65536'"),
        ("a:-1", "'a:-1' has the port '-1'"),
        ("a:٨٠", "'a:٨٠' has the port '٨٠'"),
        ("a:" + "9" * 5000, "'a:" + "9" * 58 + "'… (5002 characters) has the port"),
        ("unix:", "'unix:' has no usable path; give one of 1 to 107 bytes, such as unix:/run/app.sock"),
        ("unix:/\0", "'unix:/\\x00' has no usable path"),
        ("unix:/" + "x" * 107, "'unix:/"),
    ],
)
def test_what_is_no_address_is_refused(text: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(text, 1)
    assert str(caught.value).startswith(message)


@settings(deadline=None)
@given(st.text() | st.text("[]:.1a-unix/%"))
def test_any_text_is_an_address_or_refused_in_words(text: str) -> None:
    try:
        address = parse_address(text, 0)
    except ValueError as error:
        assert "; " in str(error)
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
