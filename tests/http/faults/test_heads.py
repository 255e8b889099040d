"""Faults that change heads: http_headers and http_clock_skew."""

from __future__ import annotations

import pytest

from chaosproxy.http.faults.clock_skew import HttpClockSkew, Jump
from chaosproxy.http.faults.headers import HttpHeaders
from chaosproxy.http.rewrite import FRAMING_FIELDS
from tests.faults.playing import wrong
from tests.http.faults.playing import GET, Talk, answered, content

HEAD = (
    b"HTTP/1.1 200  Fine \r\nx-a:1\r\nX-B:  two \r\nX-A: 3\r\nSet-Cookie: a=b; Expires=Tue, 15 Nov 1994 08:12:31 GMT; "
    b"Path=/\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nExpires: 0\r\nRetry-After: 120\r\nAge: 60\r\n"
    b"Last-Modified: Tuesday, 15-Nov-94 08:12:31 GMT\r\nContent-Length: 0\r\n\r\n"
)


def changed(fault: HttpHeaders | HttpClockSkew, now: float = 0.0) -> bytes:
    return content(answered(fault, HEAD, now))


def test_a_field_that_is_set_takes_the_first_place_in_its_spelling() -> None:
    after = changed(HttpHeaders(set={"X-A": "new", "X-C": "last"}))
    expected = HEAD.replace(b"x-a:1\r\n", b"x-a: new\r\n").replace(b"X-A: 3\r\n", b"")
    assert after == expected[:-2] + b"X-C: last\r\n\r\n"


def test_fields_are_removed_wherever_they_stand_and_added_at_the_end() -> None:
    after = changed(HttpHeaders(remove=("X-a", "none"), add={"X-B": "3"}))
    assert after == HEAD.replace(b"x-a:1\r\n", b"").replace(b"X-A: 3\r\n", b"")[:-2] + b"X-B: 3\r\n\r\n"


def test_a_request_is_changed_upstream_and_nobody_is_told() -> None:
    talk = Talk(HttpHeaders(remove=("host",), on="request"))
    [head] = talk.client(b"\r\n" + GET)
    assert content([head]) == b"\r\nGET /a HTTP/1.1\r\n\r\n"
    assert talk.conversation.waiting[0].changed_by == []


@pytest.mark.parametrize("name", FRAMING_FIELDS)
@pytest.mark.parametrize("how", ["set", "add", "remove"])
def test_what_frames_a_message_is_not_touched(name: str, how: str) -> None:
    fields: object = [name.title()] if how == "remove" else {name.title(): "1"}
    where = "remove.0" if how == "remove" else f"{how}.{name.title()}"
    assert wrong({"type": "http_headers", how: fields}) == [(where, "not-applicable")]


@pytest.mark.parametrize(
    ("given", "where", "code"),
    [
        ({}, "set", "missing"),
        ({"remove": ["a b"]}, "remove.0", "malformed"),
        ({"set": {"A": "x\r\ny: z"}}, "set.A", "malformed"),
        ({"add": {"A": "\u20ac"}}, "add.A", "malformed"),
    ],
)
def test_bad_fields(given: dict[str, object], where: str, code: str) -> None:
    assert wrong({"type": "http_headers", **given}) == [(where, code)]


def test_every_date_is_shifted_and_nothing_else() -> None:
    after = changed(HttpClockSkew(offset=-3600.0 * 24))
    moved = b"Mon, 14 Nov 1994 08:12:31 GMT"
    expected = HEAD.replace(b"Tue, 15 Nov 1994 08:12:31 GMT", moved)
    expected = expected.replace(b"Tuesday, 15-Nov-94 08:12:31 GMT", moved).replace(b"Age: 60", b"Age: 0")
    assert after == expected


@pytest.mark.parametrize(
    ("fault", "now", "ahead"),
    [
        (HttpClockSkew(offset=5.0), 10.0, 5),
        (HttpClockSkew(drift=500_000.0), 10.0, 5),
        (HttpClockSkew(drift=-500_000.0), 10.0, -5),
        (HttpClockSkew(jump=Jump(at=10.0, by=7.0)), 9.9, 0),
        (HttpClockSkew(jump=Jump(at=10.0, by=7.0)), 10.0, 7),
        (HttpClockSkew(offset=1.0, drift=100_000.0, jump=Jump(at=1.0, by=-4.0)), 10.0, -2),
        (HttpClockSkew(offset=1e12), 0.0, 0),
    ],
    ids=repr,
)
def test_how_far_the_clock_is_ahead(fault: HttpClockSkew, now: float, ahead: int) -> None:
    found = content(answered(fault, b"HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\n", now))
    assert found.count(b" 08:12:%02d GMT" % (31 + ahead)) == 1


@pytest.mark.parametrize("date", ["soon", "", "Tue, 99 Nov 1994 08:12:31 GMT", "1", "\xff"])
def test_what_is_no_date_stays(date: str) -> None:
    raw = b"HTTP/1.1 200 OK\r\nDate: %s\r\nAge: -1\r\n\r\n" % date.encode("latin-1")
    assert content(answered(HttpClockSkew(offset=5.0), raw)) == raw


def test_a_clock_that_is_right_is_no_fault() -> None:
    assert wrong({"type": "http_clock_skew"}) == [("offset", "missing")]
