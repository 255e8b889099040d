"""Where messages begin and end: heads, bodies of each kind, limits, and what is kept back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.http.framing import CHUNK_LINE, Framer
from chaosproxy.http.parse import Body, HeadParser, RequestParser, Unframed, Unsized
from tests.http.driving import cut, singly

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


class Log:
    """Writes down what a framer finds."""

    def __init__(self, body: Body | None = None) -> None:
        self.pieces: list[tuple[str, bytes, bool]] = []
        self.messages = 0
        self._body = body

    def make_parser(self) -> HeadParser:
        return RequestParser()

    def head_done(self, parser: HeadParser) -> Body:
        assert isinstance(parser, RequestParser)
        _, body = parser.finish()
        return body if self._body is None else self._body

    def ended(self) -> None:
        self.messages += 1

    def emit(self, kind: str, data: bytes, last: bool) -> None:
        if self.pieces and self.pieces[-1][0] == kind != "head" and not self.pieces[-1][2]:
            data = self.pieces.pop()[1] + data  # how a body is cut says nothing
        self.pieces.append((kind, data, last))


def framed(*data: bytes, limit: int = 64 * 1024, body: Body | None = None) -> Log:
    framer, log = Framer(limit), Log(body)
    for piece in data:
        framer.feed(piece, log, log.emit)
    return log


def refused(data: bytes, limit: int = 64 * 1024) -> tuple[str, bytes]:
    """Why, and what was not handed on; the same however it is cut."""
    framer, log = Framer(limit), Log()
    with pytest.raises(Unframed) as caught:
        framer.feed(data, log, log.emit)
    passed = b"".join(piece for _, piece, _ in log.pieces)
    assert passed + framer.rest == data
    assert framer.kept == b""
    assert not framer.is_between
    with pytest.raises(Unframed):
        framed(*singly(data), limit=limit)
    return str(caught.value), framer.rest


def test_a_head_without_body_is_a_message() -> None:
    assert framed(GET).pieces == [("head", GET, True)]


def test_a_head_is_handed_on_when_it_is_whole() -> None:
    framer, log = Framer(1000), Log()
    framer.feed(GET[:10], log, log.emit)
    assert (log.pieces, framer.kept, framer.is_between) == ([], GET[:10], False)
    framer.feed(GET[10:], log, log.emit)
    assert (log.pieces, framer.kept, framer.is_between) == ([("head", GET, True)], b"", True)


def test_the_beginning_of_a_head_that_was_let_go_is_not_handed_on_again() -> None:
    framer, log = Framer(1000), Log()
    framer.feed(GET[:10], log, log.emit)
    assert framer.let_go() == GET[:10]
    assert framer.let_go() == b""
    framer.feed(GET[10:12], log, log.emit)
    assert framer.kept == GET[10:12]
    framer.feed(GET[12:], log, log.emit)
    assert log.pieces == [("head", GET[10:], True)]
    assert framer.passed == 0


def test_whoever_is_given_a_head_can_see_that_it_is_half() -> None:
    framer, log = Framer(1000), Log()
    seen: list[int] = []
    framer.feed(GET[:10], log)
    framer.let_go()
    framer.feed(GET[10:] + GET, log, lambda kind, data, last: seen.append(framer.passed))
    assert seen == [10, 0]


def test_what_is_kept_of_a_head_that_cannot_be_framed_is_in_the_rest_alone() -> None:
    framer, log = Framer(1000), Log()
    framer.feed(b"GET / HT", log, log.emit)
    with pytest.raises(Unframed):
        framer.feed(b"\x00\x01", log, log.emit)
    assert (framer.rest, framer.let_go()) == (b"GET / HT\x00\x01", b"")


def test_a_sized_body_ends_with_its_last_byte() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"
    assert framed(head + b"abc" + GET).pieces == [("head", head, False), ("body", b"abc", True), ("head", GET, True)]


def test_what_is_inside_a_sized_body_can_be_skipped() -> None:
    framer, log = Framer(1000), Log()
    framer.feed(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", log)
    assert framer.skip(4)
    assert not framer.skip(1), "its last byte ends the message"
    framer.feed(b"e", log)
    assert (log.messages, framer.is_between) == (1, True)


def test_a_chunked_body_is_payload_and_what_frames_it() -> None:
    assert framed(CHUNKED + b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n" + GET).pieces == [
        ("head", CHUNKED, False),
        ("frame", b"3;a=b\r\n", False),
        ("body", b"abc", False),
        ("frame", b"\r\n0\r\nX: y\r\n\r\n", True),
        ("head", GET, True),
    ]


def test_a_body_until_close_ends_with_the_stream() -> None:
    framer, log = Framer(1000), Log(Unsized.UNTIL_CLOSE)
    framer.feed(GET + b"abc" + GET, log, log.emit)
    assert (log.messages, framer.is_between) == (0, False)
    framer.end_of_stream(log, log.emit)
    assert log.pieces == [("head", GET, False), ("body", b"abc" + GET, True)]
    assert (log.messages, framer.is_between) == (1, True)


def test_behind_a_tunnel_nothing_is_framed() -> None:
    framer, log = Framer(1000), Log(Unsized.TUNNEL)
    with pytest.raises(Unframed, match="before the response"):
        framer.feed(GET + b"\x00", log, log.emit)
    assert (log.pieces, framer.rest) == ([("head", GET, True)], b"\x00")


def test_behind_an_upgrade_all_waits_for_the_decision() -> None:
    framer, log = Framer(1000), Log()
    framer.wait()
    framer.feed(GET, log)
    assert not framer.is_between
    framer.decide()
    assert framer.is_between
    framer.feed(GET, log)
    assert log.messages == 2


@pytest.mark.parametrize("blank", [b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\r\n" * 100])
def test_empty_lines_ahead_are_a_part_of_the_head(blank: bytes) -> None:
    assert framed(blank + GET + blank + GET).pieces == [("head", blank + GET, True)] * 2
    assert framed(*singly(blank + GET)).pieces == [("head", blank + GET, True)]


def test_a_head_of_the_limit_is_framed_and_one_byte_more_is_not() -> None:
    head = b"GET / HTTP/1.1\r\nX: " + b"a" * 100 + b"\r\n\r\n"
    assert framed(head, limit=len(head)).messages == 1
    assert framed(*singly(head), limit=len(head)).messages == 1
    assert refused(head, limit=len(head) - 1) == (f"a head longer than {len(head) - 1} bytes", head)


def test_a_head_that_does_not_end_is_refused_once_it_is_too_long() -> None:
    reason, rest = refused(b"GET / HTTP/1.1\r\nX: " + b"a" * 200, limit=100)
    assert reason == "a head longer than 100 bytes"
    assert refused(b"\r\n" * 60, limit=100)[0] == reason


def test_a_chunk_line_of_the_limit_is_framed_and_one_byte_more_is_not() -> None:
    line = b"1;" + b"a" * (CHUNK_LINE - 4) + b"\r\n"
    assert framed(CHUNKED + line + b"a\r\n0\r\n\r\n").messages == 1
    assert framed(CHUNKED, *singly(line + b"a\r\n0\r\n\r\n")).messages == 1
    assert "too long" in refused(CHUNKED + b"1;a" + line[2:] + b"a\r\n0\r\n\r\n")[0]


def test_trailers_may_be_as_long_as_a_head() -> None:
    trailers = b"X: aaaa\r\n" * 10 + b"\r\n"
    assert framed(CHUNKED + b"0\r\n" + trailers, limit=len(trailers)).messages == 1
    assert "too long" in refused(CHUNKED + b"0\r\n" + trailers, limit=len(trailers) - 1)[0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"x\r\n", "size"), (b"3 \r\nabc\r\n", "size"), (b"3\nabc\r\n", "size"), (b"0" * 16 + b"\r\n", "size"),
        (b"3;\r\nabc\r\n", "size"), (b"3\r\nabcd\r\n", "line"), (b"3\r\nabc\n0\r\n\r\n", "longer"),
        (b"0\r\nContent-Length: 3\r\n\r\n", "trailer"), (b"0\r\ntransfer-encoding: x\r\n\r\n", "trailer"),
        (b"0\r\n X: a\r\n\r\n", "trailer"), (b"0\r\nX: a\n\r\n", "trailer"), (b"0\r\n\n", "trailer"),
    ],
)  # fmt: skip
def test_what_frames_a_chunked_body_is_read_to_the_letter(body: bytes, reason: str) -> None:
    assert reason in refused(CHUNKED + body)[0]


def test_a_first_line_is_judged_before_the_head_is_whole() -> None:
    """HTTP/0.9 sends no more than this, and waits."""
    assert refused(b"\x01")[1] == b"\x01"
    with pytest.raises(Unframed):
        framed(b"GET /", b" HTTP/2.0\r\n")
    with pytest.raises(Unframed):
        framed(b"GET /", b"\r\n")


MESSAGES = (
    GET
    + b"\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n\r\n\r\nx"
    + CHUNKED
    + b"5\r\n0\r\n\r\n\r\na;x\r\n0123456789\r\n0\r\nX: a\r\n\r\n"
    + GET
)


@given(st.lists(st.integers(0, len(MESSAGES))))
def test_how_bytes_are_cut_changes_nothing(places: list[int]) -> None:
    assert framed(*cut(MESSAGES, places)).pieces == framed(MESSAGES).pieces
