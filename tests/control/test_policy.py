"""Which addresses the policy allows."""

from __future__ import annotations

import pytest

from chaosproxy.control.policy import forbidden, matches
from chaosproxy.model import PolicySpec
from chaosproxy.model.address import parse_address
from tests.net.building import proxy


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
        ("10.0.0.0/99", "10.0.0.1:1"),
        ("::/0", "10.0.0.1:1"),
        ("db:5432", "db:5433"),
        ("db:postgres", "db:5432"),
        ("[::1]:5432", "[::1]:1"),
        ("*", "unix:/run/app.sock"),
        ("unix:*", "db:1"),
        ("unix:/run/app/*", "unix:/run/app/../other.sock"),
        ("unix:/run/app/*", "unix:/etc/x"),
    ],
)
def test_a_pattern_does_not_cover(pattern: str, address: str) -> None:
    assert not matches(parse_address(address, 0), [pattern])


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
