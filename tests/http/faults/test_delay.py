"""http_delay: when messages come."""

from __future__ import annotations

import pytest

from chaosproxy.http.faults.delay import PIECE, HttpDelay
from tests.faults.playing import wrong
from tests.http.faults.playing import CHUNKED, GET, OK, POST, Talk, answered, content, told

HEAD, BODY = OK[:-10], OK[-10:]


def test_a_request_is_held_by_its_head() -> None:
    talk = Talk(HttpDelay(delay=0.5))
    assert told(talk.client(POST, 1.0)) == [(1.5, POST[:-10]), (1.0, POST[-10:])]  # in a chain it waits behind


def test_an_answer_is_held_by_its_head() -> None:
    assert told(answered(HttpDelay(delay=0.5, on="response"), now=2.0)) == [(2.5, HEAD), (2.0, BODY)]


def test_a_body_is_spread_over_the_delay() -> None:
    steps = told(answered(HttpDelay(delay=1.0, on="body"), now=2.0))
    assert steps == [(2.0, HEAD), *((round(2.1 + i / 10, 9), BODY[i : i + 1]) for i in range(10))]


def test_pieces_of_a_spread_body_are_no_further_apart_than_need_be() -> None:
    body = bytes(100_000)
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + body
    [_, *pieces] = answered(HttpDelay(delay=1.0, on="body"), raw)
    assert len(pieces) == round(1.0 / PIECE) and content(pieces) == body
    assert pieces[-1].due == pytest.approx(1.0)


def test_a_body_of_unknown_length_comes_that_much_later() -> None:
    steps = answered(HttpDelay(delay=1.0, on="body"), CHUNKED, 2.0)
    assert [step.due for step in steps] == [2.0, *[3.0] * (len(steps) - 1)]


def test_a_changed_spread_counts_from_when_the_bytes_came() -> None:
    talk = Talk(HttpDelay(delay=100.0, on="body"))
    talk.client(GET)
    talk.server(OK[:-6])
    assert talk.change(HttpDelay(delay=1.0, on="body")) == []
    assert told(talk.server(OK[-6:], 5.0)) == [(round(5.1 + i / 10, 9), OK[-6 + i :][:1]) for i in range(6)]


@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_jitter_spreads_the_delay(jitter: float) -> None:
    talk = Talk(HttpDelay(delay=0.5, jitter=jitter))
    dues = {talk.client(GET)[0].due for _ in range(50)}
    assert (len(dues) > 1) == bool(jitter)
    assert all(0.5 - jitter <= due <= 0.5 + jitter for due in dues)


def test_bad_settings() -> None:
    assert wrong({"type": "http_delay"}) == [("delay", "missing")]
    assert wrong({"type": "http_delay", "delay": "1s", "on": "reply"}) == [("on", "unknown-value")]
    assert wrong({"type": "http_delay", "delay": "10ms", "jitter": "20ms"}) == []
