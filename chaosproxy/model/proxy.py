"""A proxy as desired: one listener, its upstream, and its faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaosproxy.declare import (
    Choice,
    Duration,
    Flag,
    ListOf,
    Problems,
    Size,
    Struct,
    Text,
    Whole,
    param,
    read_struct,
    write_struct,
)
from chaosproxy.errors import Path, shown
from chaosproxy.http.caller import CallerFaults
from chaosproxy.http.routes import RouteTemplate, duplicates
from chaosproxy.model.address import Address, ListenAddress, UpstreamAddress
from chaosproxy.model.fault import FaultSpec, read_fault, write_fault
from chaosproxy.model.names import LONGEST_NODE, read_name
from chaosproxy.model.tls import ListenTls, UpstreamTls, check_tls

__all__ = ["ProxySpec", "read_proxy", "write_proxy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySpec:
    """One listener and its upstream, with a name."""

    name: str
    protocol: str = param(Choice("tcp", "http"), "what flows through it", default="tcp", example="tcp")
    listen: Address = param(
        ListenAddress(), "where clients connect; port 0 picks a free one", example="127.0.0.1:15432"
    )
    upstream: Address = param(UpstreamAddress(), "the real server; it need not be up yet", example="127.0.0.1:5432")
    from_node: str | None = param(Text(LONGEST_NODE), "node of the clients", default=None, name="from", example="app")
    to_node: str | None = param(Text(LONGEST_NODE), "node of the server", default=None, name="to", example="db-primary")
    service: str | None = param(Text(), "proxies of one service are alternatives", default=None, example="db")
    enabled: bool = param(Flag(), "false closes the listener", default=True, example="false")
    connect_timeout: float = param(
        Duration(above_zero=True), "how long reaching the upstream may take", default=10.0, example="10s"
    )
    queue: int = param(Size(minimum=4096), "bytes that faults may hold per pipe", default=16 * 2**20, example="16MiB")
    strict: bool = param(
        Flag(), "http: resets what is no HTTP/1; else it passes, as a stream", default=False, example="true"
    )
    announce: bool = param(
        Flag(), "http: answers made or changed by a fault say so in X-Chaosproxy-Fault", default=False, example="true"
    )
    routes: tuple[str, ...] = param(
        ListOf(RouteTemplate()), "http: what metrics call paths", default=(), example='["/users/{id}", "/static/**"]'
    )
    head_limit: int = param(
        Size(minimum=1024), "http: the longest head; a longer one is no HTTP", default=64 * 1024, example="64KiB"
    )
    hold_limit: int = param(
        Size(), "http: how much of a body a fault may hold that must see all of it", default=2**20, example="1MiB"
    )
    pipeline_limit: int = param(
        Whole(minimum=1), "http: unanswered requests of a connection before its client is slowed", default=1000,
        example="100",
    )  # fmt: skip
    caller_faults: CallerFaults = param(
        Struct(CallerFaults), "http: faults that a request may ask for itself", default=CallerFaults(),
        example="{headers: true, max_delay: 5s}",
    )  # fmt: skip
    listen_tls: ListenTls | None = param(
        Struct(ListenTls), "speak TLS with clients, as their server", default=None, example="{cert: …, key: …}"
    )
    upstream_tls: UpstreamTls | None = param(
        Struct(UpstreamTls), "speak TLS with the server, as its client", default=None, example="{ca: certs/ca.pem}"
    )
    faults: tuple[FaultSpec, ...] = ()

    def fault(self, name: str) -> FaultSpec | None:
        return next((fault for fault in self.faults if fault.name == name), None)


def read_proxy(data: object, name: str, problems: Problems, path: Path = ()) -> ProxySpec | None:
    """A proxy from plain data; None, and every problem noted, if it is wrong."""
    before = len(problems)
    read_name(name, problems, path)
    if not isinstance(data, Mapping):
        example = "{listen: 127.0.0.1:15432, upstream: 127.0.0.1:5432}"
        problems.add(path, "wrong-type", f"{shown(data)} is not a mapping; give at least {example}")
        return None
    protocol = "http" if data.get("protocol") == "http" else "tcp"
    faults = _read_faults(data.get("faults"), problems, (*path, "faults"), protocol)
    rest = {key: value for key, value in data.items() if key != "faults"}
    spec = read_struct(ProxySpec, rest, problems, path, also_known=("faults",), name=name, faults=faults)
    if spec is not None:
        _check_http(spec, rest, problems, path)
        check_tls(spec, problems, path)
    return spec if len(problems) == before else None


def _check_http(spec: ProxySpec, given: Mapping[str, object], problems: Problems, path: Path) -> None:
    for index, message in duplicates(spec.routes):
        problems.add((*path, "routes", index), "duplicate", message)
    if spec.protocol == "http":
        return
    for name in HTTP_ONLY:
        if given.get(name) is not None and getattr(spec, name) != getattr(_PLAIN, name):
            message = "is for HTTP messages, and this proxy is tcp; leave it out, or give the proxy `protocol: http`"
            problems.add((*path, name), "not-applicable", message, at_key=True)


HTTP_ONLY = ("strict", "announce", "routes", "head_limit", "hold_limit", "pipeline_limit", "caller_faults")
"""What has a meaning in HTTP mode alone."""
_PLAIN = ProxySpec(name="", listen=Address("", 0), upstream=Address("", 0))


def write_proxy(spec: ProxySpec) -> dict[str, Any]:
    """The plain data that `read_proxy` reads back as `spec`, without what is default. (Any: JSON.)"""
    written = write_struct(spec)
    if spec.faults:
        written["faults"] = {fault.name: write_fault(fault) for fault in spec.faults}
    return written


def _read_faults(data: object, problems: Problems, path: Path, protocol: str) -> tuple[FaultSpec, ...]:
    if data is None:
        return ()
    if not isinstance(data, Mapping):
        message = f"{shown(data)} is not a mapping; give faults by name, such as slow: {{type: latency, delay: 100ms}}"
        problems.add(path, "wrong-type", message)
        return ()
    found = [read_fault(one, name, problems, (*path, name), protocol) for name, one in data.items()]
    return tuple(fault for fault in found if fault is not None)
