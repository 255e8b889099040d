"""The desired TLS of a proxy, with clients and with the server. The files are checked where they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from chaosproxy.declare import Flag, Given, ListOf, Not, Problems, Rule, Set, Text, broken_rules, param
from chaosproxy.errors import Path, Problem, shown
from chaosproxy.model.address import Address
from chaosproxy.model.fault import FaultSpec
from chaosproxy.text import IPV6

__all__ = ["HTTP_ONE", "ListenTls", "UpstreamTls", "check_tls"]

HTTP_ONE = ("http/1.1", "http/1.0")
_FILE = Text(shortest=1)
_LABEL = r"(?!-)[A-Za-z0-9_-]{0,62}[A-Za-z0-9_]"
_PROTOCOL = Text(
    pattern=re.compile(r"[\x20-\x7e]{1,255}"),
    refusal="is not a protocol; use 1 to 255 characters of ASCII, such as http/1.1",
)
"""The name of a protocol over TLS (RFC 7301)."""
_SERVER_NAME = Text(
    pattern=re.compile(rf"(?=.{{1,253}}$(?!\n)){_LABEL}(\.{_LABEL})*|{IPV6}"),
    refusal="is not a host name; use one such as api.test",
)
"""A name that a certificate can have: a host name in ASCII, or an IP address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenTls:
    """TLS with clients: the certificate to present, and whether to require theirs."""

    cert: str = param(_FILE, "PEM file with the certificate, then its chain", example="certs/api.test.pem")
    key: str = param(_FILE, "PEM file with its private key, without a passphrase", example="certs/api.test.key")
    client_ca: str | None = param(
        _FILE, "PEM file with the CAs that sign client certificates", default=None, example="certs/ca.pem"
    )
    require_client_cert: bool = param(
        Flag(), "refuses clients without a certificate; needs client_ca", default=False, example="true"
    )
    alpn: tuple[str, ...] = param(
        ListOf(_PROTOCOL), "application protocols to offer, the preferred one first", default=(),
        example="[h2, http/1.1]",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            ("client_ca",), "missing",
            "is missing; add the CAs that sign client certificates, or remove require_client_cert",
            Set("require_client_cert"), Not(Given("client_ca")),
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """TLS with the server: the CAs to trust, the name to expect, and the certificate to present."""

    ca: str | None = param(
        _FILE, "PEM file with the CAs to trust; default: those of the system", default=None, example="certs/ca.pem"
    )
    verify: bool = param(
        Flag(), "false accepts any certificate, for any name", default=True, example="false"
    )
    server_name: str | None = param(
        _SERVER_NAME, "name to request and to expect; default: the host of the upstream", default=None,
        example="api.test",
    )
    cert: str | None = param(
        _FILE, "PEM file with the client certificate to present", default=None, example="certs/client.pem"
    )
    key: str | None = param(
        _FILE, "PEM file with its private key, without a passphrase", default=None, example="certs/client.key"
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(("key",), "missing", "is missing; add the private key of cert", Given("cert"), Not(Given("key"))),
        Rule(("cert",), "missing", "is missing; add the certificate of key", Given("key"), Not(Given("cert"))),
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
    """Note the problems across the parameters of a proxy's TLS, and of faults that need it."""
    if proxy.listen_tls is not None:
        for problem in _of_listen(proxy.listen_tls, proxy.protocol):
            problems.add((*path, "listen_tls", *problem.path), problem.code, problem.message)
    if proxy.upstream_tls is not None:
        for problem in _of_upstream(proxy.upstream_tls, proxy.upstream):
            problems.add((*path, "upstream_tls", *problem.path), problem.code, problem.message)
    for fault in proxy.faults:
        for problem in check_fault_tls(fault, proxy):
            problems.add((*path, "faults", fault.name, *problem.path), problem.code, problem.message)


def check_fault_tls(fault: FaultSpec, proxy: _Proxy) -> Iterator[Problem]:
    """Yield a problem if the fault needs TLS with clients, and the proxy has none."""
    if fault.settings.needs_listen_tls and proxy.listen_tls is None:
        message = f"{fault.type} acts on TLS with clients, but this proxy has none; add listen_tls to the proxy"
        yield Problem(("type",), "not-applicable", message)


def _of_listen(tls: ListenTls, protocol: str) -> Iterator[Problem]:
    """Yield the problems across the parameters."""
    yield from broken_rules(tls)
    for index, name in enumerate(tls.alpn):
        if protocol == "http" and name not in HTTP_ONE:
            message = f"{shown(name)} is not supported with protocol: http; use http/1.1, or protocol: tcp"
            yield Problem(("alpn", index), "invalid-together", message)


def _of_upstream(tls: UpstreamTls, upstream: Address) -> Iterator[Problem]:
    """Yield the problems across the parameters."""
    yield from broken_rules(tls)
    if tls.server_name is None and tls.verify and upstream.is_unix:
        message = "is missing, and a unix socket has no host name; add the name in the server's certificate"
        yield Problem(("server_name",), "missing", message)
