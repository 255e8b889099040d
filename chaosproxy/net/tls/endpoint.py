"""What one proxy shakes hands with, on either side, and with its faults."""

from __future__ import annotations

import asyncio
import ssl
from copy import copy
from functools import partial

from chaosproxy.errors import InvalidInput, Problem
from chaosproxy.faults.base import Handshake
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.tls.contexts import Renewed, client_context, server_context
from chaosproxy.net.tls.faulty import faulty_context
from chaosproxy.net.tls.transport import TlsTransport

__all__ = ["ProxyTls"]


class ProxyTls:
    """What one proxy shakes hands with, as files and settings are now.

    It is made before a change is applied, and reads the files then; the proxy uses the same
    object. `with_handshake` returns another one, so a change that is refused leaves none behind.
    """

    def __init__(self, spec: ProxySpec) -> None:
        """
        :raises InvalidInput: files cannot be used; `listen_tls.cert` … say which.
        """
        self.asked = self.asks(spec)
        """What it was made for."""
        self._name = spec.name
        self._listen, self._upstream = spec.listen_tls, spec.upstream_tls
        named = None if spec.upstream_tls is None else spec.upstream_tls.server_name
        self._server_name = named or (None if spec.upstream.is_unix else spec.upstream.host)
        self._faulty: dict[Handshake, Renewed[ssl.SSLContext]] = {}
        self._clients: dict[str | None, Renewed[ssl.SSLContext]] = {}
        problems: list[Problem] = []
        try:
            self._server = self._made_server()
        except InvalidInput as invalid:
            problems += _under("listen_tls", invalid)
        try:
            self._make_client(None)
        except InvalidInput as invalid:
            problems += _under("upstream_tls", invalid)
        if problems:
            raise InvalidInput(problems)

    @staticmethod
    def asks(spec: ProxySpec) -> tuple[object, ...]:
        """What of a proxy's settings it depends on."""
        return (spec.listen_tls, spec.upstream_tls, spec.upstream.host)

    @classmethod
    def of(cls, spec: ProxySpec, present: ProxyTls | None = None) -> ProxyTls | None:
        """None where the proxy speaks no TLS itself; the present one where that is still what is asked for.

        Its files are not read then: should they have become bad, it goes on with the last good ones.

        :raises InvalidInput: as the class does.
        """
        if spec.listen_tls is None and spec.upstream_tls is None:
            return None
        return cls(spec) if present is None or present.asked != cls.asks(spec) else present

    def with_handshake(self, how: Handshake) -> ProxyTls:
        """Return the same endpoint, which can also shake hands as that fault says; itself where it already can.

        :raises InvalidInput: a file cannot be used.
        :raises Unsupported: the fault needs what is not there.
        """
        tls = self._listen
        if tls is None or how in self._faulty or how in ("stall", "reset"):
            return self
        what = f"listen_tls of proxy {self._name} under tls_handshake, how: {how}"
        made = Renewed(partial(faulty_context, tls, how), (tls.cert, tls.key, tls.client_ca), what)
        more = copy(self)
        more._faulty = {**self._faulty, how: made}
        return more

    @property
    def terminates(self) -> bool:
        """Clients are met with TLS."""
        return self._listen is not None

    @property
    def originates(self) -> bool:
        """The server is spoken to in TLS."""
        return self._upstream is not None

    def server(self, how: Handshake | None, now: float) -> ssl.SSLContext:
        """What a client meets; with a fault, one that is wrong in that way."""
        if how is not None and how in self._faulty:
            return self._faulty[how].get(now)
        assert self._server is not None
        return self._server.get(now)

    def client(self, alpn: str | None, now: float) -> ssl.SSLContext | None:
        """What the server meets; the protocol that the client chose is the one to offer."""
        tls = self._upstream
        if tls is None:
            return None
        if alpn not in self._clients:
            self._make_client(alpn)
        return self._clients[alpn].get(now)

    def _make_client(self, alpn: str | None) -> None:
        tls = self._upstream
        if tls is not None:
            make = partial(client_context, tls, () if alpn is None else (alpn,))
            self._clients[alpn] = Renewed(make, (tls.ca, tls.cert, tls.key), f"upstream_tls of proxy {self._name}")

    def secure_server(self, raw: asyncio.Transport, alpn: str | None, now: float) -> TlsTransport:
        """Return TLS over the socket to the server, to shake hands on."""
        context = self.client(alpn, now)
        assert context is not None
        return TlsTransport(raw, context, server_side=False, server_name=self._server_name)

    def look_now(self) -> None:
        """Have the next connection look at the files, however shortly after the last."""
        for one in (self._server, *self._clients.values(), *self._faulty.values()):
            if one is not None:
                one.look_now()

    def _made_server(self) -> Renewed[ssl.SSLContext] | None:
        tls = self._listen
        if tls is None:
            return None
        what = f"listen_tls of proxy {self._name}"
        return Renewed(partial(server_context, tls), (tls.cert, tls.key, tls.client_ca), what)


def _under(field: str, invalid: InvalidInput) -> list[Problem]:
    return [problem.under(field) for problem in invalid.problems]
