"""The protocols on the sockets in HTTP mode, which feed their pipes in place of PlainReader and ChainedReader.

A chunk that is exactly one message, and that no fault treats, is counted and written at once. It is
recognised because it equals a cached message, or at a glance. All other chunks go to
`HttpPipe.take_in`. Both `data_received` have their steps inline, since each call would cost 0.1 to
0.2 µs of the 1 to 3 µs that HTTP mode adds to an exchange.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import cast

from chaosproxy.http.context import KEPT_EACH, LONGEST_KEPT, Line
from chaosproxy.http.effects import is_failure
from chaosproxy.http.glance import BEGIN_AND_END, NOT_ONE, REQUEST, RESPONSE, STATUS_CLASSES
from chaosproxy.net.http.pipe import HttpPipe
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.stream.ports import Readers
from chaosproxy.net.stream.readers import DiscardingReader, Reader
from chaosproxy.tallies import EXCHANGE_BOUNDS

__all__ = ["REQUEST_READERS", "RESPONSE_READERS", "HttpReader", "RequestReader", "ResponseReader"]


class HttpReader(Reader):
    """The reader of one direction in HTTP mode."""

    __slots__ = ("_clock", "_conversation", "_context", "_turns")

    out: HttpPipe

    def __init__(self, out: Pipe, back: Pipe) -> None:
        super().__init__(out, back)
        pipe = cast(HttpPipe, out)  # only HttpPipes are made with these readers
        assert pipe.ends is not None
        self._conversation = pipe.conversation
        self._context = pipe.conversation.context
        self._clock = pipe.ends.scheduler.clock
        self._turns = pipe.turns


class RequestReader(HttpReader):
    """The reader of requests, on the client's socket."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        pipe, conversation = self.out, self._conversation
        size = len(data)
        pipe.bytes += size
        turns, now = self._turns, self._clock()
        turns.sent(now, data)
        chain = pipe.chain
        if conversation.is_busy or (chain is not None and (not pipe.bypass or chain.chunks or chain.blocked)):
            pipe.take_in(data)
            return
        latest = self._context.latest_requests.get(size)
        known = latest[1] if latest is not None and latest[0] == data else self._glance(data)
        if known is None:
            pipe.take_in(data)
            return
        conversation.is_busy = True
        conversation.simple = known
        conversation.count += 1
        conversation.began = now
        pipe.sink.write(data)  # type: ignore[union-attr]  # used with a sink only, unless bypass is False

    def _glance(self, data: bytes) -> Line | None:
        """Return the Line of `data` if it is exactly one request that may pass unframed; else None."""
        context = self._context
        if len(data) > context.head_limit:
            return None
        try:
            REQUEST.feed(data)
        except NOT_ONE:
            REQUEST.again(data)
        if REQUEST.due:
            REQUEST.renew()
            return None
        REQUEST.due.extend(BEGIN_AND_END)
        line = data[: data.find(b"\r")]
        known = context.lines.get(line) or context.look_up(line)
        if not known.passes or (context.obeys_callers and b"\nx-chaosproxy-" in data.lower()):
            return None
        if self._conversation.count % KEPT_EACH == 0 and len(data) <= LONGEST_KEPT:
            context.latest_requests[len(data)] = (data, known)
        return known


class ResponseReader(HttpReader):
    """The reader of responses, on the server's socket."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        pipe, conversation = self.out, self._conversation
        size = len(data)
        pipe.bytes += size
        simple, chain = conversation.simple, pipe.chain
        if simple is None or (chain is not None and (not pipe.bypass or chain.chunks or chain.blocked)):
            if chain is not None:
                self._turns.arrive(self._clock())
            pipe.take_in(data)
            return
        latest = self._context.latest_responses.get(size)
        status_class = latest[1] if latest is not None and latest[0] == data else self._glance(data)
        if not status_class:
            pipe.take_in(data)
            return
        conversation.simple = None
        conversation.is_busy = False
        now = self._clock()
        duration = now - conversation.began
        tally = simple.tally
        tally.statuses[status_class] += 1
        at_once = tally.at_once
        at_once.counts[bisect_left(EXCHANGE_BOUNDS, duration)] += 1
        at_once.sum += duration
        self._turns.answer(now)
        if status_class >= 4 and is_failure(status := int(data[9:12])):
            self._turns.answer_failed(now, status)
        pipe.sink.write(data)  # type: ignore[union-attr]  # used with a sink only, unless bypass is False

    def _glance(self, data: bytes) -> int:
        """Return the class of the status if `data` is exactly one response that may pass unframed; else 0."""
        context = self._context
        if len(data) > context.head_limit:
            return 0
        try:
            RESPONSE.feed(data)
        except NOT_ONE:
            RESPONSE.again(data)
        if RESPONSE.due:
            RESPONSE.renew()
            return 0
        RESPONSE.due.extend(BEGIN_AND_END)
        status_class = STATUS_CLASSES[data[: data.find(b"\r")]]
        if status_class and self._conversation.count % KEPT_EACH == 1 and len(data) <= LONGEST_KEPT:
            context.latest_responses[len(data)] = (data, status_class)
        return status_class


REQUEST_READERS: Readers[Pipe] = Readers(RequestReader, RequestReader, DiscardingReader)
RESPONSE_READERS: Readers[Pipe] = Readers(ResponseReader, ResponseReader, DiscardingReader)
