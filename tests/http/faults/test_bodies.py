"""Faults that cut, slow or change bodies: http_truncate, http_reset, http_slow_body, http_corrupt."""

from __future__ import annotations

import pytest

from chaosproxy.faults.base import HalfClose
from chaosproxy.http.faults.corrupt import HttpCorrupt
from chaosproxy.http.faults.delay import HttpDelay
from chaosproxy.http.faults.reset import HttpReset
from chaosproxy.http.faults.slow_body import HttpSlowBody
from chaosproxy.http.faults.truncate import HttpTruncate
from chaosproxy.http.stage import MessageFault
from tests.faults.playing import wrong
from tests.http.faults.playing import CHUNKED, GET, OK, POST, UNTIL_CLOSE, Talk, answered, content, ends, parts, told

HEAD, BODY = OK[:-10], OK[-10:]
CHUNKED_HEAD = CHUNKED[: CHUNKED.index(b"4\r\n")]


@pytest.mark.parametrize(
    ("fault", "raw", "passes", "end"),
    [
        (HttpTruncate(size=3), OK, OK[:-7], ["Close"]),
        (HttpTruncate(size=3, then="reset"), OK, OK[:-7], ["Reset"]),
        (HttpTruncate(size=0), OK, HEAD, ["Close"]),
        (HttpTruncate(size=10), OK, OK, []),
        (HttpTruncate(share=0.5), OK, OK[:-5], ["Close"]),
        (HttpTruncate(share=0.0), OK, HEAD, ["Close"]),
        (HttpTruncate(share=1.0), OK, OK, []),
        (HttpTruncate(size=3), CHUNKED, CHUNKED_HEAD + b"4\r\nabc", ["Close"]),
        (HttpTruncate(size=0), CHUNKED, CHUNKED_HEAD + b"4\r\n", ["Close"]),
        (HttpTruncate(size=4), CHUNKED, CHUNKED_HEAD + b"4\r\nabcd\r\n6\r\n", ["Close"]),
        (HttpTruncate(size=10), CHUNKED, CHUNKED, []),
        (HttpTruncate(share=0.5), CHUNKED, CHUNKED_HEAD + b"4\r\nabcd\r\n6\r\ne", ["Close"]),
        (HttpTruncate(share=1.0), CHUNKED, CHUNKED, []),
        (HttpReset(), OK, b"", ["Reset"]),
        (HttpReset(size=0), OK, HEAD, ["Reset"]),
        (HttpReset(size=3), OK, OK[:-7], ["Reset"]),
        (HttpReset(size=10), OK, OK, []),
        (HttpReset(size=3), CHUNKED, CHUNKED_HEAD + b"4\r\nabc", ["Reset"]),
        (HttpReset(size=4), CHUNKED, CHUNKED_HEAD + b"4\r\nabcd\r\n6\r\n", ["Reset"]),
        (HttpReset(size=10), CHUNKED, CHUNKED, []),
    ],
    ids=repr,
)
@pytest.mark.parametrize("cut", [1000, 1, 7])
def test_where_a_body_is_cut(fault: MessageFault, raw: bytes, passes: bytes, end: list[str], cut: int) -> None:
    talk = Talk(fault)
    talk.client(GET)
    steps = [step for start in range(0, len(raw), cut) for step in talk.server(raw[start : start + cut])]
    assert content(steps) == passes
    assert ends(steps) == end
    assert any(part.last for part in parts(steps)) == (not end), "what is cut has no end"


@pytest.mark.parametrize("fault", [HttpTruncate(size=3), HttpTruncate(share=0.5)], ids=repr)
def test_a_body_that_ends_with_the_stream(fault: HttpTruncate) -> None:
    talk = Talk(fault)
    talk.client(GET)
    steps = talk.server(UNTIL_CLOSE)
    steps += talk.show([*talk.responses.end_of_stream(1.0), HalfClose(1.0)], "response")
    size = 3 if fault.size else 5
    assert content(steps) == UNTIL_CLOSE[: len(UNTIL_CLOSE) - 10 + size]
    assert ends(steps) == ["Close"]


def test_what_is_held_goes_on_when_the_fault_changes_to_a_size() -> None:
    talk = Talk(HttpTruncate(share=0.5))
    talk.client(GET)
    steps = talk.server(CHUNKED[:-20])
    assert content(steps) == CHUNKED_HEAD
    steps += talk.show(talk.change(HttpTruncate(size=3)), "response")
    assert content(steps) == CHUNKED_HEAD + b"4\r\nabc" and ends(steps) == ["Close"]


