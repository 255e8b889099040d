"""A proxy as desired: one listener, its upstream, and its faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaosproxy.declare import Choice, Duration, Flag, Problems, Size, Struct, Text, param, read_struct, write_struct
from chaosproxy.errors import Path, shown
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
        problems.add(path, f"{shown(data)} is not a mapping; give at least {example}")
        return None
    protocol = "http" if data.get("protocol") == "http" else "tcp"
    faults = _read_faults(data.get("faults"), problems, (*path, "faults"), protocol)
    rest = {key: value for key, value in data.items() if key != "faults"}
    spec = read_struct(ProxySpec, rest, problems, path, also_known=("faults",), name=name, faults=faults)
    if spec is not None:
        check_tls(spec, problems, path)
    return spec if len(problems) == before else None


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
        problems.add(path, message)
        return ()
    found = [read_fault(one, name, problems, (*path, name), protocol) for name, one in data.items()]
    return tuple(fault for fault in found if fault is not None)
