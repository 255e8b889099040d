"""Find the exact beginnings and ends of messages in a stream of bytes; the bytes are never changed.

A Framer frames one direction of a connection. It is fed the bytes that arrive, and emits
pieces that add up to those bytes: a head once it is complete, the payload of a body, and the
framing of that payload (lines of chunks, trailers). It calls a MessageHandler (`Requests`,
`Responses`) for each head and at the end of each message. The handler reads the head, with the
parsers of `parse`, and so determines how the body is framed. One method per state takes a step;
it returns the place in the chunk behind the bytes it has consumed.

Invariants:
- The framer finds every boundary itself, and the parser is given only heads. Framer and parser
  must agree that a head ends at its empty line; otherwise the head is refused.
- A framer keeps nothing back except the beginning of a head.

Limits (RFC 9112 leaves them to implementations): `head_limit` bytes for a head and for
trailers, CHUNK_LINE for the line of a chunk. Bytes beyond a limit, or that cannot be framed,
raise Unframed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Literal, Protocol, TypeAlias

from chaosproxy.http.parse import Body, HeadParser, Unframed, Unsized

__all__ = ["CHUNK_LINE", "Emit", "Framer", "HasTime", "MessageHandler", "PieceKind"]

CHUNK_LINE = 4096
"""The maximum length of the line before a chunk, in bytes: no known program uses extensions (RFC 9112 §7.1.1)."""

_STRIDE = 16
"""Steps between two questions whether there is time for more: a head takes 20 µs, the line of a chunk 0.3 µs."""

PieceKind = Literal["head", "body", "frame"]
"""`frame` is the framing of a chunked body: lines of chunks, and trailers."""

_BLANK = re.compile(rb"[\r\n]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]+)?\r\n")
_LAST = re.compile(
    rb"\r\n|(?!(?:content-length|transfer-encoding):)[!#$%&'*+.^_`|~0-9a-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n",
    re.IGNORECASE,
)
"""A line of trailers, or the empty line after them. A field that frames messages is refused (RFC 9110 §6.5.1)."""


Emit: TypeAlias = Callable[[PieceKind, bytes, bool], None] | None
"""Called with each piece, and True if the message ends with it. None if the messages are only counted."""

HasTime: TypeAlias = Callable[[], bool]
"""Returns whether there is time for more steps in this turn of the event loop."""


class MessageHandler(Protocol):
    """The receiver of the messages that a framer finds."""

    def make_parser(self) -> HeadParser:
        """Return a parser for the next head."""

    def head_done(self, parser: HeadParser) -> Body:
        """Read a complete head; return how its body is framed.

        :raises Unframed: the head is ambiguous.
        """

    def ended(self) -> None:
        """Note the end of the message with the latest head; its last piece has been emitted."""


class _State(Enum):
    HEAD = auto()
    SIZED = auto()
    CHUNK = auto()
    """In the line before a chunk, with its size."""
    CHUNK_DATA = auto()
    CHUNK_END = auto()
    """In the line end after a chunk's data."""
    TRAILERS = auto()
    UNTIL_CLOSE = auto()
    UNDECIDED = auto()
    """Behind a request for an upgrade: the response determines whether messages follow."""


