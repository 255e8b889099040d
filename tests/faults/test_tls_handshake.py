"""What is declared of the handshake fault; tests/net/test_tls_faults.py shows it to clients."""

from __future__ import annotations

from typing import get_args

import pytest

from chaosproxy.faults.base import Handshake
from chaosproxy.faults.tls_handshake import TlsHandshake
from tests.faults.playing import read, wrong


@pytest.mark.parametrize("how", get_args(Handshake))
def test_it_stands_at_the_door_and_nowhere_else(how: str) -> None:
    admission = read({"type": "tls_handshake", "how": how}).settings.admission()
    assert admission is not None
    assert (admission.handshake, admission.reply, admission.delay) == (how, "accept", 0.0)


def test_how_must_be_said() -> None:
    assert wrong({"type": "tls_handshake"}) == [("how", "missing")]
    assert wrong({"type": "tls_handshake", "how": "expired"}) == [("how", "unknown-value")]


def test_nothing_is_severed() -> None:
    assert not TlsHandshake(how="stall").severs()


@pytest.mark.parametrize(
    ("given", "where", "code"),
    [
        ({"type": "refuse", "match": {"sni": "*"}}, "match", "not-applicable"),
        ({"type": "latency", "delay": "1s", "match": {"sni": ""}}, "match.sni", "empty"),
        ({"type": "latency", "delay": "1s", "match": {"sni": "*", "snj": "*"}}, "match.snj", "unknown-key"),
        ({"type": "latency", "delay": "1s", "match": {"method": "GET"}}, "match", "not-applicable"),
    ],
)
def test_a_match_that_makes_no_sense_is_refused(given: dict[str, object], where: str, code: str) -> None:
    assert wrong(given) == [(where, code)]


def test_a_match_by_server_name_is_a_glob_without_case() -> None:
    match = read({"type": "latency", "delay": "1s", "match": {"sni": "*.Example.org"}}).sni
    assert match is not None
    assert match.matches("a.example.ORG") and not match.matches("example.org") and not match.matches(None)
