"""The JSON Schema accepts what the reader accepts, and helps with what it refuses."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from chaosproxy.config import ConfigError, config_schema, dump, load
from chaosproxy.faults.base import Fault
from chaosproxy.model import Config
from chaosproxy.model.types import FAULT_TYPES
from tests.config.plain import plain
from tests.config.strategies import configs

SCHEMA = config_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def with_fault(fault: str) -> str:
    rest = "protocol: http, listen_tls: {cert: a.pem, key: a.key}"
    return f"version: 1\nproxies: {{p: {{listen: 'a:0', upstream: 'a:1', {rest}, faults: {{f: {fault}}}}}}}"


def fits(text: str) -> bool:
    data: Any = plain(text)
    return VALIDATOR.is_valid(data)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("of", FAULT_TYPES.values(), ids=FAULT_TYPES)
def test_every_example_fits_and_loads(of: type[Fault]) -> None:
    text = with_fault(of.example)
    assert fits(text)
    (proxy,) = load(text.encode(), "f.yaml", {}).proxies
    assert proxy.faults[0].type == of.type


@pytest.mark.parametrize("of", FAULT_TYPES.values(), ids=FAULT_TYPES)
def test_every_fault_type_takes_a_placement_and_no_unknown_key(of: type[Fault]) -> None:
    active: dict[str, object] = {"direction": "both", "ttl": "1m30s"}
    selects = {"probability": "5%", "skip": 1, "count": 2, "nth": 3}
    if of.at_listener:
        assert not fits(with_fault(json.dumps(plain(of.example) | selects)))
    else:
        active |= selects
    fault = plain(of.example) | active
    assert fits(with_fault(json.dumps(fault)))
    load(with_fault(json.dumps(fault)).encode(), "f.yaml", {})
    assert not fits(with_fault(json.dumps(fault | {"nonsense": 1})))


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs())
def test_whatever_is_dumped_fits(config: Config) -> None:
    VALIDATOR.validate(plain(dump(config)))


@pytest.mark.parametrize(
    "text",
    [
        "{version: 1, seed: '${SEED}'}",
        "{version: 1, seed: '${SEED:-1}', control: {listen: '${HOST}:${PORT:?which}', token: '${T:-}'}}",
        with_fault("{type: latency, delay: '${DELAY}', distribution: '${D:-normal}', probability: '${P}'}"),
        with_fault("{type: bandwidth, rate: 8Mbit/s, shared: '${SHARED}'}"),
        "{version: 1, proxies: {p: {listen: 'a:1', upstream: 'a:1', enabled: '${ON:-true}'}}}",
    ],
)
def test_a_reference_may_stand_where_a_value_does(text: str) -> None:
    VALIDATOR.validate(plain(text))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{version: 2}",
        "{version: 1, scenarios: {}}",
        "{version: 1, seed: x}",
        "{version: 1, proxies: {p: {listen: 'a:1'}}}",
        "{version: 1, proxies: {'': {listen: 'a:1', upstream: 'a:1'}}}",
        with_fault("{delay: 1s}"),
        with_fault("{type: nothing}"),
        with_fault("{type: latency}"),
        with_fault("{type: latency, delay: 100}"),
        with_fault("{type: latency, delay: 100 days}"),
        with_fault("{type: latency, delay: 1s, distribution: flat}"),
        with_fault("{type: bandwidth, rate: 10MB}"),
        with_fault("{type: stall, probability: 2}"),
        with_fault("{type: stall, match: {}}"),
    ],
)
def test_what_the_reader_refuses_does_not_fit(text: str) -> None:
    assert not fits(text)
    with pytest.raises(ConfigError, match=r"f\.yaml:1:|f\.yaml:2:"):
        load(text.encode(), "f.yaml", {})


def test_every_value_says_what_it_means() -> None:
    def silent(schema: dict[str, Any], where: str) -> list[str]:
        found = []
        for name, one in schema.get("properties", {}).items():
            if "description" not in one:
                found.append(f"{where}.{name}")
            found += silent(one, f"{where}.{name}")
        return found

    parts = [("", SCHEMA), *SCHEMA["$defs"].items()]
    assert [place for name, part in parts for place in silent(part, name) if not place.startswith("fault.type")] == []
