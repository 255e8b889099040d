"""The TLS of one proxy: its contexts for clients, for the server, and for handshakes that a fault makes fail.

`ProxyTls` holds one ReloadedOnChange context for each of them, made from the files that the proxy's
settings name. `net.front` requests a context for each new connection.
"""

from __future__ import annotations

import asyncio
import ssl
from copy import copy
from functools import partial

from chaosproxy.errors import ChaosproxyError, InvalidInput, Problem
from chaosproxy.faults.base import Handshake
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.tls import ListenTls
from chaosproxy.net.tls.contexts import ReloadedOnChange, client_context, server_context
from chaosproxy.net.tls.faulty import faulty_context
from chaosproxy.net.tls.transport import TlsTransport
from chaosproxy.tasks import in_thread

__all__ = ["ProxyTls"]


class ProxyTls:
    """The contexts of one proxy, for its current settings and files.

    It is made, and reads the files, before a change is applied; the proxy then uses the same object.
    `with_handshake` returns another object, so a refused change leaves the proxy's own unchanged.
    """

    def __init__(self, spec: ProxySpec) -> None:
        """
        :raises InvalidInput: with the fields whose files are unusable, such as `listen_tls.cert`.
        """
        self._settings = self._settings_of(spec)
        """The settings that it was made for."""
        self._name = spec.name
        self._listen, self._upstream = spec.listen_tls, spec.upstream_tls
        named = None if spec.upstream_tls is None else spec.upstream_tls.server_name
        self._server_name = named or (None if spec.upstream.is_unix else spec.upstream.host)
        self._faulty: dict[Handshake, ReloadedOnChange[ssl.SSLContext]] = {}
        self._read: dict[Handshake, ReloadedOnChange[ssl.SSLContext] | ChaosproxyError] = {}
        """Contexts that `read_for` has made, or the errors, until `with_handshake` uses them."""
        self._clients: dict[str | None, ReloadedOnChange[ssl.SSLContext]] = {}
        problems: list[Problem] = []
        try:
            self._server = self._make_server()
        except InvalidInput as invalid:
            problems += _under("listen_tls", invalid)
        try:
            self._make_client(None)
        except InvalidInput as invalid:
            problems += _under("upstream_tls", invalid)
        if problems:
            raise InvalidInput(problems)

    @staticmethod
    def _settings_of(spec: ProxySpec) -> tuple[object, ...]:
        """Return the settings of a proxy that its TLS depends on."""
        return (spec.listen_tls, spec.upstream_tls, spec.upstream.host)

    @classmethod
    def of(cls, spec: ProxySpec, present: ProxyTls | None = None) -> ProxyTls | None:
        """Return the TLS of a proxy: None if it uses none itself, `present` if its settings have not changed.

        The files of `present` are not read again: if they have become unusable, the last valid ones stay in use.

        :raises InvalidInput: as for the class.
        """
        if spec.listen_tls is None and spec.upstream_tls is None:
            return None
        return cls(spec) if present is None or present._settings != cls._settings_of(spec) else present

    def with_handshake(self, how: Handshake) -> ProxyTls:
        """Return a copy with the context for a fault in the handshake too, or itself if it has that context.

        :raises InvalidInput: a file is unusable.
        :raises Unsupported: the fault needs a key or an OpenSSL feature that is missing.
        """
        tls = self._listen
        if tls is None or how in self._faulty or how in ("stall", "reset"):
            return self
        faulty = self._read.pop(how, None) or self._make_faulty(tls, how)
        if isinstance(faulty, ChaosproxyError):
            raise faulty
        extended = copy(self)
        extended._faulty = {**self._faulty, how: faulty}
        return extended

    def read_for(self, how: Handshake) -> None:
        """Read the files for `with_handshake`, which then does not block; call this in a thread."""
        tls = self._listen
        if tls is None or how in self._faulty or how in ("stall", "reset"):
            return
        try:
            self._read[how] = self._make_faulty(tls, how)
        except ChaosproxyError as error:
            self._read[how] = error.with_traceback(None)

    def _make_faulty(self, tls: ListenTls, how: Handshake) -> ReloadedOnChange[ssl.SSLContext]:
        what = f"listen_tls of proxy {self._name} under tls_handshake, how: {how}"
        return ReloadedOnChange(partial(faulty_context, tls, how), (tls.cert, tls.key, tls.client_ca), what)

    @property
    def terminates(self) -> bool:
        """True if clients use TLS with the proxy."""
        return self._listen is not None

    @property
    def originates(self) -> bool:
        """True if the proxy uses TLS with the server."""
        return self._upstream is not None

    async def server(self, how: Handshake | None, now: float) -> ssl.SSLContext:
        """Return the context for a handshake with a client; `how` is the fault that makes it fail, if one does.

        This seldom waits, and briefly, for a check whether the files have changed.
        """
        context = self._server if how is None else self._faulty.get(how, self._server)
        assert context is not None
        await context.refresh(now)
        return context.value

    async def client(self, alpn: str | None, now: float) -> ssl.SSLContext:
        """Return the context for a handshake with the server, which is offered the protocol the client has chosen.

        This waits as `server` does, and for the files of a context that offers another protocol.
        """
        if alpn not in self._clients:
            await in_thread(partial(self._make_client, alpn))
        context = self._clients[alpn]
        await context.refresh(now)
        return context.value

    def _make_client(self, alpn: str | None) -> None:
        tls = self._upstream
        if tls is not None:
            make = partial(client_context, tls, () if alpn is None else (alpn,))
            what = f"upstream_tls of proxy {self._name}"
            self._clients[alpn] = ReloadedOnChange(make, (tls.ca, tls.cert, tls.key), what)

    def secure_server(self, raw: asyncio.Transport, context: ssl.SSLContext) -> TlsTransport:
        """Return TLS over the socket to the server, before its handshake."""
        return TlsTransport(raw, context, server_side=False, server_name=self._server_name)

    def _make_server(self) -> ReloadedOnChange[ssl.SSLContext] | None:
        tls = self._listen
        if tls is None:
            return None
        what = f"listen_tls of proxy {self._name}"
        return ReloadedOnChange(partial(server_context, tls), (tls.cert, tls.key, tls.client_ca), what)


def _under(field: str, invalid: InvalidInput) -> list[Problem]:
    return [problem.under(field) for problem in invalid.problems]