def test_a_request_is_cut_upstream() -> None:
    talk = Talk(HttpTruncate(size=3), on="request")
    steps = talk.client(POST)
    assert content(steps) == POST[:-7] and ends(steps) == ["Close"]


def test_a_slow_body_takes_its_time_and_its_head_none() -> None:
    raw = OK[:-10].replace(b"10", b"40") + bytes(40)
    assert told(answered(HttpSlowBody(rate=800.0), raw, 1.0)) == [
        (1.0, raw[:-40]), (1.02, bytes(16)), (1.04, bytes(16)), (1.05, bytes(8)),
    ]  # fmt: skip


def test_a_very_slow_body_moves_byte_by_byte() -> None:
    steps = answered(HttpSlowBody(rate=10.0), OK, 1.0)
    assert [(step.due, len(content([step]))) for step in steps[1:]] == [
        (pytest.approx(1 + n / 10), 1) for n in range(1, 11)
    ]


@pytest.mark.parametrize("fault", [HttpSlowBody(rate=100.0), HttpDelay(delay=2621.44, on="body")], ids=repr)
def test_the_pieces_of_a_large_read_are_made_one_at_a_time(fault: MessageFault) -> None:
    talk = Talk(fault)
    talk.client(GET)
    raw = OK[:-10].replace(b"10", b"262144") + bytes(2**18)
    parts = talk.responses.frame(raw, 1.0)
    body = max(parts, key=lambda part: len(part.data))
    talk.show([one for one in parts if one is not body], "response")
    assert talk.stage.cuts(body)
    assert talk.stage.quantum == (2 if isinstance(fault, HttpSlowBody) else 1)
    assert len([*talk.stage.on_step(body)]) == 1, "cutting is the work of the chain"


def test_a_changed_rate_goes_on_from_the_change_and_lets_no_burst_pass() -> None:
    talk = Talk(HttpSlowBody(rate=0.1))
    talk.client(GET)
    talk.server(OK[:-6])
    talk.change(HttpSlowBody(rate=10.0), 50.0)
    assert [step.due for step in talk.server(OK[-6:], 5.0)] == pytest.approx([50 + n / 10 for n in range(1, 7)])


def test_the_rate_holds_across_pieces_and_chunks() -> None:
    talk = Talk(HttpSlowBody(rate=10.0))
    talk.client(GET)
    steps = talk.server(CHUNKED, 1.0)
    assert max(step.due for step in steps) == pytest.approx(2.0)
    assert content(steps) == CHUNKED


@pytest.mark.parametrize("unit", ["bit", "byte"])
@pytest.mark.parametrize("raw", [OK, CHUNKED], ids=["sized", "chunked"])
def test_corrupt_changes_each_byte_of_a_body_and_none_of_its_frame(unit: str, raw: bytes) -> None:
    talk = Talk(HttpCorrupt(rate=1.0, unit=unit))
    talk.client(GET)
    before = parts(talk.responses.frame(raw, 0.0))
    after = [one for part in before for one in parts(talk.stage.on_step(part))]
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        if old.kind == "body":
            assert all(a != b for a, b in zip(old.data, new.data, strict=True))
            assert (old.last, old.due) == (new.last, new.due)
        else:
            assert new is old
    assert before[0].exchange.changed_by == ["it"]


@pytest.mark.parametrize(
    ("given", "where", "code"),
    [
        ({"type": "http_truncate"}, "share", "missing"),
        ({"type": "http_truncate", "share": "50%", "size": "1B"}, "share", "invalid-together"),
        ({"type": "http_truncate", "size": "1B", "then": "stall"}, "then", "unknown-value"),
        ({"type": "http_slow_body", "rate": "1kB"}, "rate", "unknown-unit"),
        ({"type": "http_slow_body", "rate": "1kB/s", "on": "body"}, "on", "unknown-value"),
        ({"type": "http_corrupt", "rate": 2}, "rate", "out-of-range"),
        ({"type": "http_reset", "size": 3}, "size", "unit-missing"),
        ({"type": "http_reset", "direction": "upstream"}, "direction", "not-applicable"),
    ],
)
def test_bad_settings(given: dict[str, object], where: str, code: str) -> None:
    assert wrong(given) == [(where, code)]
