"""Which addresses the policy allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.control.policy import forbidden, matches
from chaosproxy.errors import BadValue
from chaosproxy.model import PolicySpec
from chaosproxy.model.address import parse_address
from chaosproxy.model.hosts import HostPattern, parse_pattern
from tests.net.building import proxy

ADDRESSES = [
    "10.0.0.1:1", "10.0.evil.com:1", "localhost:1", "[::1]:1", "[::ffff:10.0.0.1]:1", "a.b:1", "b:1", "1.a:1",
    "a-x.b:1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("db.internal", "db.internal:5432"),
        ("DB.internal", "db.INTERNAL.:5432"),
        ("*.internal", "a.b.internal:1"),
        ("*", "anything:1"),
        ("*", "10.0.0.1:1"),
        ("10.0.0.7", "10.0.0.7:1"),
        ("10.0.0.0/8", "10.255.0.1:1"),
        ("10.0.0.1/8", "10.255.0.1:1"),
        ("127.0.0.0/8", "localhost:1"),
        ("10.0.0.0/8", "[::ffff:10.0.0.1]:1"),
        ("::1", "[::1]:1"),
        ("[::1]", "[0:0::1]:1"),
        ("2001:db8::/32", "[2001:db8::7]:1"),
        ("db:5432", "db:5432"),
        ("db:*", "db:1"),
        ("10.0.0.0/8:5432", "10.0.0.1:5432"),
        ("[::1]:5432", "[::1]:5432"),
        ("*.internal:5432", "db.internal:5432"),
        ("unix:/run/app/*", "unix:/run/app/x.sock"),
        ("db-*.internal", "db-7.internal:1"),
        ("*.db.*.internal", "a.b.db.x.internal:1"),
        ("*.internal", "DB.Internal.:1"),
        ("*.*", "a.b:1"),
        ("*:5432", "10.0.0.1:5432"),
        ("::ffff:10.0.0.0/104", "10.0.0.1:1"),
        ("::ffff:10.0.0.1", "10.0.0.1:1"),
        ("10.0.0.1", "[::ffff:10.0.0.1]:1"),
        ("[::1]:*", "[::1]:7"),
        ("2001:db8::/32:5432", "[2001:db8::7]:5432"),
        ("fe80::/10", "[fe80::1%eth0]:1"),
        ("1.example", "1.example:1"),
    ],
)
def test_a_pattern_covers(pattern: str, address: str) -> None:
    assert matches(parse_address(address, 0), [pattern])


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("db.internal", "db.internal.evil:1"),
        ("db", "d:1"),
        ("*.internal", "internal:1"),
        ("10.0.0.0/8", "11.0.0.1:1"),
        ("10.0.0.0/8", "db.internal:1"),
        ("::/0", "10.0.0.1:1"),
        ("db:5432", "db:5433"),
        ("[::1]:5432", "[::1]:1"),
        ("*", "unix:/run/app.sock"),
        ("unix:/*", "db:1"),
        ("*.internal", "evil-internal:1"),
        ("*.internal", "x.internal.evil:1"),
        ("db.*.internal", "db.a.b.internal:1"),
        ("db-*.internal", "db-x.evil.internal:1"),
        ("*.*", "10.0.0.1:1"),
        ("*.*", "localhost:1"),
        ("127.0.0.1", "localhost:1"),
        ("10.0.0.1", "10.0.0.1.evil.com:1"),
        ("10.0.0.0/16", "10.0.evil.com:1"),
        ("10.0.0.0/8:5432", "10.0.0.1:1"),
        ("::/0", "[::ffff:10.0.0.1]:1"),
        ("unix:/run/app/*", "unix:/run/app/../other.sock"),
        ("unix:/run/app/*", "unix:/etc/x"),
    ],
)
def test_a_pattern_does_not_cover(pattern: str, address: str) -> None:
    assert not matches(parse_address(address, 0), [pattern])


@pytest.mark.parametrize(
    ("pattern", "use"),
    [
        ("10.0.*", "10.0.0.0/16"), ("10.*", "10.0.0.0/8"), ("10.*.*.*", "10.0.0.0/8"),
        ("192.168.7.*", "192.168.7.0/24"), ("192.168.7.*:5432", "192.168.7.0/24"), ("10.0.0.1*", "10.0.0.0/8"),
        ("*.0.0.1", "10.0.0.0/8"), ("fe80:*:*", "2001:db8::/32"), ("[fe80::*]:80", "2001:db8::/32"),
        ("*.7", "10.0.0.0/8"),
    ],
)  # fmt: skip
def test_a_glob_for_addresses_is_an_error_that_names_the_network(pattern: str, use: str) -> None:
    with pytest.raises(BadValue) as raised:
        HostPattern().read(pattern)
    assert str(raised.value) == f"{pattern!r} is a glob for addresses; use a network, such as {use}"


@pytest.mark.parametrize(
    "pattern",
    ["", ".", "a..b", ".a", "10.0", "10.0.0.256", "127.1", "0", "10.0.0.0/99", "10.0.0.0/", "a/8", "db:postgres",
     "db:", "db:0", "db:65536", "db:1:2", "[::1", "[::1]5432", "[db]", "[]", "::1%lo", "[fe80::%1]", "fe80::%1/10",
     "a b", "a\u202eb", "db\n", "unix:*", "unix:/a\x1b", "http://db", "user@db", "a" * 64, "*" * 300],
)  # fmt: skip
def test_what_is_not_a_pattern(pattern: str) -> None:
    with pytest.raises(BadValue):
        HostPattern().read(pattern)


@given(st.text(alphabet="ab10.:*?/[]%-x", max_size=20) | st.text(max_size=10), st.sampled_from(ADDRESSES))
def test_a_pattern_for_names_never_covers_an_address_nor_the_reverse(text: str, address: str) -> None:
    try:
        pattern = parse_pattern(text)
    except BadValue:
        return
    is_name = address.startswith(("[", "10.0.0.1")) is False
    if pattern.covers(parse_address(address, 0)):
        assert pattern.labels is None or is_name
        assert (pattern.ip, pattern.network) == (None, None) or not is_name or address.startswith("localhost")


@pytest.mark.parametrize(
    ("listen", "allowed"),
    [("127.0.0.1:0", True), ("[::1]:0", True), ("localhost:0", True), ("0.0.0.0:0", False), ("unix:/tmp/x", False)],
)
def test_by_default_any_upstream_and_loopback_listeners_alone(listen: str, allowed: bool) -> None:
    found = forbidden(PolicySpec(), proxy("db", listen=listen, upstream="db.far.example:5432"))
    assert [problem.field for problem in found] == ([] if allowed else ["listen"])


def test_what_a_proxy_has_already_is_not_asked_about() -> None:
    policy = PolicySpec(upstreams=(), listen=())
    present = proxy("db", upstream="10.0.0.1:1")
    assert forbidden(policy, proxy("db", upstream="10.0.0.1:1", enabled=False), present) == []
    [refused] = forbidden(policy, proxy("db", upstream="10.0.0.2:1"), present)
    assert refused.field == "upstream"
    assert "which allows nothing" in refused.message
