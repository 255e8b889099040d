"""TLS as desired, on either side of a proxy. Whether the files can be used is asked where they are read."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from chaosproxy.declare import Flag, ListOf, Problems, Text, param
from chaosproxy.errors import Path, Problem, shown
from chaosproxy.model.address import Address
from chaosproxy.model.fault import FaultSpec

__all__ = ["ListenTls", "UpstreamTls", "check_tls"]

_HTTP_ONE = ("http/1.1", "http/1.0")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenTls:
    """What clients meet: a server's certificate, and perhaps a demand for theirs."""

    cert: str = param(Text(), "PEM file with the certificate, then its chain", example="certs/api.test.pem")
    key: str = param(Text(), "PEM file with its private key, without a passphrase", example="certs/api.test.key")
    client_ca: str | None = param(
        Text(), "PEM file with the CAs that sign client certificates", default=None, example="certs/ca.pem"
    )
    require_client_cert: bool = param(
        Flag(), "turn clients without a certificate away; needs client_ca", default=False, example="true"
    )
    alpn: tuple[str, ...] = param(
        ListOf(Text()), "application protocols to offer, the best first", default=(), example="[h2, http/1.1]"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """How the server is spoken to: whom to trust, whom to expect, and who we are."""

    ca: str | None = param(
        Text(), "PEM file with the CAs to trust; without it those of the system", default=None, example="certs/ca.pem"
    )
    verify: bool = param(
        Flag(), "false takes any certificate, for any name", default=True, example="false"
    )
    server_name: str | None = param(
        Text(), "name to ask for and to expect; without it the upstream's host", default=None, example="api.test"
    )
    cert: str | None = param(
        Text(), "PEM file with our client certificate", default=None, example="certs/client.pem"
    )
    key: str | None = param(
        Text(), "PEM file with its private key, without a passphrase", default=None, example="certs/client.key"
    )


class _Proxy(Protocol):
    """The settings of a proxy that its TLS depends on."""

    @property
    def protocol(self) -> str: ...
    @property
    def upstream(self) -> Address: ...
    @property
    def listen_tls(self) -> ListenTls | None: ...
    @property
    def upstream_tls(self) -> UpstreamTls | None: ...
    @property
    def faults(self) -> tuple[FaultSpec, ...]: ...


def check_tls(proxy: _Proxy, problems: Problems, path: Path) -> None:
    """Note what is wrong across the parameters of a proxy's TLS, and with faults that need it."""
    if proxy.listen_tls is not None:
        for problem in _of_listen(proxy.listen_tls, proxy.protocol):
            problems.add((*path, "listen_tls", *problem.path), problem.message)
    if proxy.upstream_tls is not None:
        for problem in _of_upstream(proxy.upstream_tls, proxy.upstream):
            problems.add((*path, "upstream_tls", *problem.path), problem.message)
    for fault in proxy.faults:
        if fault.settings.needs_listen_tls and proxy.listen_tls is None:
            message = f"{fault.type} acts on TLS with clients, and this proxy speaks none; give the proxy listen_tls"
            problems.add((*path, "faults", fault.name, "type"), message)


def _of_listen(tls: ListenTls, protocol: str) -> Iterator[Problem]:
    """What is wrong across its parameters."""
    yield from _empty_paths(tls, ("cert", "key", "client_ca"))
    if tls.require_client_cert and tls.client_ca is None:
        yield Problem(("client_ca",), "is missing; give the CAs that sign the client certificates to require")
    for index, name in enumerate(tls.alpn):
        if not 0 < len(name.encode()) <= 255:
            yield Problem(("alpn", index), f"{shown(name)} is no protocol; give 1 to 255 bytes, such as http/1.1")
        elif protocol == "http" and name not in _HTTP_ONE:
            message = f"{shown(name)} is not understood with protocol: http; give http/1.1, or protocol: tcp"
            yield Problem(("alpn", index), message)


def _of_upstream(tls: UpstreamTls, upstream: Address) -> Iterator[Problem]:
    """What is wrong across its parameters."""
    yield from _empty_paths(tls, ("ca", "cert", "key"))
    if tls.cert is not None and tls.key is None:
        yield Problem(("key",), "is missing; give the private key of cert")
    if tls.key is not None and tls.cert is None:
        yield Problem(("cert",), "is missing; give the certificate of key")
    if tls.server_name is not None and not _is_server_name(tls.server_name):
        yield Problem(("server_name",), f"{shown(tls.server_name)} is no host name; give one such as api.test")
    if tls.server_name is None and tls.verify and upstream.is_unix:
        yield Problem(("server_name",), "is missing; a unix socket has no name that a certificate could be for")


def _is_server_name(text: str) -> bool:
    """Whether a certificate can be for it: a host name in ASCII, or an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.split("."))
    return True


def _empty_paths(tls: object, names: tuple[str, ...]) -> Iterator[Problem]:
    for name in names:
        if getattr(tls, name) == "":
            yield Problem((name,), "is empty; give the path of a PEM file")
