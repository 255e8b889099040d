"""A body fits its schema exactly if the check does not refuse it with 400; docs/rest.md lists the exceptions.

The bodies mix good and bad values of the declared parameters, so that most of them break a rule or two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.control.v1.faults import check_healed, fault_and_names
from chaosproxy.control.v1.openapi import openapi_document
from chaosproxy.control.v1.parsing import duration_from, merged_proxy, new_fault, new_proxy, partition_from
from chaosproxy.declare import Choice, Duration, Flag, Kind, ListOf, MapOf, Param, Rate, Share, Size, Struct, params_of
from chaosproxy.errors import Conflict, InvalidInput, NotFound
from chaosproxy.model.fault import placing
from chaosproxy.model.partition import PartitionSpec
from chaosproxy.model.placement import Placement
from chaosproxy.model.selection import SELECTORS
from chaosproxy.model.types import FAULT_TYPES

Body = dict[str, object]
OTHERS = [
    0, 1, 204, 503, "a", ["a"], ["a", "b"], "halves", "isolate", "isolate:a", 3.0, 3.5, "/a", "~a+", "GET", "::1", "*",
]  # fmt: skip
ANY = st.sampled_from([None, 0, 1, 2.5, True, "", "x", "1", [], ["a"], {}, {"a": "b"}])
_OF_KIND: dict[type[Kind], list[object]] = {
    Duration: ["0s", "1ms", "-5m", "10s", "1m30s", "9999999999999999h"],
    Size: ["0B", "0.5B", "1B", "4KiB", "10GB", "9999999GB"],
    Rate: ["0B/s", "1B/s", "8Mbit/s"],
    Share: [0, 0.5, 1, 1.1, "0%", "5%", "101%", "1e-5"],
    Flag: [True, False],
}


def values(kind: Kind) -> st.SearchStrategy[object]:
    """Return good values of a kind, and bad ones."""
    match kind:
        case Choice():
            good: st.SearchStrategy[object] = st.sampled_from(kind.words)
        case Struct():
            good = bodies(params_of(kind.of))
        case ListOf():
            good = st.lists(values(kind.item), max_size=3)
        case MapOf():
            good = st.dictionaries(st.sampled_from(["a", "Te", "a b", ""]), values(kind.item), max_size=2)
        case _ if type(kind) in _OF_KIND:
            good = st.sampled_from(_OF_KIND[type(kind)])
        case _:
            good = st.sampled_from(OTHERS)
    return st.one_of(good, good, good, ANY)


@cache
def _bodies(params: tuple[Param, ...]) -> st.SearchStrategy[Body]:
    required = {one.name: values(one.kind) for one in params if one.required}
    optional = {one.name: values(one.kind) for one in params if not one.required}
    most = st.fixed_dictionaries(required, optional=optional)
    kept = st.sets(st.sampled_from([*required, *optional]), max_size=3) if params else st.just(set())
    return st.builds(lambda body, some: {key: body[key] for key in body if key in {*required, *some}}, most, kept)


def bodies(params: Iterable[Param]) -> st.SearchStrategy[Body]:
    """Return bodies with some of these parameters."""
    return _bodies(tuple(params))


def faults(kind: str) -> st.SearchStrategy[Body]:
    of = FAULT_TYPES[kind]
    match = {"match": st.sampled_from([{"sni": "a"}, {"sni": ""}, {"sni": "a", "path": "/"}, {"status": 1}, None])}
    return st.builds(
        lambda body, more: {**body, **more, "type": kind},
        bodies((*params_of(of), *placing(of), *params_of(Placement))),
        st.just({}) | st.fixed_dictionaries({}, optional=match),
    )  # fmt: skip


FAULTS = st.sampled_from(list(FAULT_TYPES)).flatmap(faults)
TEXTS = st.sampled_from(["", "a", None, ["a"], [], 5])
LIMITS = st.fixed_dictionaries(
    {}, optional={name: TEXTS for name in ("proxy", "fault", "partition", "unknown", *SELECTORS)}
)
SCHEMAS = openapi_document()["components"]


@cache
def validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": SCHEMAS})


def agrees(schema: str, body: Body, check: Callable[[Body], object]) -> None:
    try:
        check(body)
        refused = ""
    except (Conflict, NotFound):
        refused = ""
    except InvalidInput as error:
        refused = str(error)
    assert validator(schema).is_valid(body) == (not refused), refused


@settings(max_examples=300, deadline=None)
@given(FAULTS)
def test_a_fault(body: Body) -> None:
    agrees("Fault", body, lambda body: new_fault(body, (), "http"))


CUTS = st.sampled_from([
    {}, {"from": "a", "to": "b"}, {"groups": ["a", "b"]}, {"topology": "halves"}, {"preset": "flaky-link", "from": "a"},
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.builds(lambda cut, more: {**cut, **more}, CUTS, bodies(params_of(PartitionSpec))))
def test_a_partition(body: Body) -> None:
    agrees("PartitionRequest", body, lambda body: partition_from(body, "free", ()))


SELECTIONS = st.fixed_dictionaries({}, optional=dict.fromkeys(SELECTORS, TEXTS))


@settings(max_examples=150, deadline=None)
@given(st.builds(lambda fault, selection: {**fault, **selection}, FAULTS, SELECTIONS))
def test_a_fault_on_several_proxies(body: Body) -> None:
    agrees("FaultsRequest", body, lambda body: fault_and_names(body, ()))


@settings(max_examples=150, deadline=None)
@given(LIMITS)
def test_a_heal(body: Body) -> None:
    agrees("HealRequest", body, check_healed)


@given(st.dictionaries(st.sampled_from(["down", "up"]), values(Duration()), max_size=2))
def test_a_crash(body: Body) -> None:
    agrees("CrashRequest", body, lambda body: duration_from(body, "down"))


def mostly(*common: object) -> st.SearchStrategy[object]:
    return st.one_of(st.sampled_from(common), st.sampled_from(common), ANY)


NAMED = st.builds(lambda fault, name: {**fault, "name": name}, FAULTS, st.sampled_from(["a", "b", "", "x\n"]))
LISTED = st.lists(FAULTS | NAMED, max_size=2)
LISTEN_TLS = st.fixed_dictionaries({}, optional={
    "cert": mostly("c"), "key": mostly("k"), "client_ca": mostly("c"), "require_client_cert": mostly(True, False),
    "alpn": mostly(["h2"], ["http/1.1"], ["é"]), "more": ANY,
})  # fmt: skip
UPSTREAM_TLS = st.fixed_dictionaries({}, optional={
    "cert": mostly("c"), "key": mostly("k"), "verify": mostly(True, False), "server_name": mostly("a.b", "::1", "-a"),
})  # fmt: skip
PROXY = {
    "protocol": mostly("http", "http", "tcp"),
    "ipv6only": mostly(True, False),
    "listen_tls": mostly({"cert": "c", "key": "k"}) | LISTEN_TLS,
    "upstream_tls": UPSTREAM_TLS,
    "faults": LISTED | st.dictionaries(st.sampled_from(["a", "b", ""]), FAULTS, max_size=2),
    "strict": mostly(True, False),
    "routes": mostly(["/a"], ["/a", "/a"], ["/{b}/{b}"]),
    "head_limit": mostly("64KiB", "1KiB", "1B"),
    "caller_faults": mostly({}, {"headers": None}, {"max_delay": "1s"}),
    "name": mostly("p", "p", "\u200b"),
    "from": mostly("a"),
    "connections": st.just(3),
    "more": ANY,
}
LISTEN = mostly("127.0.0.1:0", "[::1]:1", "unix:/a", "a:0", "a:99999")
UPSTREAM = mostly("b:1", "unix:/b", "[::1]:1", "b:0")


def few(kept: Iterable[str], body: Body) -> Body:
    """Return the body with some of its keys alone, so that it is often valid."""
    return {key: value for key, value in body.items() if key in kept}


KEPT = st.sets(st.sampled_from(list(PROXY)), max_size=4)
GOOD = st.builds(
    lambda kept, rest, listen, upstream: few({"name", *kept}, rest) | {"listen": listen, "upstream": upstream},
    KEPT, st.fixed_dictionaries(PROXY), LISTEN, UPSTREAM,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(GOOD)
def test_a_proxy(body: Body) -> None:
    agrees("Proxy", body, new_proxy)


PRESENT = st.sampled_from([
    {}, {"protocol": "http", "strict": True, "faults": {"a": {"type": "http_reset"}}},
    {"listen_tls": {"cert": "c", "key": "k"}, "faults": {"a": {"type": "tls_handshake", "how": "stall"}}},
])  # fmt: skip
PARTS = st.builds(few, st.sets(st.sampled_from(["delay", "rate", "type", "for", "every", "ttl", "jump"])), FAULTS)
PATCH = {
    **PROXY, "listen": LISTEN, "upstream": UPSTREAM, "name": st.just("p"),
    "faults": LISTED | st.dictionaries(st.sampled_from(["a", "b", "x\n"]), PARTS | st.none() | FAULTS, max_size=2),
}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(PRESENT, st.builds(few, st.sets(st.sampled_from(list(PATCH)), max_size=4), st.fixed_dictionaries(PATCH)))
def test_a_patch_of_a_proxy(present: Body, patch: Body) -> None:
    spec = new_proxy({"name": "p", "listen": "127.0.0.1:5", "upstream": "a:1", **present})
    agrees("ProxyPatch", patch, lambda patch: merged_proxy(spec, spec.listen, patch))


CHANGES = st.dictionaries(st.sampled_from(["a", "b", "a", "x\n"]), PARTS | st.none() | FAULTS, max_size=2)


@settings(max_examples=150, deadline=None)
@given(PRESENT, CHANGES, st.sampled_from([{}, {"protocol": "tcp"}]))
def test_a_patch_of_faults(present: Body, faults: Body, rest: Body) -> None:
    spec = new_proxy({"name": "p", "listen": "127.0.0.1:5", "upstream": "a:1", **present})
    agrees("ProxyPatch", {**rest, "faults": faults}, lambda patch: merged_proxy(spec, spec.listen, patch))
