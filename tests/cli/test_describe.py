"""`faults` and `schema` say what the declarations say."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner, Result

from chaosproxy.cli import main
from chaosproxy.model.types import FAULT_TYPES
from tests.refused import refused


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_faults_lists_every_type_with_what_it_does() -> None:
    result = run("faults")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()[1:]}
    assert list(rows) == list(FAULT_TYPES)
    assert all(FAULT_TYPES[name].summary in line for name, line in rows.items())


@pytest.mark.parametrize("name", FAULT_TYPES)
def test_a_type_is_explained_with_parameters_and_example(name: str) -> None:
    result = run("faults", name)
    assert result.exit_code == 0
    assert FAULT_TYPES[name].example in result.stdout
    explained = json.loads(run("faults", name, "--json").stdout)
    assert {parameter["parameter"].partition(".")[0] for parameter in explained["parameters"]} == set(
        explained["schema"]["properties"]
    )
    assert yaml.safe_load(explained["example"])["type"] == name
    placement = {parameter["parameter"] for parameter in explained["placement"]}
    assert {"direction", "ttl"} <= placement
    assert ("probability" in placement) is not FAULT_TYPES[name].at_listener
    assert all(line["default"] == "-" for line in explained["placement"] if line["parameter"].startswith("match."))


def test_units_ranges_and_nested_parameters_are_shown() -> None:
    shown = {line["parameter"]: line for line in json.loads(run("faults", "latency", "--json").stdout)["parameters"]}
    assert shown["delay"]["default"] == "required"
    assert "ms" in shown["delay"]["allowed"]
    assert shown["jitter"]["default"] == "0s"
    assert shown["correlation"]["allowed"] == "0 to 1, or 0% to 100%"
    assert "square" in shown["wave.shape"]["allowed"]


def test_a_fault_on_messages_is_explained_with_what_it_matches() -> None:
    explained = json.loads(run("faults", "http_abort", "--json").stdout)
    placement = {line["parameter"]: line for line in explained["placement"]}
    assert {"match.method", "match.path", "match.headers", "match.status", "direction"} <= placement.keys()
    of_latency = json.loads(run("faults", "latency", "--json").stdout)["placement"]
    assert "match.path" not in {line["parameter"] for line in of_latency}
    shown = {line["parameter"]: line for line in explained["parameters"]}
    assert (shown["status"]["default"], shown["status"]["allowed"]) == ("503", "200 to 599")
    assert shown["retry_after"]["allowed"] == "ns us ms s m h"


def test_an_unknown_type_is_told_the_nearest_and_all() -> None:
    result = run("faults", "latncy")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'latency'?" in result.stderr
    assert "blackhole" in result.stderr
    assert refused(run("faults", "latncy", "--json")) == ["unknown-fault-type"]


def test_faults_as_json_is_the_whole_table() -> None:
    assert [fault["type"] for fault in json.loads(run("faults", "--json").stdout)] == list(FAULT_TYPES)


def test_schema_is_json_schema_of_the_file() -> None:
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"].endswith("2020-12/schema")
    assert "proxies" in schema["properties"]
