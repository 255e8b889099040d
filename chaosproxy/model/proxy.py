"""The desired state of a proxy: one listener, its upstream, and its faults."""

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
    Whole,
    param,
    params_of,
    read_struct,
    write_struct,
    write_value,
)
from chaosproxy.errors import Path, shown
from chaosproxy.http.caller import CallerFaults
from chaosproxy.http.routes import RouteTemplate, duplicates
from chaosproxy.model.address import Address, ListenAddress, UpstreamAddress, is_ipv4
from chaosproxy.model.fault import FaultSpec, read_fault, write_fault
from chaosproxy.model.loops import Ends, loop_problem, loop_through
from chaosproxy.model.names import LONGEST, LONGEST_NODE, NodeName, read_name
from chaosproxy.model.tls import ListenTls, UpstreamTls, check_tls

__all__ = ["MOST_FAULTS", "ProxySpec", "read_proxy", "write_proxy"]

MOST_FAULTS = 200
"""The most faults of one proxy."""
MOST_ROUTES = 500
_NODE = NodeName(LONGEST_NODE, shortest=1)
"""The name of a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySpec:
    """One listener and its upstream, with a name."""

    name: str
    protocol: str = param(Choice("tcp", "http"), "protocol of the traffic", default="tcp", example="tcp")
    listen: Address = param(
        ListenAddress(), "address for clients; port 0 picks a free port", example="127.0.0.1:15432"
    )
    ipv6only: bool = param(
        Flag(), "true: accept IPv6 clients alone; false: [::] accepts IPv4 clients too", default=False,
        example="true",
    )  # fmt: skip
    upstream: Address = param(UpstreamAddress(), "the real server; it may start later", example="127.0.0.1:5432")
    from_node: str | None = param(_NODE, "node of the clients", default=None, name="from", example="app")
    to_node: str | None = param(_NODE, "node of the server", default=None, name="to", example="db-primary")
    service: str | None = param(
        NodeName(LONGEST, shortest=1), "proxies of one service are alternatives", default=None, example="db"
    )
    enabled: bool = param(Flag(), "false refuses clients, and keeps the port", default=True, example="false")
    connect_timeout: float = param(
        Duration(above_zero=True), "time limit for connecting to the upstream", default=10.0, example="10s"
    )
    queue: int = param(
        Size(minimum=4096), "bytes that faults may hold in each direction of a connection",
        default=16 * 2**20, example="16MiB",
    )  # fmt: skip
    strict: bool = param(
        Flag(), "http: resets connections that are not HTTP/1; false passes them on", default=False, example="true"
    )
    announce: bool = param(
        Flag(), "http: adds X-Chaosproxy-Fault to responses that a fault made or changed", default=False, example="true"
    )
    routes: tuple[str, ...] = param(
        ListOf(RouteTemplate(), MOST_ROUTES, unique=True), "http: names of paths in metrics", default=(),
        example='["/users/{id}", "/static/**"]',
    )  # fmt: skip
    head_limit: int = param(
        Size(minimum=1024), "http: the largest head; a larger one is not HTTP", default=64 * 1024, example="64KiB"
    )
    hold_limit: int = param(
        Size(), "http: bytes of a body that a fault may hold to see the whole of it", default=2**20, example="1MiB"
    )
    pipeline_limit: int = param(
        Whole(minimum=1), "http: requests without a response before reading from the client stops", default=1000,
        example="100",
    )  # fmt: skip
    caller_faults: CallerFaults = param(
        Struct(CallerFaults), "http: faults that a request may ask for in its headers", default=CallerFaults(),
        example="{headers: true, max_delay: 5s}",
    )  # fmt: skip
    listen_tls: ListenTls | None = param(
        Struct(ListenTls), "TLS with clients; chaosproxy is the server", default=None, example="{cert: …, key: …}"
    )
    upstream_tls: UpstreamTls | None = param(
        Struct(UpstreamTls), "TLS with the server; chaosproxy is the client", default=None, example="{ca: certs/ca.pem}"
    )
    faults: tuple[FaultSpec, ...] = ()

    def fault(self, name: str) -> FaultSpec | None:
        return next((fault for fault in self.faults if fault.name == name), None)


def read_proxy(data: object, name: str, problems: Problems, path: Path = ()) -> ProxySpec | None:
    """Read a proxy from plain data; if it is wrong, note all problems and return None."""
    before = len(problems)
    read_name(name, problems, path)
    if not isinstance(data, Mapping):
        example = "{listen: 127.0.0.1:15432, upstream: 127.0.0.1:5432}"
        problems.add(path, "wrong-type", f"{shown(data)} is not a mapping; use at least {example}")
        return None
    protocol = "http" if data.get("protocol") == "http" else "tcp"
    faults = _read_faults(data.get("faults"), problems, (*path, "faults"), protocol)
    rest = {key: value for key, value in data.items() if key != "faults"}
    spec = read_struct(ProxySpec, rest, problems, path, also_known=("faults",), name=name, faults=faults)
    if spec is not None:
        _check_ends(spec, problems, path)
        _check_http(spec, rest, problems, path)
        check_tls(spec, problems, path)
    return spec if len(problems) == before else None


def _check_ends(spec: ProxySpec, problems: Problems, path: Path) -> None:
    if spec.ipv6only and (spec.listen.is_unix or is_ipv4(spec.listen.host)):
        message = f"{spec.listen} accepts no IPv6 clients; remove it, or listen on an address such as [::]:5432"
        problems.add((*path, "ipv6only"), "not-applicable", message, at_key=True)
    if loop := loop_through(spec.name, {spec.name: Ends((spec.listen,), spec.upstream)}):
        problem = loop_problem(loop, spec.upstream)
        problems.add((*path, *problem.path), problem.code, problem.message)


def _check_http(spec: ProxySpec, given: Mapping[str, object], problems: Problems, path: Path) -> None:
    for index, message in duplicates(spec.routes):
        problems.add((*path, "routes", index), "duplicate", message)
    if spec.protocol == "http":
        return
    for name, default in HTTP_ONLY.items():
        if given.get(name) is not None and given[name] != default:
            message = "needs HTTP, but this proxy is tcp; remove it, or add `protocol: http` to the proxy"
            problems.add((*path, name), "not-applicable", message, at_key=True)


_FOR_HTTP = ("strict", "announce", "routes", "head_limit", "hold_limit", "pipeline_limit", "caller_faults")
HTTP_ONLY = {one.name: write_value(one.kind, one.default) for one in params_of(ProxySpec) if one.name in _FOR_HTTP}
"""Parameters that have a meaning only with `protocol: http`, and their default values as they are written."""


def write_proxy(spec: ProxySpec) -> dict[str, Any]:
    """Return the plain data that `read_proxy` reads back as `spec`, without default values. (Any: JSON.)"""
    written = write_struct(spec)
    if spec.faults:
        written["faults"] = {fault.name: write_fault(fault) for fault in spec.faults}
    return written


def _read_faults(data: object, problems: Problems, path: Path, protocol: str) -> tuple[FaultSpec, ...]:
    if data is None:
        return ()
    if not isinstance(data, Mapping):
        message = f"{shown(data)} is not a mapping; use faults by name, such as slow: {{type: latency, delay: 100ms}}"
        problems.add(path, "wrong-type", message)
        return ()
    if len(data) > MOST_FAULTS:
        problems.add(path, "too-large", f"has {len(data)} faults; use at most {MOST_FAULTS}")
        return ()
    found = [read_fault(one, name, problems, (*path, name), protocol) for name, one in data.items()]
    return tuple(fault for fault in found if fault is not None)
