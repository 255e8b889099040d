"""The desired state of the whole configuration.

A Config is a frozen value. `read_config` reads the parts in the order in which they depend on each other:
the proxies, then the partitions between their nodes, then all other keys. It notes the problems of every
part, so that one run shows all of them. Partitions are checked against the proxies only as far as these are
right. Lists that hostile input can fill have a bound, which is checked before their items are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaosproxy.declare import ListOf, Problems, Size, Struct, Whole, param, read_struct, write_struct
from chaosproxy.errors import Path, shown
from chaosproxy.model.address import Address, ListenAddress
from chaosproxy.model.control import ControlSpec
from chaosproxy.model.hosts import HostPattern
from chaosproxy.model.partition import (
    PartitionSpec,
    check_effect,
    check_nodes,
    cut_by,
    is_drawn,
    nodes_of,
    read_partition,
    unknown_nodes,
    write_partition,
)
from chaosproxy.model.places import Places
from chaosproxy.model.proxy import ProxySpec, read_proxy, write_proxy
from chaosproxy.seed import Seed

__all__ = [
    "MOST_PARTITIONS", "MOST_PROXIES", "VERSION", "Config", "ControlSpec", "PolicySpec", "check_version", "read_config",
    "write_config",
]  # fmt: skip

VERSION = 1
"""The only version of the file format."""
MOST_PROXIES = 10_000
MOST_PARTITIONS = 100
_CONTROL = ""
"""Stands for the control API among the names of proxies, none of which is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """Addresses that the control API may use."""

    upstreams: tuple[str, ...] | None = param(
        ListOf(HostPattern(), 1_000),
        "hosts, CIDRs, globs or host:port allowed as an upstream",
        default=None,
        example="[127.0.0.0/8]",
    )
    listen: tuple[str, ...] = param(
        ListOf(HostPattern(port=False), 1_000),
        "hosts allowed to listen on",
        default=("127.0.0.1", "::1", "localhost"),
        example="[127.0.0.1]",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The content of a configuration file."""

    seed: int | None = param(Whole(), "the same seed makes the same decisions", default=None, example="42")
    control: ControlSpec = param(Struct(ControlSpec), "the control API", default=ControlSpec())
    policy: PolicySpec = param(Struct(PolicySpec), "limits of the control API", default=PolicySpec())
    max_held: int = param(
        Size(minimum=2**20), "bytes that faults may hold in the whole process", default=2**30, example="1GiB"
    )
    max_connections: int | None = param(
        Whole(minimum=1),
        "most connections on all proxies together; without it, as many as there are descriptors for",
        default=None,
        example="5000",
    )
    proxies: tuple[ProxySpec, ...] = ()
    partitions: tuple[PartitionSpec, ...] = ()


def read_config(data: object, problems: Problems) -> Config | None:
    """Read a configuration from plain data; if it is wrong, note all problems and return None."""
    before = len(problems)
    if not isinstance(data, Mapping):
        message = f"{shown(data)} is not a mapping; use at least version: {VERSION} and proxies"
        problems.add((), "wrong-type", message)
        return None
    check_version(data, problems)
    before_proxies = len(problems)
    proxies = _read_proxies(data.get("proxies"), data.get("control"), problems, ("proxies",))
    proxies_are_right = len(problems) == before_proxies
    nodes = nodes_of(proxies) if proxies_are_right else _nodes_in(data.get("proxies"))
    partitions = _read_partitions(data.get("partitions"), nodes, problems, ("partitions",))
    own = ("version", "proxies", "partitions")
    rest = {key: value for key, value in data.items() if key not in own}
    config = read_struct(Config, rest, problems, (), also_known=own, proxies=proxies, partitions=partitions)
    if nodes is not None:
        seed = config.seed if config else None
        _check_partitions(partitions, nodes, proxies if proxies_are_right else None, seed, problems, ("partitions",))
    return config if len(problems) == before else None


def check_version(data: Mapping[str, object], problems: Problems) -> None:
    """Note a problem if a file is not of the version that this program reads."""
    if "version" not in data:
        problems.add(("version",), "missing", f"is missing; add version: {VERSION}")
    elif type(data["version"]) is not int or data["version"] != VERSION:
        message = f"{shown(data['version'])} is not a version that this program reads; use {VERSION}"
        problems.add(("version",), "unsupported-version", message)


def write_config(config: Config) -> dict[str, Any]:
    """Return the plain data that `read_config` reads back as `config`, without default values. (Any: JSON.)"""
    written = {"version": VERSION, **write_struct(config)}
    if config.proxies:
        written["proxies"] = {proxy.name: write_proxy(proxy) for proxy in config.proxies}
    if config.partitions:
        written["partitions"] = {partition.id: write_partition(partition) for partition in config.partitions}
    return written


def _read_proxies(data: object, control: object, problems: Problems, path: Path) -> tuple[ProxySpec, ...]:
    """Read all proxies; `control` has the address of the control API, which no proxy can listen on."""
    if data is None:
        return ()
    if not isinstance(data, Mapping):
        example = "db: {listen: 127.0.0.1:15432, upstream: 127.0.0.1:5432}"
        problems.add(path, "wrong-type", f"{shown(data)} is not a mapping; use proxies by name, such as {example}")
        return ()
    if len(data) > MOST_PROXIES:
        problems.add(path, "too-large", f"has {len(data)} proxies; use at most {MOST_PROXIES}")
        return ()
    places = Places()
    if (listen := _listen_of(control)) is not None:
        places.take(listen, _CONTROL)
    found = []
    for name, one in data.items():
        proxy = read_proxy(one, name, problems, (*path, name))
        if proxy is not None:
            found.append(proxy)
        listen = _listen_of(one)
        ipv6only = isinstance(one, Mapping) and one.get("ipv6only") is True
        if listen is not None and (holder := places.take(listen, name, ipv6only)) is not None:
            by = "the control API" if holder == _CONTROL else f"the proxy {shown(holder)}"
            message = f"{listen} is already used by {by}; use another port"
            problems.add((*path, name, "listen"), "address-in-use", message)
    return tuple(found)


def _nodes_in(data: object) -> tuple[str, ...] | None:
    """Return the nodes that proxies name which may be wrong otherwise; None if one of them cannot be read."""
    named: list[object] = []
    for proxy in data.values() if isinstance(data, Mapping) else [data]:
        if not isinstance(proxy, Mapping):
            return None
        named += [name for key in ("from", "to") if (name := proxy.get(key)) is not None]
    names = [name for name in named if isinstance(name, str)]
    return tuple(dict.fromkeys(names)) if len(names) == len(named) else None


def _read_partitions(
    data: object, nodes: Sequence[str] | None, problems: Problems, path: Path
) -> tuple[PartitionSpec, ...]:
    """Read all partitions, and note the unknown nodes of those that are wrong; `nodes` are all nodes, if known."""
    if data is None:
        return ()
    if not isinstance(data, Mapping):
        example = "dark: {from: app, to: db-primary}"
        problems.add(path, "wrong-type", f"{shown(data)} is not a mapping; use partitions by name, such as {example}")
        return ()
    if len(data) > MOST_PARTITIONS:
        problems.add(path, "too-large", f"has {len(data)} partitions; use at most {MOST_PARTITIONS}")
        return ()
    found = []
    for id, one in data.items():
        partition = read_partition(one, id, problems, (*path, id))
        if partition is not None:
            found.append(partition)
        elif nodes is not None:
            for problem in unknown_nodes(one, nodes):
                problems.add((*path, id, *problem.path), problem.code, problem.message)
    return tuple(found)


def _check_partitions(
    partitions: Iterable[PartitionSpec],
    nodes: Sequence[str],
    proxies: Sequence[ProxySpec] | None,
    seed: int | None,
    problems: Problems,
    path: Path,
) -> None:
    """Note the problems of partitions whose nodes are unknown, or that cut no proxy.

    `proxies` is None if some are wrong: a partition may cut one of those.
    """
    for partition in partitions:
        wrong = check_nodes(partition, nodes)
        # Without a seed in the file, a random cut is not known until `serve` draws a seed.
        if not wrong and proxies is not None and not (seed is None and is_drawn(partition)):
            wrong = check_effect(partition, cut_by(partition, nodes, Seed(seed or 0)), proxies)
        for problem in wrong:
            problems.add((*path, partition.id, *problem.path), problem.code, problem.message)


def _listen_of(data: object) -> Address | None:
    """Return the listen address of a proxy or of the control API, even if the rest of it is wrong."""
    try:
        return ListenAddress().read(data.get("listen")) if isinstance(data, Mapping) else None
    except ValueError:
        return None
