"""One connection to the control server: aiohttp's protocol, with the limits that it lacks.

aiohttp limits only the time between two requests, and reports a malformed request with a traceback that shows the
bytes of its head. This protocol counts and limits a connection by what it waits for:

    the head of a request      head_timeout, from the accept or from its first byte
    the body of a request      body_timeout, from the end of its head
    the next request           idle_timeout, from the end of a response
    the reading of a response  send_timeout, for each 16 KiB
    its own handler            no limit: a response under way may be an endless stream

At the limit the connection is aborted, since a client that does not read would never let it end otherwise. A request
that is not HTTP receives a problem document, and is logged without any of its bytes: a token may be among them.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError, RawRequestMessage
from aiohttp.http_exceptions import BadStatusLine, InvalidHeader, LineTooLong, TransferEncodingError

from chaosproxy.control.web.admission import Admission, ControlTally, Limit
from chaosproxy.control.web.complaints import Complaints
from chaosproxy.control.web.problem import http_problem, problem_response
from chaosproxy.model import ControlLimits
from chaosproxy.units import format_duration

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["ControlConnection", "ControlPort"]

_LEAST_READ = 16 * 1024
"""The bytes that a client must read in each `send_timeout`."""
_NEVER = 1e6
"""Seconds: aiohttp's own timer for idle connections is not used."""

_MALFORMED: dict[type[Exception], str] = {
    LineTooLong: "a line of the head is too long; use shorter ones",
    BadStatusLine: "the first line is not one of HTTP/1; send METHOD PATH HTTP/1.1 without TLS",
    InvalidHeader: "a header field is malformed; send NAME: VALUE",
    TransferEncodingError: "the body is not chunked as the head says; send well-formed chunks",
}
_MALFORMED_HEAD = "its head is malformed, or contradicts its body; send HTTP/1.1 with one Host"
_CLOSINGS: dict[Limit, str] = {
    "connections": "it has been idle longest, and there are {} connections",
    "connections_per_address": "it has been idle longest, and there are {} connections from this address",
    "head_timeout": "the head of its request took longer than {}",
    "body_timeout": "the body of its request took longer than {}",
    "send_timeout": "in {} it read less than 16 KiB of its response",
    "idle_timeout": "it has been idle for {}",
}

logger = logging.getLogger(__name__)


class ControlPort:
    """The parts that all connections of one control server share; makes the protocol of each."""

    def __init__(self, server: web.Server, limits: ControlLimits, tally: ControlTally) -> None:
        self.server = server
        self.limits = limits
        self.tally = tally
        self.loop = asyncio.get_running_loop()
        self.admission = Admission(limits, tally)
        self.complaints = Complaints(self.loop.call_later)
        make_request = server.request_factory

        def begin(
            message: RawRequestMessage,
            payload: StreamReader,
            protocol: web.RequestHandler,
            writer: AbstractStreamWriter,
            task: asyncio.Task[None],
        ) -> web.BaseRequest:
            cast(ControlConnection, protocol).begin_request(payload)
            return make_request(message, payload, protocol, writer, task)

        server.request_factory = begin

    def __call__(self) -> ControlConnection:
        """Return the protocol of a new connection."""
        return ControlConnection(self)

    def close(self) -> None:
        """Abort the connections that are still open."""
        for client in self.admission.clients():
            cast(ControlConnection, client).abort()
        self.complaints.close()

    def limit(self, limit: Limit, address: str, *, refused: bool = False) -> None:
        """Count a connection that a limit ends, and log it."""
        self.tally.limited[limit] += 1
        if limit == "idle_timeout":  # the usual end of a connection that is kept alive
            return
        value = getattr(self.limits, limit)
        if refused:
            where = " from this address" if limit == "connections_per_address" else ""
            reason = f"a connection was refused: all {value} connections{where} have a request under way"
        else:
            given = value if isinstance(value, int) else format_duration(value)
            reason = f"a connection was closed: {_CLOSINGS[limit].format(given)}"
        self.complaints.log(limit, f"control port: {reason} (control.limits.{limit})", client=address)

    def complain(self, address: str, reason: str) -> None:
        """Count a malformed request, and log it. `reason` has no byte of the request."""
        self.tally.malformed += 1
        self.complaints.log(
            "malformed request", f"control port: a malformed request was refused: {reason}", client=address
        )


