"""An authority is parsed whole: no parser may read another host from text that is accepted."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from chaosproxy.control.web.authority import Authority, parse_authority

HOSTS = st.sampled_from(
    ["localhost", "LOCALHOST.", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "evil.example", "a_b.c-d", "[fe80::1%25lo]"]
)
BITS = st.sampled_from(
    [".", ":", "@", "[", "]", "%", "%31", "/", "\\", "#", "?", ":80", ":080", "evil.com", "::1", "127.0.0.1", "\0",
     "\t", " ", "\u202e", "０", "1", "0x7f", "-", "_", ",", ";", "user@", "\ud800"]
)  # fmt: skip
TEXTS = st.lists(HOSTS | BITS, max_size=5).map("".join) | st.text(max_size=12)


@given(TEXTS)
@example("[::1].evil.com")
@example("localhost:evil.com")
@example("evil.com@127.0.0.1")
def test_every_parser_reads_the_same_host(text: str) -> None:
    try:
        found = parse_authority(text)
    except ValueError:
        return
    # Nothing of the text is left out: it is the host, perhaps with a dot or brackets, and the port.
    host, _, port = text.rpartition(":") if text.rpartition(":")[2].isdigit() else (text.removesuffix(":"), "", "")
    assert found.port == (int(port) if port else None)
    if isinstance(found.host, str):
        assert found.host == host.lower().removesuffix(".")
    else:
        assert found.host == ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    split = urlsplit(f"//{text}")
    assert (split.username, split.path, split.query, split.fragment) == (None, "", "", "")
    read = URL(f"http://{text}/").host
    for other in (split.hostname, read):
        assert other is not None
        assert str(found.host) in (other.removesuffix("."), str(address(other)))


def address(text: str) -> object:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost", "localhost", None), ("LocalHost.:8474", "localhost", 8474), ("127.0.0.1:", "127.0.0.1", None),
        ("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:80", "::1", 80), ("[0:0::1]", "::1", None),
        ("chaos_proxy", "chaos_proxy", None), ("xn--bcher-kva.example:1", "xn--bcher-kva.example", 1),
        ("1.example", "1.example", None),
    ],
)  # fmt: skip
def test_a_host_with_or_without_a_port(text: str, host: str, port: int | None) -> None:
    assert parse_authority(text) == Authority(address(host) or host, port)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", ".", ":", ":80", "..", "a..b", ".a", "localhost..", "[::1].evil.com", "[::1]evil.com", "[::1", "::1", "[]",
     "[::1]]", "[[::1]]", "localhost:evil.com", "evil.com@127.0.0.1", "user:pass@localhost", "127.0.0.1:80:80",
     "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1:８０", "127.0.0.1.", "127.1", "0x7f.0.0.1x.0x1", "1",
     "0177.0.0.1", "127.0.0.01", "[fe80::1%lo]", "[fe80::1%25lo]", "[v1.x]", "[127.0.0.1]", "local%68ost",
     "localhost\t", " localhost", "localhost,evil.com", "localhost/", "localhost#", "ｌocalhost", "a" * 64, "a." * 128],
)  # fmt: skip
def test_what_is_not_an_authority(text: str) -> None:
    with pytest.raises(ValueError):
        parse_authority(text)
