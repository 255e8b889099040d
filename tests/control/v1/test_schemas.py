"""The schemas of requests refuse what the server refuses, as far as a schema can say it."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.control.v1.openapi import openapi_document
from chaosproxy.declare import Duration, Kind, Problems, Rate, Share, Size
from chaosproxy.errors import BadValue
from chaosproxy.http.match import Client, Status
from chaosproxy.http.patterns import HostGlob, MediaGlob, Method, PathPattern, Wanted
from chaosproxy.http.routes import RouteTemplate
from chaosproxy.model import names
from chaosproxy.model.address import ListenAddress, UpstreamAddress
from chaosproxy.model.names import PATTERN, NodeName
from chaosproxy.text import escaped, is_one_line

DOCUMENT = openapi_document()
PROXY = {"name": "db", "listen": "127.0.0.1:0", "upstream": "db:5432"}
HTTP = {**PROXY, "protocol": "http"}


def fits(body: object, schema: str) -> bool:
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(whole).is_valid(body)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ("PauseRequest", {"for": "1ns"}, {"for": "0ns"}),
        ("CrashRequest", {"down": "0h1ms"}, {"down": "0h0ms"}),
        ("Proxy", {**PROXY, "queue": "4KiB"}, {**PROXY, "queue": "0B"}),
        ("Proxy", {**PROXY, "listen": "[::1]:0"}, {**PROXY, "listen": "::1:0"}),
        ("Proxy", {**PROXY, "upstream": "unix:/run/x"}, {**PROXY, "upstream": "http://db:80"}),
        ("Proxy", {**PROXY, "name": "ü 1"}, {**PROXY, "name": "\x1b[31m"}),
        ("Proxy", {**PROXY, "from": "app"}, {**PROXY, "from": " app"}),
        ("Proxy", {**PROXY, "faults": {"a": {"type": "stall"}}}, {**PROXY, "faults": {"": {"type": "stall"}}}),
        ("Fault", {"type": "stall", "nth": 2**53}, {"type": "stall", "nth": 2**53 + 1}),
        ("Proxy", {**HTTP, "pipeline_limit": 2**53}, {**HTTP, "pipeline_limit": 2**53 + 1}),
        ("NamedFault", {"type": "bandwidth", "rate": "1B/s"}, {"type": "bandwidth", "rate": "0B/s"}),
        ("Fault", {"type": "stall", "match": {"sni": "a"}}, {"type": "stall", "match": {"sni": ""}}),
        ("Fault", {"type": "stall", "for": "1s", "every": "9s"}, {"type": "stall", "for": None, "every": "9s"}),
        ("Fault", {"type": "packet_loss", "rate": 0}, {"type": "packet_loss", "rate": None}),
        ("Fault", {"type": "http_headers", "remove": ["a"]}, {"type": "http_headers", "remove": ["CONNECTION"]}),
        ("PartitionRequest", {"from": "a", "to": "b"}, {"from": "a"}),
        ("PartitionRequest", {"topology": "halves"}, {"topology": "halves", "up": "1s"}),
        ("PartitionRequest", {"groups": ["a", "b"]}, {"groups": ["a"]}),
    ],
)
def test_a_schema_says_what_is_checked(schema: str, good: object, bad: object) -> None:
    assert (fits(good, schema), fits(bad, schema)) == (True, False)


def test_a_name_that_stands_elsewhere_cannot_be_set() -> None:
    """Read-only: clients made from the document do not send it."""
    operations = DOCUMENT["paths"]["/v1/proxies/{proxy}/faults/{fault}"]
    body = operations["put"]["requestBody"]["content"]["application/json"]["schema"]
    schemas = DOCUMENT["components"]["schemas"]
    assert body == {"$ref": "#/components/schemas/NamedFault"}
    assert schemas["NamedFault"]["allOf"][1]["properties"]["name"]["readOnly"] is True
    assert schemas["ProxyPatch"]["properties"]["name"]["readOnly"] is True
    assert "readOnly" not in schemas["Proxy"]["properties"]["name"]


def test_a_parameter_with_few_words_lists_them() -> None:
    parameters = DOCUMENT["paths"]["/v1/connections/{connection}"]["delete"]["parameters"]
    [how] = [one["schema"] for one in parameters if one["name"] == "how"]
    assert how == {"enum": ["close", "reset"]}


NUMBERS = st.integers(0, 10**18).map(str) | st.sampled_from(
    ["4096", "4095.9", "4.096", "4.0959", "0.00390625", "0.0039062", "000", "00.0", ".5", ".0", "1.5", "100.0", "100.1"]
    + ["1e-5", "9e-1", "12e-1", "1e-0", "0." + 395 * "0" + "1"]
)
UNITS = st.sampled_from("B kB GB KiB GiB s ms h m us µs ns B/s bit/s Gbit/s KiB/s % x".split() + [""])
SPACES = st.sampled_from(["", "", "", " ", "\n", "\x0b"])
PARTS = st.builds(lambda *parts: "".join(parts), st.sampled_from(["", "", "-"]), SPACES, NUMBERS, SPACES, UNITS, SPACES)
TEXTS = st.text(max_size=8) | st.lists(PARTS, min_size=1, max_size=3).map("".join)
QUANTITIES = st.sampled_from([
    Duration(above_zero=True), Duration(), Duration(signed=True), Size(minimum=4096), Size(minimum=1), Size(), Rate(),
    Share(),
])  # fmt: skip


def reads(kind: Kind, text: str) -> bool:
    try:
        kind.read(text)
    except BadValue:
        return False
    return True


@settings(max_examples=1000)
@given(QUANTITIES, TEXTS)
def test_a_quantity_is_read_if_it_fits_the_schema(kind: Kind, text: str) -> None:
    assert reads(kind, text) == jsonschema.Draft202012Validator(kind.schema()).is_valid(text)


TEXT_KINDS: list[Kind] = [
    ListenAddress(), UpstreamAddress(), NodeName(20, shortest=1), Client(), Status(), PathPattern(), HostGlob(),
    MediaGlob(), Method(), Wanted(stripped=True), RouteTemplate(),
]  # fmt: skip
ADDRESSES = st.builds(
    lambda groups, port: f"[{':'.join(groups)}]:{port}",
    st.lists(st.sampled_from(["1", "ab", "", "", "ffff", "12345", "1.2.3.4", "256.1.1.1", "01.2.3.4"]), max_size=9),
    st.integers(0, 70000),
)


def fitting(kind: Kind) -> st.SearchStrategy[str]:
    """Return texts that fit the schema of a kind."""
    schema = kind.schema()
    of_text = next(one for one in schema.get("anyOf", [schema]) if one["type"] == "string")
    return st.from_regex(of_text["pattern"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_text_is_read_if_it_fits_the_schema(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(TEXT_KINDS))
    mixed = st.text(st.sampled_from("/{}*a?~.:[]%0123 \n-;\xa0\u202e\u0378"), max_size=9)
    text = data.draw(fitting(kind) | mixed | st.text(max_size=8) | ADDRESSES)
    is_wider = isinstance(kind, PathPattern) and text.startswith("~")  # RE2 reads more than a pattern can say
    fits_schema = jsonschema.Draft202012Validator(kind.schema()).is_valid(text)
    assert reads(kind, text) == fits_schema or (is_wider and not fits_schema)


@pytest.mark.parametrize(
    "text",
    ["~/users/[0-9]+", "~.*[.](png|jpe?g)", r"~/[0-9a-z]{8}/(\d{2}/)?", r"~/v\d+/(a|b)*", "/a/**/b", "**.js", "/**/é"],
)
def test_common_patterns_of_paths_fit(text: str) -> None:
    assert reads(PathPattern(), text) and jsonschema.Draft202012Validator(PathPattern().schema()).is_valid(text)


@pytest.mark.parametrize(
    "text",
    ["/**" + "\U0001f600" * 33, "/" + "**/" * 66, "~" + r"\W*" * 33, "~" + "[a.]*" * 20, "~" + r"\d{9}" * 19,
     "~" + "[a.c]{9}" * 12],
)  # fmt: skip
def test_the_largest_pattern_that_fits_is_read(text: str) -> None:
    assert reads(PathPattern(), text) and jsonschema.Draft202012Validator(PathPattern().schema()).is_valid(text)


@given(st.text(max_size=8) | st.from_regex(PATTERN))
def test_a_name_is_read_if_it_fits_the_schema(name: str) -> None:
    problems = Problems()
    names.read_name(name, problems, ())
    schema: dict[str, Any] = DOCUMENT["components"]["schemas"]["Proxy"]["properties"]["name"]
    assert (len(problems) == 0) == jsonschema.Draft202012Validator(schema).is_valid(name)


def test_characters_that_are_not_shown_are_excluded() -> None:
    """Characters without a meaning (Cn) differ between versions of Python, so only the others are compared."""
    for char in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(char) not in ("Cn", "Cs"):
            assert is_one_line(char) == (escaped(char) == char), hex(ord(char))
