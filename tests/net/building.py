"""Specs for tests, made in the same way as from YAML and REST."""

from __future__ import annotations

from chaosproxy.declare import Problems
from chaosproxy.model import FaultSpec, PartitionSpec, ProxySpec, read_fault, read_partition, read_proxy


def fault(name: str = "fault", /, **settings: object) -> FaultSpec:
    problems = Problems()
    spec = read_fault(settings, name, problems, (), "http")
    problems.raise_if_any()
    assert spec is not None
    return spec


def proxy(name: str = "proxy", /, **settings: object) -> ProxySpec:
    problems = Problems()
    spec = read_proxy({"listen": "127.0.0.1:0"} | settings, name, problems)
    problems.raise_if_any()
    assert spec is not None
    return spec


def partition(id: str = "cut", /, **fields: object) -> PartitionSpec:
    problems = Problems()
    spec = read_partition(fields, id, problems)
    problems.raise_if_any()
    assert spec is not None
    return spec
