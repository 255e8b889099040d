"""Configurations of every kind, made from the declarations themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from chaosproxy.declare import (
    Choice,
    Duration,
    Flag,
    Kind,
    ListOf,
    MapOf,
    Number,
    Problems,
    Rate,
    Share,
    Size,
    Struct,
    Text,
    TextOrJson,
    Whole,
    params_of,
)
from chaosproxy.faults.base import Fault
from chaosproxy.http.rewrite import FieldName
from chaosproxy.http.routes import RouteTemplate
from chaosproxy.http.stage import MessageFault
from chaosproxy.model import (
    Address,
    Config,
    ControlSpec,
    FaultSpec,
    PartitionSpec,
    Placement,
    PolicySpec,
    ProxySpec,
)
from chaosproxy.model.address import ListenAddress, UpstreamAddress, is_ipv4
from chaosproxy.model.fault import DIRECTION_OF
from chaosproxy.model.hosts import HostPattern
from chaosproxy.model.loops import Ends, loop_through
from chaosproxy.model.names import RESERVED, NodeName
from chaosproxy.model.partition import Layout, Names, Topology
from chaosproxy.model.proxy import HTTP_ONLY
from chaosproxy.model.sni import SniMatch
from chaosproxy.model.tls import ListenTls, UpstreamTls, check_tls
from chaosproxy.model.topology import NAMES_A_NODE, TOPOLOGIES
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.text import escaped

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
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Z"]), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(RESERVED) and name not in (".", "..") and escaped(name) == name
)
PATHS = TEXT.filter(bool)
SERVERS = st.sampled_from(["api.test", "10.0.0.1", "::1"])
ALPN = st.lists(st.sampled_from(["h2", "http/1.1", "yes", "$x"]), max_size=3).map(tuple)
SNI = st.sampled_from(["*.example.org", "API.test", "yes", "${X}"]).map(lambda name: SniMatch(sni=name))
HOSTS = st.sampled_from(["127.0.0.1", "::1", "localhost", "0.0.0.0", "db.internal", "10.1.2.3", "fe80::1"])


FIELDS = st.sampled_from(["X-A", "ETag", "Cache-Control", "Server"])
FIELD_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10)


def addresses(lowest_port: int) -> st.SearchStrategy[Address]:
    tcp = st.builds(Address, HOSTS, st.integers(lowest_port, 65535))
    return tcp | st.sampled_from([Address("/run/app.sock"), Address("/tmp/a b$c")])


def values(kind: Kind) -> st.SearchStrategy[object]:
    """Values of a kind, as the model holds them."""
    match kind:
        case Duration(above_zero, signed):
            return st.floats(-1e6 if signed else 1e-9 if above_zero else 0, 1e6, exclude_min=above_zero)
        case Size(minimum):
            return st.integers(minimum, 2**40)
        case Rate():
            return st.floats(1e-3, 1e12)
        case Share():
            return st.floats(0, 1)
        case Number(minimum, maximum):
            return st.floats(max(minimum, -1e15), min(maximum, 1e15))
        case TextOrJson():
            return TEXT | st.dictionaries(TEXT, st.integers() | TEXT | st.booleans(), max_size=3)
        case MapOf(key=FieldName()):
            return st.dictionaries(FIELDS, FIELD_VALUES, max_size=3)
        case FieldName():
            return FIELDS
        case RouteTemplate():
            return st.sampled_from(["/", "/users/{id}", "/users/{id}/orders", "/static/**", "/health"])
        case Whole(minimum, maximum):
            return st.integers(minimum, maximum)
        case Flag():
            return st.booleans()
        case Choice(words):
            return st.sampled_from(words)
        case NodeName():
            return NAMES
        case Text(_, shortest):
            return TEXT.filter(lambda text: len(text) >= shortest)
        case ListOf(RouteTemplate() as item):
            return st.lists(values(item), max_size=3, unique=True).map(tuple)
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
        case Names():
            return st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple)
        case Topology():
            return layouts()
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
    specs = st.builds(FaultSpec, name=NAMES, settings=settings, placement=structs(Placement), sni=st.none() | SNI)
    specs = specs.filter(lambda spec: spec.sni is None or spec.settings.matches_sni).map(along)
    return specs.filter(lambda spec: spec.placement.touches_all or not spec.settings.at_listener)


def along(spec: FaultSpec) -> FaultSpec:
    """A message fault is placed on the direction of its messages."""
    side = spec.settings.side() if isinstance(spec.settings, MessageFault) else None
    return spec if side is None else replace(spec, placement=replace(spec.placement, direction=DIRECTION_OF[side]))


def proxies() -> st.SearchStrategy[ProxySpec]:
    some = st.lists(fault_specs(), max_size=3, unique_by=lambda fault: fault.name).map(tuple)
    specs = structs(
        ProxySpec,
        name=NAMES,
        faults=some,
        listen_tls=st.none() | structs(ListenTls, cert=PATHS, key=PATHS, client_ca=PATHS, alpn=ALPN),
        upstream_tls=st.none() | structs(UpstreamTls, ca=st.none() | PATHS, server_name=SERVERS, cert=PATHS, key=PATHS),
    )
    return specs.map(_of_its_protocol).map(_of_its_address).filter(_is_right)


def _of_its_address(spec: ProxySpec) -> ProxySpec:
    """Only an address that may be of IPv6 is for IPv6 alone."""
    return replace(spec, ipv6only=spec.ipv6only and not (spec.listen.is_unix or is_ipv4(spec.listen.host)))


def _of_its_protocol(spec: ProxySpec) -> ProxySpec:
    """A tcp proxy has nothing that is for messages."""
    if spec.protocol == "http":
        return spec
    plain = ProxySpec(name=spec.name, listen=spec.listen, upstream=spec.upstream)
    faults = tuple(one for one in spec.faults if not isinstance(one.settings, MessageFault))
    return replace(spec, faults=faults, **{name: getattr(plain, name) for name in HTTP_ONLY})


def _is_right(spec: ProxySpec) -> bool:
    problems = Problems()
    check_tls(spec, problems, ())
    return not len(problems) and not loop_through(spec.name, {spec.name: Ends((spec.listen,), spec.upstream)})


def _port(proxy: ProxySpec) -> object:
    """What no two proxies of one configuration may share; port 0 is shared by any number."""
    return proxy.name if proxy.listen.port == 0 else str(proxy.listen.port)


def layouts() -> st.SearchStrategy[object]:
    return st.sampled_from(TOPOLOGIES).filter(lambda word: word != "isolate").map(Layout) | st.builds(
        Layout, st.sampled_from(NAMES_A_NODE), NAMES
    )


def partitions() -> st.SearchStrategy[PartitionSpec]:
    """What is right by itself; whether its nodes exist is another matter."""
    names = st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple)
    nothing = {"from_nodes": (), "to_nodes": (), "one_way": False, "groups": (), "topology": None, "nodes": ()}
    two_or_more = st.lists(NAMES, min_size=2, max_size=4, unique=True).map(lambda names: tuple((one,) for one in names))
    forms = (
        {"from_nodes": names, "to_nodes": names, "one_way": st.booleans()},
        {"groups": two_or_more},
        {"topology": layouts(), "nodes": st.just(()) | names},
    )
    steady = {"preset": st.sampled_from([None, "bad-switch"]), "down": st.just(5.0), "up": st.just(10.0)}
    return st.one_of(*(
        structs(PartitionSpec, id=NAMES, **{**{key: st.just(one) for key, one in nothing.items()}, **form, **timing})
        for form in forms
        for timing in (steady, {"preset": st.just("flaky-link")})
    ))  # fmt: skip


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Valid configurations: names are unique, no two proxies share a port, partitions are between nodes there are."""
    some = draw(st.lists(proxies(), max_size=3, unique_by=(lambda p: p.name, _port)).map(tuple))
    parts: tuple[PartitionSpec, ...] = ()
    between = [(proxy.from_node, proxy.to_node) for proxy in some]
    if nodes := [(one, other) for one, other in between if one and other and one != other]:
        one, other = draw(st.sampled_from(nodes))
        ends = {"from_nodes": st.just((one,)), "to_nodes": st.just((other,)), "ttl": st.none() | values(Duration(True))}
        rest = {"mode": st.sampled_from(["auto", "stream"]), "one_way": st.booleans(), "acks": st.just("drop")}
        specs = st.builds(PartitionSpec, id=NAMES, **ends, **rest)
        parts = tuple(draw(st.lists(specs, max_size=2, unique_by=lambda spec: spec.id)))
    fixed = {"proxies": st.just(some), "partitions": st.just(parts)}
    control = structs(ControlSpec).filter(lambda spec: all(spec.listen.port != one.listen.port for one in some))
    return draw(structs(Config, control=control, policy=structs(PolicySpec), **fixed))
