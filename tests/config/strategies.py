"""Configurations of every kind, made from the declarations themselves."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from chaosproxy.declare import (
    Choice,
    Duration,
    Flag,
    Kind,
    ListOf,
    Rate,
    Share,
    Size,
    Struct,
    Text,
    Whole,
    params_of,
)
from chaosproxy.faults import FAULT_TYPES
from chaosproxy.faults.base import Fault
from chaosproxy.model import Address, Config, ControlSpec, FaultSpec, Placement, PolicySpec, ProxySpec
from chaosproxy.model.address import ListenAddress, UpstreamAddress
from chaosproxy.model.settings import HostPattern

S = TypeVar("S")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "yes",
        "12:30",
        "1e5",
        "0o17",
        "~",
        "null",
        "2024-01-01",
        "$x",
        "${X}",
        "$${",
        "- a",
        "a: b",
        "#",
        "<<",
        "1_000",
        "",
    ]
)
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Z"]), min_size=1, max_size=12)
HOSTS = st.sampled_from(["127.0.0.1", "::1", "localhost", "0.0.0.0", "db.internal", "10.1.2.3", "fe80::1"])


def addresses(lowest_port: int) -> st.SearchStrategy[Address]:
    tcp = st.builds(Address, HOSTS, st.integers(lowest_port, 65535))
    return tcp | st.sampled_from([Address("/run/app.sock"), Address("/tmp/a b$c")])


def values(kind: Kind) -> st.SearchStrategy[object]:
    """Values of a kind, as the model holds them."""
    match kind:
        case Duration(above_zero):
            return st.floats(1e-9 if above_zero else 0, 1e6, exclude_min=above_zero)
        case Size(minimum):
            return st.integers(minimum, 2**40)
        case Rate():
            return st.floats(1e-3, 1e12)
        case Share():
            return st.floats(0, 1)
        case Whole(minimum, maximum):
            return st.integers(minimum, maximum)
        case Flag():
            return st.booleans()
        case Choice(words):
            return st.sampled_from(words)
        case Text():
            return TEXT
        case ListOf(item):
            return st.lists(values(item), max_size=3).map(tuple)
        case Struct(of):
            return structs(of)
        case HostPattern():
            return st.sampled_from(["127.0.0.0/8", "*.internal", "::1", "localhost", "10.0.0.1", "fe80::/10"])
        case ListenAddress():
            return addresses(0)
        case UpstreamAddress():
            return addresses(1)
    raise AssertionError(f"no strategy for {kind!r}: give one")


def structs(of: type[S], **fixed: st.SearchStrategy[object]) -> st.SearchStrategy[S]:
    """Structs of a type; a parameter that has a default is now and then left at it."""
    fields = dict(fixed)
    for param in params_of(of):
        if param.attribute not in fields:
            free = values(param.kind)
            fields[param.attribute] = free if param.required else st.just(param.default) | free
    return st.builds(of, **fields)


def faults(of: type[Fault]) -> st.SearchStrategy[Fault]:
    return structs(of).filter(lambda fault: not list(fault.check()))


def fault_specs() -> st.SearchStrategy[FaultSpec]:
    settings = st.one_of([faults(of) for of in FAULT_TYPES.values()])
    return st.builds(FaultSpec, name=NAMES, settings=settings, placement=structs(Placement))


def proxies() -> st.SearchStrategy[ProxySpec]:
    some = st.lists(fault_specs(), max_size=3, unique_by=lambda fault: fault.name).map(tuple)
    return structs(ProxySpec, name=NAMES, faults=some)


def _port(proxy: ProxySpec) -> object:
    """What no two proxies of one configuration may share; port 0 is shared by any number."""
    return proxy.name if proxy.listen.port == 0 else str(proxy.listen.port)


def configs() -> st.SearchStrategy[Config]:
    """Valid configurations: names are unique, and no two proxies listen on one port."""
    some = st.lists(proxies(), max_size=3, unique_by=(lambda p: p.name, _port))
    return structs(Config, proxies=some.map(tuple), control=structs(ControlSpec), policy=structs(PolicySpec))
