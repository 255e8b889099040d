"""Every list that a guest can fill has a bound, also in its JSON Schema, and hostile input is read in linear time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from chaosproxy.config import load
from chaosproxy.config.load import ConfigError
from chaosproxy.config.schema import config_schema
from chaosproxy.control.v1.openapi import openapi_document
from chaosproxy.control.v1.parsing import new_proxy, partition_from
from chaosproxy.declare import nearest
from chaosproxy.errors import MOST_PROBLEMS, InvalidInput, NotFound, listed
from chaosproxy.model.partition import check_nodes, cut_by, written
from chaosproxy.model.proxy import MOST_FAULTS
from chaosproxy.model.selection import Selection, selected_names
from chaosproxy.model.topology import MOST_IN_RING, MOST_PAIRS, cut_of
from chaosproxy.seed import Seed
from tests.cpu import cpu_time
from tests.net.building import fault, proxy
from tests.refused import code_of

SLOW = {"type": "latency", "delay": "1ms"}
SMALL = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
HTTP = {**SMALL, "protocol": "http"}
NODES = [f"n{number}" for number in range(1_000)]

Read = Callable[[dict[str, object]], object]


def read_cut(body: dict[str, object]) -> object:
    return partition_from(body, "cut", NODES)


def plan_cut(body: dict[str, object]) -> object:
    return cut_by(partition_from(body, "cut", NODES), NODES, Seed(0))


def read_fault_on(body: dict[str, object]) -> object:
    return fault("f", **body)


def match(kind: str, **keys: object) -> dict[str, object]:
    return {"type": kind, "match": keys}


BOUNDED: list[tuple[Read, str, int, Callable[[int], dict[str, object]], str]] = [
    (new_proxy, "Proxy", MOST_FAULTS, lambda n: {**SMALL, "faults": [SLOW] * n}, "faults"),
    (new_proxy, "Proxy", MOST_FAULTS, lambda n: {**SMALL, "faults": {f"f{at}": SLOW for at in range(n)}}, "faults"),
    (new_proxy, "Proxy", 500, lambda n: {**HTTP, "routes": [f"/{at}" for at in range(n)]}, "routes"),
    (new_proxy, "Proxy", 100, lambda n: {**SMALL, "upstream_tls": {"alpn": ["h2"] * n}}, "upstream_tls.alpn"),
    (read_fault_on, "Fault", 100, lambda n: {"type": "http_headers", "remove": ["etag"] * n}, "remove"),
    (read_fault_on, "Fault", 100, lambda n: {"type": "http_headers", "set": {f"x-{at}": "" for at in range(n)}}, "set"),
    (read_fault_on, "Fault", 100, lambda n: match("http_abort", method=["GET"] * n), "match.method"),
    (read_fault_on, "Fault", 100, lambda n: match("http_abort", client=["10.0.0.1"] * n), "match.client"),
    (read_fault_on, "Fault", 100, lambda n: match("http_drop_response", status=[500] * n), "match.status"),
    (read_cut, "PartitionRequest", 1_000, lambda n: {"from": NODES[:1] * n, "to": "n1", "one_way": True}, "from"),
    (
        read_cut, "PartitionRequest", 100,
        lambda n: {"groups": [[name] for name in NODES[:n]]},
        "groups",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("read", "schema", "most", "body", "field"), BOUNDED, ids=[row[-1] for row in BOUNDED])
def test_a_list_has_a_bound_that_its_schema_has_too(
    read: Read, schema: str, most: int, body: Callable[[int], dict[str, object]], field: str
) -> None:
    if "alpn" not in field:  # upstream_tls has no such list, which the reader says first
        read(body(most))
    with pytest.raises(InvalidInput) as caught:
        read(body(most + 1))
    codes = {one.field: one.code for one in caught.value.problems}
    assert codes.get(field) in ("too-large", "unknown-key")
    document = openapi_document()
    reference = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    validator = jsonschema.Draft202012Validator(reference)
    assert not validator.is_valid({**body(most + 1)})
    if "alpn" not in field:
        assert validator.is_valid({**body(most)})


def arrays(schema: Any, where: str = "") -> list[str]:  # Any: JSON
    """Return the place of each array without a bound."""
    if isinstance(schema, list):
        return [place for at, one in enumerate(schema) for place in arrays(one, f"{where}[{at}]")]
    if not isinstance(schema, dict):
        return []
    found = [where] if schema.get("type") == "array" and "maxItems" not in schema else []
    return found + [place for key, one in schema.items() for place in arrays(one, f"{where}.{key}")]


def test_every_array_of_the_configuration_has_a_bound() -> None:
    assert arrays(config_schema()) == []


def test_a_file_has_the_same_bounds() -> None:
    faults = "".join(f"      f{at}: {{type: stall}}\n" for at in range(MOST_FAULTS + 1))
    text = f"version: 1\nproxies:\n  p:\n    listen: 127.0.0.1:0\n    upstream: 127.0.0.1:9\n    faults:\n{faults}"
    with pytest.raises(ConfigError) as caught:
        load(text.encode(), "file", {})
    assert [(one.field, one.code) for one in caught.value.located] == [("proxies.p.faults", "too-large")]


def test_the_first_problems_are_listed_and_the_others_counted() -> None:
    with pytest.raises(InvalidInput) as caught:
        new_proxy({**SMALL, **dict.fromkeys(NODES, 1)})
    *first, last = caught.value.problems
    assert len(first) == MOST_PROBLEMS
    assert (last.code, last.message.split()[0]) == ("more-problems", str(len(NODES) - MOST_PROBLEMS))
    assert len(str(caught.value)) < 20_000


def test_a_fault_without_a_name_gets_the_first_that_is_free_in_one_pass() -> None:
    spec = new_proxy({**SMALL, "faults": [SLOW, {**SLOW, "name": "latency-2"}, SLOW, {"type": "stall"}, SLOW]})
    assert [one.name for one in spec.faults] == ["latency-1", "latency-2", "latency-3", "stall-1", "latency-4"]


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (new_proxy, {**SMALL, "faults": [{}] * 9_000}),
        (new_proxy, {**SMALL, "faults": [{}] * MOST_FAULTS}),
        (new_proxy, {**SMALL, "faults": [{"type": "latencie"}] * MOST_FAULTS}),
        (new_proxy, {**HTTP, "routes": ["no"] * 500}),
        (read_cut, {"preset": "no", "from": [f"m{at}" for at in range(1_000)], "to": "n1"}),
        (read_cut, {"preset": "no", "groups": [NODES, [f"m{at}" for at in range(1_000)]]}),
        (plan_cut, {"groups": [NODES, NODES]}),
        (read_cut, {"preset": "no", "groups": [[f"m{at}"] for at in range(100)]}),
    ],
)
def test_hostile_input_is_refused_soon(read: Read, body: dict[str, object]) -> None:
    with cpu_time() as used, pytest.raises(InvalidInput) as caught:
        read(body)
    assert used.seconds < 0.5, "before there was a bound, these took 1 s and more"
    assert len(caught.value.problems) <= 5 * (MOST_PROBLEMS + 1)


def test_a_partition_cuts_a_bounded_number_of_pairs() -> None:
    def refused(**body: object) -> dict[str, str]:
        spec = partition_from({"allow_empty": True, **body}, "cut", NODES)
        return {one.field: one.code for one in check_nodes(spec, NODES)}

    for topology in ("halves", "random-halves", "bridge", "one-way-ring"):
        assert refused(topology=topology) == {"": "too-large"}
    assert refused(topology="majorities-ring") == {"topology": "too-large"}
    assert refused(topology="majorities-ring", nodes=NODES[: MOST_IN_RING + 1]) == {"nodes": "too-large"}
    assert refused(groups=[NODES[:500], NODES[500:]]) == {"": "too-large"}
    assert refused(**{"from": NODES[:500], "to": NODES[500:]}) == {"": "too-large"}


def test_a_message_has_the_first_pairs_of_a_cut() -> None:
    cut = cut_of("isolate", NODES, Seed(1).at("test"), "n0")
    assert len(cut) < MOST_PAIRS
    line = written(cut)
    assert (line.split(" ")[0], line.split(" ", 20)[-1]) == ("n0<>n1", "and 979 more")


def test_an_unknown_name_of_a_topology_does_not_repeat_all_nodes() -> None:
    assert code_of(cut_of, "isolate", NODES, Seed(1).at("test"), "m1") == "unknown-value"
    assert listed(NODES) == f"{', '.join(NODES[:20])}, …"
    assert listed(NODES[:20]) == ", ".join(NODES[:20])


@pytest.mark.parametrize(
    ("given", "found"),
    [("n7777", "n777"), ("N12", "n12"), ("m123", "n123"), ("n021", "n21"), ("zzzzz", None)],
)
def test_among_many_names_one_that_differs_in_a_letter_is_suggested(given: str, found: str | None) -> None:
    with cpu_time() as used:
        hint = nearest(given, NODES)
    assert hint == ("" if found is None else f" (did you mean {found!r}?)")
    assert used.seconds < 0.02, "the full comparison took this long for 1000 names, and grew with their number"


def test_selecting_by_many_names_takes_linear_time() -> None:
    specs = [proxy(f"proxy-{at}", upstream="127.0.0.1:9") for at in range(2_000)]
    with cpu_time() as used:
        found = selected_names(Selection(proxies=("*",) * 100_000), specs)
        with pytest.raises(NotFound) as caught:
            selected_names(Selection(proxies=tuple(f"prxy-{at}" for at in range(100))), specs)
    assert len(found) == 2_000
    assert [one.field for one in caught.value.problems][:2] == ["proxies.0", "proxies.1"]
    assert len(caught.value.problems) == MOST_PROBLEMS + 1
    assert used.seconds < 0.5
