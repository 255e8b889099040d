"""Whole configurations, proxies and faults from plain data: the one path of YAML and REST."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from chaosproxy.declare import Problems
from chaosproxy.model import (
    Config,
    ControlLimits,
    FaultSpec,
    PartitionSpec,
    ProxySpec,
    read_config,
    read_fault,
    read_partition,
    read_proxy,
    write_config,
    write_fault,
    write_partition,
    write_proxy,
)
from chaosproxy.model.hosts import HostPattern
from chaosproxy.model.names import LONGEST_NODE, read_name
from chaosproxy.model.types import FAULT_TYPES
from tests.config.strategies import configs, fault_specs, partitions, proxies
from tests.refused import code_of, places

ENDS = {"listen": "127.0.0.1:0", "upstream": "db:5432"}


@settings(deadline=None)
@given(fault_specs())
def test_a_fault_survives_writing(spec: FaultSpec) -> None:
    problems = Problems()
    assert read_fault(write_fault(spec), spec.name, problems, (), "http") == spec
    assert len(problems) == 0


@settings(deadline=None)
@given(partitions())
def test_a_partition_survives_writing(spec: PartitionSpec) -> None:
    problems = Problems()
    assert read_partition(write_partition(spec), spec.id, problems) == spec
    assert len(problems) == 0


@settings(deadline=None)
@given(proxies())
def test_a_proxy_survives_writing(spec: ProxySpec) -> None:
    problems = Problems()
    assert read_proxy(write_proxy(spec), spec.name, problems) == spec
    assert len(problems) == 0


@pytest.mark.slow
@settings(deadline=None)
@given(configs())
def test_a_configuration_survives_writing(config: Config) -> None:
    problems = Problems()
    assert read_config(write_config(config), problems) == config
    assert len(problems) == 0


@pytest.mark.parametrize("name", ["", ".", "..", " ", " a", "a ", "a\nb", "a\0", "\x1b[31m", "x" * 201, "\ud800"])
def test_a_bad_name_is_refused(name: str) -> None:
    problems = Problems()
    assert read_proxy(ENDS, name, problems) is None
    assert read_fault({"type": "blackhole"}, name, problems, ("faults", name)) is None
    proxy, fault = problems
    assert (proxy.path, fault.path) == (("name",), ("faults", name))
    assert {proxy.code, fault.code} <= {"empty", "too-large", "invalid-name"}


@pytest.mark.parametrize("name", ["a", "slow answers", "db/primary", "ключ", "x" * 200, "${A}", "8080", "null"])
def test_a_good_name_is_kept(name: str) -> None:
    spec = read_proxy(ENDS, name, Problems())
    assert spec is not None
    assert spec.name == name


def test_a_crashed_node_of_the_longest_name_has_a_fault_with_a_good_name() -> None:
    spec = read_proxy(ENDS | {"from": "n" * LONGEST_NODE, "to": "db"}, "p", Problems())
    assert spec is not None and spec.from_node is not None
    problems = Problems()
    read_name(f"crash:{spec.from_node}", problems, ())
    assert not list(problems)
    assert read_proxy(ENDS | {"from": "n" * (LONGEST_NODE + 1), "to": "db"}, "p", problems) is None
    assert places(problems) == ["from too-large"]


def test_faults_keep_their_order() -> None:
    faults = {name: {"type": "latency", "delay": "1s"} for name in ("z", "a", "m")}
    spec = read_proxy(ENDS | {"faults": faults}, "p", Problems())
    assert spec is not None
    assert [fault.name for fault in spec.faults] == ["z", "a", "m"]


def test_an_http_fault_is_explained_by_the_protocol() -> None:
    problems = Problems()
    read_proxy(ENDS | {"faults": {"f": {"type": "http_abort"}}}, "p", problems)
    read_proxy(ENDS | {"protocol": "http", "faults": {"f": {"type": "http_nothing"}}}, "p", problems)
    assert places(problems) == ["faults.f.type not-applicable", "faults.f.type unknown-fault-type"]


def test_both_the_settings_and_the_placement_are_checked() -> None:
    problems = Problems()
    read_fault({"type": "latency", "delay": 1, "direction": "up", "color": "red"}, "f", problems)
    assert {problem.field for problem in problems} == {"delay", "direction", "color"}


def test_every_fault_type_says_what_it_is() -> None:
    for name, fault in FAULT_TYPES.items():
        assert fault.type == name
        assert fault.summary
        assert fault.models


@pytest.mark.parametrize(
    "text",
    ["db", "db.internal", "*.staging.internal", "db-?", "10.0.0.1", "10.0.0.0/8", "10.0.0.1/8", "::1", "fe80::/10",
     "127.0.0.1:5432", "db:*", "*:80", "[::1]:80", "[::1]", "unix:/run/*.sock", "10.0.0.0/8:5432", "10.0.0.0/8:*"],
)  # fmt: skip
def test_a_host_pattern(text: str) -> None:
    assert HostPattern().read(text) == text


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "10.0.0.0/33", "10.0.0.0/33:80", "10.0.0.0/8:0", "a/b", "a/b:80", "db:0", "db:70000", "db:x",
     "unix:", 5, "a" * 300],
)  # fmt: skip
def test_what_names_no_hosts(text: object) -> None:
    assert code_of(HostPattern().read, text) == "malformed"


def test_the_most_connections() -> None:
    problems = Problems()
    config = read_config({"version": 1, "max_connections": 5000}, problems)
    assert config is not None and config.max_connections == 5000
    assert Config().max_connections is None
    for wrong in (0, -1, "5", 1.5, True):
        assert read_config({"version": 1, "max_connections": wrong}, problems) is None
    assert [(one.path, one.code) for one in problems] == [
        (("max_connections",), code) for code in ("out-of-range", "out-of-range", *["wrong-type"] * 3)
    ]


def test_the_limits_of_the_control_api_are_read() -> None:
    problems = Problems()
    limits = {"connections": 3, "connections_per_address": 2, "head_timeout": "1s", "idle_timeout": "2m"}
    config = read_config({"version": 1, "control": {"limits": limits}}, problems)
    assert config is not None
    assert config.control.limits == ControlLimits(
        connections=3, connections_per_address=2, head_timeout=1.0, idle_timeout=120.0
    )
    wrong = {"connections": 0, "body_timeout": "0s", "send_timeout": 5, "sendtimeout": "5s"}
    assert read_config({"version": 1, "control": {"limits": wrong}}, problems) is None
    assert [(problem.path[-1], problem.code) for problem in problems] == [
        ("connections", "out-of-range"), ("body_timeout", "out-of-range"), ("send_timeout", "unit-missing"),
        ("sendtimeout", "unknown-key"),
    ]  # fmt: skip