class ControlConnection(web.RequestHandler):
    """One connection of a client, until `connection_lost`."""

    __slots__ = (
        "_address", "_body", "_has_head_begun", "_is_admitted", "_is_responding", "_port", "_receiving", "_sending",
        "_socket", "_unread", "on_lost",
    )  # fmt: skip

    def __init__(self, port: ControlPort) -> None:
        super().__init__(
            port.server,
            loop=port.loop,
            keepalive_timeout=_NEVER,
            lingering_time=port.limits.body_timeout,
            logger=logger,
            access_log=cast(logging.Logger, None),  # aiohttp takes None for no access log
            auto_decompress=False,  # control.web.content decompresses within the limit of a body
        )
        self._port = port
        self._address = ""
        self._is_admitted = False
        self._socket: asyncio.Transport | None = None
        """The transport while the connection is open."""
        self._body: StreamReader | None = None
        """The body of the latest request."""
        self._is_responding = False
        self._has_head_begun = False
        """True if bytes of the next request have arrived."""
        self._receiving: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._unread = 0
        self.on_lost: Callable[[], None] | None = None
        """Called when the connection has ended; for a handler that waits without writing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else ""
        if limit := self._port.admission.admit(self, self._address):
            self._port.limit(limit, self._address, refused=True)
            cast(asyncio.Transport, transport).abort()
            return
        self._is_admitted = True
        self._socket = cast(asyncio.Transport, transport)
        # Without a buffer below the limit, a response has ended only when the kernel has all of it.
        self._socket.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        assert self._task_handler is not None
        self._task_handler.add_done_callback(self._forget_body)
        self._expect("head_timeout")

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._is_admitted:
            self._leave()
            super().connection_lost(exc)
            if self.on_lost is not None:
                self.on_lost()

    def data_received(self, data: bytes) -> None:
        if self._socket is None:
            return
        if data and not self._has_head_begun and self._body is not None and self._body.is_eof():
            self._has_head_begun = True
            if not self._is_responding:
                self._expect("head_timeout")
        try:
            super().data_received(data)
        except Exception as error:  # a defect of the parser must not end in the loop's exception handler
            self._port.complain(self._address, f"it could not be parsed ({type(error).__name__})")
            self.abort()
            return
        if self._body is not None and self._messages and not self._body.is_eof() and not self._body.exception():
            # No message can follow an incomplete body: this is the parser's error, unknown to who reads the body.
            self._body.set_exception(web.RequestPayloadError("malformed chunk"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_sending()

    def begin_request(self, body: StreamReader) -> None:
        """Note that the head of a request is complete."""
        self._port.admission.begin_request(self)
        self._is_responding = True
        self._has_head_begun = False
        self._body = body
        self._stop_receiving()
        if not body.is_eof():
            self._expect("body_timeout")
            body.on_eof(self._end_body)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):  # raised before the middlewares run
            resp = http_problem(request, resp)
        done = await super().finish_response(request, resp, start_time)
        self._is_responding = False
        if self._body is None or self._body.is_eof():
            self._end_request()
        return done

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the response to a request that did not reach the application, or that failed outside of it."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response was sent already")
        if isinstance(exc, HttpProcessingError):
            exc.__traceback__ = None  # its frame refers to it: a cycle for each malformed request
            reason = next((text for kind, text in _MALFORMED.items() if isinstance(exc, kind)), _MALFORMED_HEAD)
            self._port.complain(self._address, reason)
            response = problem_response(400, "Bad request", "bad-request", f"the request is malformed: {reason}")
        else:
            logger.error("a defect: a request failed outside of its handler", exc_info=exc)
            detail = "the request failed because of a defect in chaosproxy; the log has the traceback"
            response = problem_response(500, "Internal error", "internal-error", detail)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:  # Any: as in aiohttp
        """Log an exception that ended the connection, unless the client caused it."""
        error = kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            self._port.complain(self._address, "its body is malformed")
        elif not isinstance(error, ConnectionError):
            logger.error("a defect: a connection to the control port failed", exc_info=error or True)

    def end(self, limit: Limit) -> None:
        """End the connection, since this limit is exceeded."""
        self._port.limit(limit, self._address)
        self.abort()

    def abort(self) -> None:
        """Close the socket without waiting for the client."""
        socket = self._socket
        self._leave()
        if socket is not None:
            socket.abort()

    def _end_body(self) -> None:
        self._stop_receiving()
        if not self._is_responding:  # the response was sent before, and the rest of the body was discarded
            self._end_request()

    def _end_request(self) -> None:
        if self._socket is not None:
            self._port.admission.end_request(self)
            self._expect("head_timeout" if self._has_head_begun else "idle_timeout")

    def _expect(self, limit: Limit) -> None:
        """Limit the time for the next data from the client."""
        self._stop_receiving()
        self._receiving = self._port.loop.call_later(getattr(self._port.limits, limit), self.end, limit)

    def _stop_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _watch_sending(self) -> None:
        """Check from time to time that the client reads."""
        self._stop_sending()
        if self._socket is not None:
            self._unread = _unread_bytes(self._socket)
            self._sending = self._port.loop.call_later(self._port.limits.send_timeout, self._check_sending)

    def _check_sending(self) -> None:
        self._sending = None
        if self._socket is not None and self._socket.get_write_buffer_size():
            if _unread_bytes(self._socket) > self._unread - _LEAST_READ:
                self.end("send_timeout")
            else:
                self._watch_sending()

    def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _forget_body(self, _task: object) -> None:
        """Cut the cycles between this protocol, the latest body and its exception: nothing handles it any longer.

        A hundred thousand clients that leave would else make so much cyclic garbage that its collection takes 0.3 s.
        """
        body, self._body = self._body, None
        if body is not None and (error := body.exception()) is not None:
            error.__traceback__ = None

    def _leave(self) -> None:
        self._socket = None
        self._stop_receiving()
        self._stop_sending()
        self._port.admission.leave(self)


def _unread_bytes(socket: asyncio.Transport) -> int:
    """Return the bytes in the transport's buffer and in the kernel's, which refills in steps of up to a megabyte."""
    buffered = socket.get_write_buffer_size()
    if fcntl is None or (file := socket.get_extra_info("socket")) is None:
        return buffered
    (queued,) = struct.unpack("i", fcntl.ioctl(file.fileno(), termios.TIOCOUTQ, bytes(4)))
    return buffered + int(queued)
