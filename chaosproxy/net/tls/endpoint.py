"""What one proxy shakes hands with, on either side, and with its faults."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from chaosproxy.errors import ChaosproxyError, InvalidInput, Problem
from chaosproxy.faults.base import Handshake
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.tls.contexts import Renewed, client_context, server_context
from chaosproxy.net.tls.faulty import faulty_context
from chaosproxy.net.tls.transport import TlsTransport

__all__ = ["ProxyTls", "tls_problems"]


class ProxyTls:
    """What one proxy shakes hands with, as files and settings are now."""

    def __init__(self, spec: ProxySpec, now: float) -> None:
        """
        :raises InvalidInput: files cannot be used; `listen_tls.cert` … say which.
        :raises Unsupported: one of the proxy's faults needs what is not there.
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
            self._server = self._made_server(now)
        except InvalidInput as invalid:
            problems += _under("listen_tls", invalid)
        try:
            self.client(None, now)
        except InvalidInput as invalid:
            problems += _under("upstream_tls", invalid)
        if problems:
            raise InvalidInput(problems)
        self._prepare_for(spec, now)

    @staticmethod
    def asks(spec: ProxySpec) -> tuple[object, ...]:
        """What of a proxy's settings it depends on."""
        return (spec.listen_tls, spec.upstream_tls, spec.upstream.host)

    @classmethod
    def of(cls, spec: ProxySpec, now: float, present: ProxyTls | None = None) -> ProxyTls | None:
        """None where the proxy speaks no TLS itself; the present one where that is still what is asked for.

        Its files are not read then: should they have become bad, it goes on with the last good ones.

        :raises InvalidInput:
        :raises Unsupported: as the class does.
        """
        if spec.listen_tls is None and spec.upstream_tls is None:
            return None
        if present is None or present.asked != cls.asks(spec):
            return cls(spec, now)
        present._prepare_for(spec, now)
        return present

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
            make = partial(client_context, tls, () if alpn is None else (alpn,))
            what = f"upstream_tls of proxy {self._name}"
            self._clients[alpn] = Renewed(make, (tls.ca, tls.cert, tls.key), what, now)
        return self._clients[alpn].get(now)

    def prepare(self, how: Handshake, now: float) -> None:
        """Have what that fault shakes hands with.

        :raises InvalidInput:
        :raises Unsupported: it cannot be had.
        """
        tls = self._listen
        if tls is None or how in self._faulty or how in ("stall", "reset"):
            return
        what = f"listen_tls of proxy {self._name} under tls_handshake, how: {how}"
        self._faulty[how] = Renewed(partial(faulty_context, tls, how), (tls.cert, tls.key, tls.client_ca), what, now)

    def _prepare_for(self, spec: ProxySpec, now: float) -> None:
        for fault in spec.faults:
            admission = fault.settings.admission()
            if admission is not None and admission.handshake is not None:
                self.prepare(admission.handshake, now)

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

    def _made_server(self, now: float) -> Renewed[ssl.SSLContext] | None:
        tls = self._listen
        if tls is None:
            return None
        what = f"listen_tls of proxy {self._name}"
        return Renewed(partial(server_context, tls), (tls.cert, tls.key, tls.client_ca), what, now)


def tls_problems(spec: ProxySpec) -> Iterator[Problem]:
    """What of a proxy's TLS cannot be had, by field, as it would be found when the proxy is made."""
    try:
        tls = ProxyTls.of(replace(spec, faults=()), 0.0)
    except InvalidInput as invalid:
        yield from invalid.problems
        return
    for fault in spec.faults:
        admission = fault.settings.admission()
        if tls is not None and admission is not None and admission.handshake is not None:
            try:
                tls.prepare(admission.handshake, 0.0)
            except ChaosproxyError as error:
                yield Problem(("faults", fault.name, "how"), str(error))


def _under(field: str, invalid: InvalidInput) -> list[Problem]:
    return [problem.under(field) for problem in invalid.problems]