class Framer:
    """The framing of one direction of a connection."""

    __slots__ = (
        "_after", "_head", "_is_blank", "_left", "_line", "_parser", "_state", "is_between", "limit", "passed",
        "rest",
    )  # fmt: skip

    def __init__(self, head_limit: int) -> None:
        self.limit = head_limit
        """The maximum length of a head, and of trailers, in bytes."""
        self.is_between = True
        """True if no message is under way: the next byte is the first of one."""
        self._state = self._after = _State.HEAD
        self._head = bytearray()
        """The beginning of a head that is not yet complete."""
        self._is_blank = True
        """True if that beginning has only empty lines, which are ignored (RFC 9112 §2.2)."""
        self._parser: HeadParser | None = None
        self._line = bytearray()
        """The beginning of a line of a chunked body."""
        self._left = 0
        """Remaining bytes of a sized body or of a chunk, or the remaining limit of the trailers."""
        self.passed = 0
        """Bytes of the incomplete head that `let_go` has returned, and that are no longer kept back."""
        self.rest = b""
        """After Unframed: the bytes that were fed and neither emitted nor returned by `let_go`."""

    @property
    def kept(self) -> bytes:
        """Return the bytes kept back: the beginning of a head, without the bytes that `let_go` has returned."""
        return bytes(self._head[self.passed :])

    def let_go(self) -> bytes:
        """Return the bytes kept back, to be forwarded at once; faults can no longer treat this head."""
        data = self.kept
        self.passed = len(self._head)
        return data

    def skip(self, size: int) -> bool:
        """Consume `size` bytes if they lie inside a sized body and do not end it; return True if so."""
        if self._state is _State.SIZED and size < self._left:
            self._left -= size
            return True
        return False

    def wait(self) -> None:
        """Refuse to frame bytes behind the current message, which requests an upgrade, until `decide` is called."""
        self._after = _State.UNDECIDED

    def decide(self) -> None:
        """Continue to frame messages, since the upgrade was refused."""
        self._after = _State.HEAD
        if self._state is _State.UNDECIDED:
            self._state, self.is_between = _State.HEAD, True

    def end_of_stream(self, messages: MessageHandler, emit: Emit = None) -> None:
        """End a body that lasts until the end of the stream; its last piece is empty."""
        if self._state is _State.UNTIL_CLOSE:
            if emit is not None:
                emit("body", b"", True)
            self._end(messages)
            self.is_between = self._after is _State.HEAD

    def feed(
        self, data: bytes, messages: MessageHandler, emit: Emit = None, has_time: HasTime | None = None
    ) -> int:
        """Frame bytes that arrived; call `messages` for each head and end, and `emit` for each piece.

        Return the number of bytes framed: all of them, unless `has_time` returns False. It is asked after _STRIDE
        steps, so that a few ordinary messages cause no call.

        :raises Unframed: the bytes cannot be framed; `rest` has those that remain.
        """
        place, size, steps = 0, len(data), 0
        try:
            while place < size:
                place = _STEPS[self._state](self, data, place, messages, emit)
                steps += 1
                if steps == _STRIDE and has_time is not None:
                    if not has_time():
                        break
                    steps = 0
        except Unframed:
            self.rest = self.let_go() + data[place:]
            self.is_between = False
            raise
        self.is_between = self._state is _State.HEAD and not self._head
        return place

    def _read_head(self, data: bytes, place: int, messages: MessageHandler, emit: Emit) -> int:
        head = self._head
        parser = self._parser = self._parser or messages.make_parser()
        known, end = len(head), self._end_of_head(data, place)
        new = data[place:] if end < 0 else data[place:end]
        parser.feed(new)
        if known + len(new) > self.limit:
            raise Unframed(f"a head longer than {self.limit} bytes")
        if end < 0:
            head += new
            return len(data)
        body = messages.head_done(parser)
        whole = bytes(head) + new if known else new
        head.clear()
        self._is_blank, self._parser = True, None
        has_none = self._begin_body(body)
        if emit is not None:
            emit("head", whole[self.passed :], has_none)
        self.passed = 0
        if has_none:
            self._end(messages)
        return end

    def _end_of_head(self, data: bytes, place: int) -> int:
        """Return the place in `data` behind the current head; -1 if the head does not end in it."""
        if self._is_blank:
            place = _BLANK.match(data, place).end()  # type: ignore[union-attr]  # it matches anything
            self._is_blank = place == len(data)
            return -1 if self._is_blank else _empty_line(data, place)
        border = bytes(self._head[-3:])  # the empty line may be split between the two
        end = _empty_line(border + data[place : place + 3], 0)
        return place + end - len(border) if end > len(border) else _empty_line(data, place)

    def _end(self, messages: MessageHandler) -> None:
        self._state = self._after
        messages.ended()

    def _begin_body(self, body: Body) -> bool:
        """Set the state that reads this body; return True if the body is empty."""
        if body is Unsized.CHUNKED:
            self._state = _State.CHUNK
        elif body is Unsized.UNTIL_CLOSE:
            self._state = _State.UNTIL_CLOSE
        elif body is Unsized.TUNNEL:
            self._after = _State.UNDECIDED
            return True
        elif body:
            self._state, self._left = _State.SIZED, body
        else:
            return True
        return False

    def _read_sized(self, data: bytes, place: int, messages: MessageHandler, emit: Emit) -> int:
        end = min(len(data), place + self._left)
        self._left -= end - place
        if emit is not None:
            emit("body", data[place:end], not self._left)
        if not self._left:
            self._end(messages)
        return end

    def _read_chunk_line(self, data: bytes, place: int, messages: MessageHandler, emit: Emit) -> int:
        line, end = self._take_line(data, place, CHUNK_LINE)
        if line is not None:
            match = _CHUNK.fullmatch(line)
            if match is None:
                raise Unframed("a chunk's size that cannot be read")
            self._left = int(match[1], 16)
            self._state = _State.CHUNK_DATA
            if not self._left:
                self._state, self._left = _State.TRAILERS, self.limit
        if emit is not None:
            emit("frame", data[place:end], False)
        return end

    def _read_chunk_data(self, data: bytes, place: int, messages: MessageHandler, emit: Emit) -> int:
        end = min(len(data), place + self._left)
        self._left -= end - place
        if not self._left:
            self._state = _State.CHUNK_END
        if emit is not None:
            emit("body", data[place:end], False)
        return end

    def _read_chunk_end(self, data: bytes, place: int, messages: MessageHandler, emit: Emit) -> int:
        line, end = self._take_line(data, place, 2)
        if line is not None:
            if line != b"\r\n":
                raise Unframed("a chunk longer than its size")
            self._state = _State.CHUNK
        if emit is not None:
            emit("frame", data[place:end], False)
        return end

    def _read_trailers(self, data: bytes, place: int, messages: MessageHandler, emit: Emit) -> int:
        line, end = self._take_line(data, place, self._left)
        ended = False
        if line is not None:
            if not _LAST.fullmatch(line):
                raise Unframed("a trailer that cannot be read")
            self._left -= len(line)
            if line == b"\r\n":
                ended = True
        if emit is not None:
            emit("frame", data[place:end], ended)
        if ended:
            self._end(messages)
        return end

    def _read_until_close(self, data: bytes, place: int, messages: MessageHandler, emit: Emit) -> int:
        if emit is not None:
            emit("body", data[place:] if place else data, False)
        return len(data)

    def _read_undecided(self, data: bytes, place: int, messages: MessageHandler, emit: Emit) -> int:
        raise Unframed("bytes sent before the response to an upgrade")

    def _take_line(self, data: bytes, place: int, limit: int) -> tuple[bytes | None, int]:
        """Return a line with its line end, or None if it is not complete; and the place behind it."""
        begun = self._line
        left = limit - len(begun)
        end = data.find(b"\n", place, place + left) + 1
        if not end:
            if len(data) - place >= left:
                raise Unframed("a line of a chunked body that is too long")
            begun += data[place:]
            return None, len(data)
        line = bytes(begun) + data[place:end] if begun else data[place:end]
        begun.clear()
        return line, end


_STEPS: dict[_State, Callable[[Framer, bytes, int, MessageHandler, Emit], int]] = {
    _State.HEAD: Framer._read_head,
    _State.SIZED: Framer._read_sized,
    _State.CHUNK: Framer._read_chunk_line,
    _State.CHUNK_DATA: Framer._read_chunk_data,
    _State.CHUNK_END: Framer._read_chunk_end,
    _State.TRAILERS: Framer._read_trailers,
    _State.UNTIL_CLOSE: Framer._read_until_close,
    _State.UNDECIDED: Framer._read_undecided,
}


def _empty_line(data: bytes, place: int) -> int:
    """Return the place behind the first empty line at or after `place`; -1 if there is none.

    A bare LF counts as a line end: the parser refuses it, and so must be given it.
    """
    proper = data.find(b"\n\r\n", place)
    bare = data.find(b"\n\n", place, proper + 1 if proper >= 0 else len(data))
    if bare >= 0:
        return bare + 2
    return proper + 3 if proper >= 0 else -1
