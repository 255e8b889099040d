"""Config to YAML and back is the identity."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from chaosproxy.config import dump, load
from chaosproxy.faults.base import Fault
from chaosproxy.model import Address, Config, ControlSpec, FaultSpec, ProxySpec
from chaosproxy.model.tls import ListenTls
from chaosproxy.model.types import FAULT_TYPES
from tests.config.strategies import along, configs, faults

LISTEN, UPSTREAM = Address("127.0.0.1", 0), Address("db", 5432)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs())
def test_model_to_yaml_to_model_is_the_identity(config: Config) -> None:
    assert load(dump(config).encode(), "dumped.yaml", {}) == config


@pytest.mark.parametrize("of", FAULT_TYPES.values(), ids=str)
def test_every_fault_type_survives_the_way_through_yaml(of: type[Fault]) -> None:
    @settings(max_examples=25, deadline=None)
    @given(faults(of))
    def survives(fault: Fault) -> None:
        spec = along(FaultSpec(name="f", settings=fault))
        tls = ListenTls(cert="p.pem", key="p.key")
        proxy = ProxySpec(
            name="p", protocol="http", listen=LISTEN, upstream=UPSTREAM, listen_tls=tls, faults=(spec,)
        )
        config = Config(proxies=(proxy,))
        assert load(dump(config).encode(), "dumped.yaml", {}) == config

    survives()


def test_a_default_is_left_out() -> None:
    assert dump(Config()) == "version: 1\n"


def test_a_dollar_is_doubled_so_that_it_is_no_reference() -> None:
    config = Config(control=ControlSpec(token="${HOME}"))
    assert "token: $${HOME}" in dump(config)
    assert load(dump(config).encode(), "f.yaml", {"HOME": "/root"}) == config


def test_text_that_looks_like_a_number_is_quoted() -> None:
    assert "token: '1e5'" in dump(Config(control=ControlSpec(token="1e5")))


def test_a_proxy_reads_well() -> None:
    fault = FaultSpec(name="slow", settings=FAULT_TYPES["latency"](delay=0.1))  # type: ignore[call-arg]  # Latency
    proxy = ProxySpec(name="db", listen=Address("::1", 15432), upstream=UPSTREAM, faults=(fault,))
    assert dump(Config(seed=42, proxies=(proxy,))) == (
        "version: 1\n"
        "seed: 42\n"
        "proxies:\n"
        "  db:\n"
        "    listen: '[::1]:15432'\n"
        "    upstream: db:5432\n"
        "    faults:\n"
        "      slow:\n"
        "        type: latency\n"
        "        delay: 100ms\n"
    )
