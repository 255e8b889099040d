"""TLS clients and servers with Python's own `ssl`, for which a test chooses every ending."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from chaosproxy.certs import make_certs
from chaosproxy.net.proxy import Proxy
from tests.net.harness import Stage

NAMES = ("localhost", "api.test", "client.test")


class Certs:
    """A directory of certificates as `chaosproxy certs` creates it."""

    def __init__(self, directory: Path, names: Sequence[str] = NAMES) -> None:
        self.directory = directory
        make_certs(directory, names, 30)

    def __call__(self, file: str) -> str:
        return str(self.directory / file)

    def listen(self, name: str = "api.test", **more: object) -> dict[str, object]:
        return {"cert": self(f"{name}.pem"), "key": self(f"{name}.key"), **more}

    def upstream(self, name: str | None = "api.test", **more: object) -> dict[str, object]:
        return {"ca": self("ca.pem"), **({} if name is None else {"server_name": name}), **more}

    def server_context(self, name: str = "api.test", alpn: Sequence[str] = ()) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self(f"{name}.pem"), self(f"{name}.key"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def client_context(self, alpn: Sequence[str] = (), cert: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self("ca.pem"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if cert is not None:
            context.load_cert_chain(self(f"{cert}.pem"), self(f"{cert}.key"))
        return context


class Peer:
    """One end of a TLS connection, on a connected socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str | None = None) -> None:
        self.sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, name is None, name)
        self._loop = asyncio.get_running_loop()

    async def handshake(self) -> Peer:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                await self._more()
            except ssl.SSLError:
                await self.flush()
                raise
            else:
                await self.flush()
                return self

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), 2**18):
            self.tls.write(data[at : at + 2**18])
            await self.flush()

    async def receive(self, size: int) -> bytes:
        """Read exactly `size` bytes, or fewer if the peer's close_notify comes first.

        :raises ssl.SSLEOFError: the stream ended without one.
        """
        parts, missing = [], size
        while missing:
            try:
                part = self.tls.read(min(missing, 2**18))
            except ssl.SSLWantReadError:
                await self._more()
                continue
            except ssl.SSLZeroReturnError:
                break
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    async def close_notify(self) -> None:
        waiting = self._incoming.read()
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        if waiting:
            self._incoming.write(waiting)
        await self.flush()

    async def flush(self) -> None:
        if self._outgoing.pending:
            await self._loop.sock_sendall(self.sock, self._outgoing.read())

    async def _more(self) -> None:
        data = await self._loop.sock_recv(self.sock, 2**18)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


async def connect(
    stage: Stage, to: Proxy, context: ssl.SSLContext, name: str = "api.test", buffer: int | None = None
) -> Peer:
    """Connect a client to the proxy, and perform its handshake."""
    return await Peer(await stage.connect(to, buffer), context, name).handshake()
