"""What is declared of the handshake fault; tests/net/test_tls_faults.py shows it to clients."""

from __future__ import annotations

from typing import get_args

import pytest

from chaosproxy.faults.base import Handshake
from chaosproxy.faults.tls_handshake import TlsHandshake
from tests.faults.playing import read, told


@pytest.mark.parametrize("how", get_args(Handshake))
def test_it_stands_at_the_door_and_nowhere_else(how: str) -> None:
    admission = read({"type": "tls_handshake", "how": how}).settings.admission()
    assert admission is not None
    assert (admission.handshake, admission.reply, admission.delay) == (how, "accept", 0.0)


def test_how_must_be_said() -> None:
    assert told({"type": "tls_handshake"}) == [("", "how is missing; give e.g. how: expired_cert")]
    [(where, what)] = told({"type": "tls_handshake", "how": "expired"})
    assert where == "how" and "did you mean 'expired_cert'?" in what


def test_nothing_is_severed() -> None:
    assert not TlsHandshake(how="stall").severs()


@pytest.mark.parametrize(
    ("given", "where", "what"),
    [
        ({"type": "refuse", "match": {"sni": "*"}}, "match", "refuse acts before they say anything"),
        ({"type": "latency", "delay": "1s", "match": {"sni": ""}}, "match.sni", "is empty"),
        ({"type": "latency", "delay": "1s", "match": {"sni": "*", "snj": "*"}}, "match.snj", "unknown key"),
        ({"type": "latency", "delay": "1s", "match": {"method": "GET"}}, "match", "selects HTTP messages"),
    ],
)
def test_a_match_that_makes_no_sense_is_refused(given: dict[str, object], where: str, what: str) -> None:
    [(found, message)] = told(given)
    assert found == where and what in message


def test_a_match_by_server_name_is_a_glob_without_case() -> None:
    match = read({"type": "latency", "delay": "1s", "match": {"sni": "*.Example.org"}}).sni
    assert match is not None
    assert match.matches("a.example.ORG") and not match.matches("example.org") and not match.matches(None)
