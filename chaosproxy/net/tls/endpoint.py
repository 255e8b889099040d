"""The TLS of one proxy: its contexts for clients, for the server, and for handshakes that a fault makes fail.

`ProxyTls` holds one ReloadedOnChange context for each of them, made from the files that the proxy's
settings name. `net.front` requests one for each new connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from chaosproxy.errors import ChaosproxyError, InvalidInput, Problem
from chaosproxy.faults.base import Handshake
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.tls.contexts import ReloadedOnChange, client_context, server_context
from chaosproxy.net.tls.faulty import faulty_context
from chaosproxy.net.tls.transport import TlsTransport

__all__ = ["ProxyTls", "tls_problems"]


class ProxyTls:
    """The contexts of one proxy, for its current settings and files."""

    def __init__(self, spec: ProxySpec, now: float) -> None:
        """
        :raises InvalidInput: with the fields whose files are unusable, such as `listen_tls.cert`.
        :raises Unsupported: one of the proxy's faults needs a key or an OpenSSL feature that is missing.
        """
        self._settings = self._settings_of(spec)
        """The settings that it was made for."""
        self._name = spec.name
        self._listen, self._upstream = spec.listen_tls, spec.upstream_tls
        named = None if spec.upstream_tls is None else spec.upstream_tls.server_name
        self._server_name = named or (None if spec.upstream.is_unix else spec.upstream.host)
        self._faulty: dict[Handshake, ReloadedOnChange[ssl.SSLContext]] = {}
        self._clients: dict[str | None, ReloadedOnChange[ssl.SSLContext]] = {}
        problems: list[Problem] = []
        try:
            self._server = self._make_server(now)
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
    def _settings_of(spec: ProxySpec) -> tuple[object, ...]:
        """Return the settings of a proxy that its TLS depends on."""
        return (spec.listen_tls, spec.upstream_tls, spec.upstream.host)

    @classmethod
    def of(cls, spec: ProxySpec, now: float, present: ProxyTls | None = None) -> ProxyTls | None:
        """Return the TLS of a proxy: None where it uses none itself, `present` where its settings have not changed.

        The files of `present` are not read again: if they have become unusable, the last valid ones stay in use.

        :raises InvalidInput: as for the class.
        :raises Unsupported: as for the class.
        """
        if spec.listen_tls is None and spec.upstream_tls is None:
            return None
        if present is None or present._settings != cls._settings_of(spec):
            return cls(spec, now)
        present._prepare_for(spec, now)
        return present

    @property
    def terminates(self) -> bool:
        """True if clients use TLS with the proxy."""
        return self._listen is not None

    @property
    def originates(self) -> bool:
        """True if the proxy uses TLS with the server."""
        return self._upstream is not None

    def server(self, how: Handshake | None, now: float) -> ssl.SSLContext:
        """Return the context for a handshake with a client; `how` is the fault that makes it fail, if one does."""
        if how is not None and how in self._faulty:
            return self._faulty[how].get(now)
        assert self._server is not None
        return self._server.get(now)

    def client(self, alpn: str | None, now: float) -> ssl.SSLContext | None:
        """Return the context for a handshake with the server, which is offered the protocol the client has chosen."""
        tls = self._upstream
        if tls is None:
            return None
        if alpn not in self._clients:
            make = partial(client_context, tls, () if alpn is None else (alpn,))
            what = f"upstream_tls of proxy {self._name}"
            self._clients[alpn] = ReloadedOnChange(make, (tls.ca, tls.cert, tls.key), what, now)
        return self._clients[alpn].get(now)

    def prepare(self, how: Handshake, now: float) -> None:
        """Make the context for a fault in the handshake, unless it exists.

        :raises InvalidInput: with the fields whose files are unusable.
        :raises Unsupported: it needs a key or an OpenSSL feature that is missing.
        """
        tls = self._listen
        if tls is None or how in self._faulty or how in ("stall", "reset"):
            return
        what = f"listen_tls of proxy {self._name} under tls_handshake, how: {how}"
        make, files = partial(faulty_context, tls, how), (tls.cert, tls.key, tls.client_ca)
        self._faulty[how] = ReloadedOnChange(make, files, what, now)

    def _prepare_for(self, spec: ProxySpec, now: float) -> None:
        for fault in spec.faults:
            admission = fault.settings.admission()
            if admission is not None and admission.handshake is not None:
                self.prepare(admission.handshake, now)

    def secure_server(self, raw: asyncio.Transport, alpn: str | None, now: float) -> TlsTransport:
        """Return TLS over the socket to the server, before its handshake."""
        context = self.client(alpn, now)
        assert context is not None
        return TlsTransport(raw, context, server_side=False, server_name=self._server_name)

    def _make_server(self, now: float) -> ReloadedOnChange[ssl.SSLContext] | None:
        tls = self._listen
        if tls is None:
            return None
        what = f"listen_tls of proxy {self._name}"
        return ReloadedOnChange(partial(server_context, tls), (tls.cert, tls.key, tls.client_ca), what, now)


def tls_problems(spec: ProxySpec) -> Iterator[Problem]:
    """Find the problems with a proxy's TLS, by field, that creating the proxy would find."""
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
