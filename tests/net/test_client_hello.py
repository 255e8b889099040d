"""Parse ClientHellos of real clients, cut into pieces of any size, and bytes that are no ClientHello."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.net.tls.client_hello import LONGEST, MORE, Hello, More, read_hello


def hello(name: str | None = "api.test", alpn: tuple[str, ...] = (), newest: bool = True) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if not newest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def in_records(data: bytes, size: int) -> bytes:
    """Return the same message in records of `size` bytes."""
    message = data[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2) + part for part in parts)


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("alpn", [(), ("h2", "http/1.1")])
def test_a_real_hello_is_read(newest: bool, alpn: tuple[str, ...]) -> None:
    assert read_hello(hello("API.Test", alpn, newest)) == Hello("api.test", alpn)


def test_a_client_may_name_no_server() -> None:
    assert read_hello(hello(None)) == Hello(None, ())
    assert read_hello(hello("127.0.0.1")) == Hello(None, ())


def test_what_follows_is_left_alone() -> None:
    assert read_hello(hello() + b"\x17\x03\x03 early data") == Hello("api.test", ())


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 200])
def test_a_hello_may_come_in_many_records(size: int) -> None:
    data = in_records(hello(), size)
    assert read_hello(data) == Hello("api.test", ())
    assert all(read_hello(data[:end]) is MORE for end in range(1, len(data) - size, 7))


def test_every_beginning_wants_more() -> None:
    data = hello()
    assert all(read_hello(data[:end]) is MORE for end in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # PostgreSQL's own request for TLS
        b"\x16\x02",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02",  # a handshake message that is no ClientHello
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",  # a ClientHello of 16 MiB
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
)
def test_what_is_no_hello_is_known_at_once(data: bytes) -> None:
    assert read_hello(data) is None


def test_it_never_wants_more_than_its_longest() -> None:
    endless = b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x01\x00" * LONGEST
    assert all(read_hello(endless[:end]) is None for end in (LONGEST, LONGEST + 1, 2 * LONGEST))


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert isinstance(read_hello(data), Hello | More | None)


@given(st.data())
def test_a_damaged_hello_has_an_answer(data: st.DataObject) -> None:
    damaged = bytearray(hello())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(5, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    found = read_hello(bytes(damaged))
    assert isinstance(found, Hello | More | None)
    if isinstance(found, Hello) and found.sni is not None:
        assert found.sni.isprintable() and found.sni.isascii()
