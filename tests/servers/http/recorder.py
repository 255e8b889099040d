"""A relay that records: what a real server heard and said, to the byte, connection by connection."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.processes import HOST, wait_until

__all__ = ["Recorder", "alike", "recording"]

QUICK_ACK = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)
"""Servers that write head and body apart, such as gunicorn, wait 40 ms for an acknowledgement that is delayed."""

Heard = tuple[bytes, bytes]
"""What the client sent on one connection, and what the server answered."""


class Recorder:
    """Stands before a server."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = upstream_port
        self._listener = socket.create_server((HOST, 0), backlog=100)
        self._connections: list[_Recorded] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def take(self) -> list[Heard]:
        """What was recorded since the last time, once all connections have ended; see `alike`."""
        wait_until(lambda: all(one.has_ended for one in self._connections), 60.0, "every client has closed")
        taken, self._connections = self._connections, []
        for one in taken:
            one.close()
        return [(alike(bytes(one.sent)), alike(bytes(one.answered))) for one in taken]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10.0)
        for one in self._connections:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            recorded = _Recorded(client, socket.create_connection((HOST, self._upstream)))
            self._connections.append(recorded)  # first, lest it be over before it is known
            recorded.start()


class _Recorded:
    """One connection, with a thread for each direction."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.sent, self.answered = bytearray(), bytearray()
        self._sockets = (client, server)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = ((client, server, self.sent), (server, client, self.answered))
        self._threads = [threading.Thread(target=self._carry, args=way, daemon=True) for way in ways]
        self._has_started = False

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._has_started = True

    @property
    def has_ended(self) -> bool:
        return self._has_started and not any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10.0)
        for one in self._sockets:
            one.close()

    def _carry(self, source: socket.socket, sink: socket.socket, record: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                record += data
                sink.sendall(data)
                source.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def recording(upstream_port: int) -> Iterator[Recorder]:
    recorder = Recorder(upstream_port)
    try:
        yield recorder
    finally:
        recorder.close()


_VARIES = re.compile(rb"(?im)^(date: )[^\r\n]*")
_OWN_PORT = re.compile(rb"127\.0\.0\.1:\d+")


def alike(data: bytes) -> bytes:
    """The same for two runs that differ in the minute they were made and the port they were asked on."""
    return _OWN_PORT.sub(b"127.0.0.1:PORT", _VARIES.sub(rb"\1now", data))
