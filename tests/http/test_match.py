"""Matches: read, explained and written back; and which messages they are for."""

from __future__ import annotations

import ipaddress

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.cli.describe import lines_of
from chaosproxy.declare import Problems, struct_schema, write_struct
from chaosproxy.http.head import RequestHead, ResponseHead, values
from chaosproxy.http.match import Match, Matcher, Rules, read_match
from tests.refused import places

FULL = {
    "method": ["POST", "PUT"], "path": "/checkout/*", "query": {"page": "2", "debug": False, "q": "a*"},
    "headers": {"x-tenant": "acme", "X-Trace": True, "x-old": False}, "host": "*.example.org",
    "client": ["10.0.0.0/8", "::1"], "status": [503, "5xx", "500-504"], "content_type": "application/json",
}  # fmt: skip


def read(data: object) -> tuple[Match | None, list[str]]:
    problems = Problems()
    return read_match(data, problems, ("f", "match")), places(problems)


def matcher(**data: object) -> Matcher:
    match, problems = read(data)
    assert match is not None, problems
    return Matcher.of(match)


def asks(target: str = "/", method: str = "GET", **fields: str) -> RequestHead:
    return RequestHead(method, target, "1.1", tuple((name.replace("_", "-"), value) for name, value in fields.items()))


def answers(status: int = 200, *content_types: str) -> ResponseHead:
    return ResponseHead(status, "", "1.1", tuple(("Content-Type", one) for one in content_types))


# Reading and writing


def test_everything_is_read_and_written_back() -> None:
    match, problems = read(FULL)
    assert problems == []
    assert match == Match(
        method=("POST", "PUT"), path="/checkout/*", query={"page": "2", "debug": False, "q": "a*"},
        headers={"x-tenant": "acme", "X-Trace": True, "x-old": False}, host="*.example.org",
        client=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1")),
        status=((503, 503), (500, 599), (500, 504)), content_type="application/json",
    )  # fmt: skip
    assert write_struct(match) == FULL
    jsonschema.validate(FULL, struct_schema(Match))


def test_one_value_is_as_good_as_a_list_and_written_as_a_list() -> None:
    loose = {
        "method": "post", "host": "A.Example.ORG:8080", "client": "::ffff:10.1.2.3", "status": "503",
        "content_type": "Text/*",
    }  # fmt: skip
    match, _ = read(loose)
    assert write_struct(match) == {
        "method": ["POST"], "host": "a.example.org:8080", "client": ["10.1.2.3"], "status": [503],
        "content_type": "text/*",
    }  # fmt: skip
    assert write_struct(read({"status": ["500-599", "5XX", 404]})[0]) == {"status": ["5xx", 404]}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([], "f.match wrong-type"),
        ({}, "f.match no-effect"),
        ({"path": None}, "f.match no-effect"),
        ({"header": {}}, "f.match.header unknown-key"),
        ({"query": {}}, "f.match.query no-effect"),
        ({"headers": {}}, "f.match.headers no-effect"),
        ({"headers": []}, "f.match.headers wrong-type"),
        ({"headers": {"x-tenant": 7}}, "f.match.headers.x-tenant wrong-type"),
        ({"headers": {"x-tenant": " a"}}, "f.match.headers.x-tenant malformed"),
        ({"headers": {"x tenant": "a"}}, "f.match.headers.x tenant malformed"),
        ({"query": {"page": 2}}, "f.match.query.page wrong-type"),
        ({"method": []}, "f.match.method empty"),
        ({"method": "GET POST"}, "f.match.method malformed"),
        ({"method": ["GET", 1, None]}, "f.match.method malformed"),
        ({"path": "x"}, "f.match.path malformed"),
        ({"host": "http://a/"}, "f.match.host malformed"),
        ({"host": "bücher.de"}, "f.match.host malformed"),
        ({"host": "a:b"}, "f.match.host malformed"),
        ({"host": ""}, "f.match.host malformed"),
        ({"client": "10.0.0.1/33"}, "f.match.client not-an-address"),
        ({"client": "localhost"}, "f.match.client not-an-address"),
        ({"client": 10}, "f.match.client not-an-address"),
        ({"status": 600}, "f.match.status malformed"),
        ({"status": True}, "f.match.status malformed"),
        ({"status": ["6xx", "5x", "500-"]}, "f.match.status malformed"),
        ({"content_type": "text/html; charset=utf-8"}, "f.match.content_type malformed"),
        ({"content_type": "json"}, "f.match.content_type malformed"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(data: object, problem: str) -> None:
    match, found = read(data)
    assert (match, found) == (None, [problem])


def test_every_mistake_is_noted() -> None:
    _, found = read({"method": "A B", "path": "x", "query": {"a": 1}, "headers": {"b": 2}, "client": "c", "status": 7})
    names = ["method", "path", "query.a", "headers.b", "client", "status"]
    assert [line.split(" ")[0] for line in found] == [f"f.match.{name}" for name in names]


def test_it_is_described() -> None:
    lines = {line.name: line for line in lines_of(Match)}
    assert (lines["status"].kind, lines["status"].default) == ("status, or list of at most 100", "-")
    assert lines["headers"].kind == "mapping of glob, true or false, at most 100"
    assert lines["path"].kind == "glob or ~regex"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.text("abXY-", min_size=1, max_size=4)
WANTED = st.booleans() | st.text("ab*é", max_size=4)
STATUS = st.integers(100, 599) | st.sampled_from(["5xx", "4XX", "500-504", "200", "200-200"])
CLIENT = st.ip_addresses().map(str) | st.sampled_from(["10.0.0.0/8", "fe80::/10", "::ffff:0:0/96", "0.0.0.0/0"])
PATHS = st.sampled_from(["**", "~/a+", "/**/b"]) | st.text("/ab*", max_size=5).map(lambda rest: "/" + rest)
MATCHES = st.fixed_dictionaries({}, optional={
    "method": NAMES | st.lists(NAMES, min_size=1, max_size=3), "path": PATHS,
    "query": st.dictionaries(st.text(max_size=3), WANTED, min_size=1, max_size=3),
    "headers": st.dictionaries(NAMES, WANTED, min_size=1, max_size=3),
    "host": st.sampled_from(["*", "a.b:80", "[::1]:8080", "::1", "*.org:*"]),
    "client": CLIENT | st.lists(CLIENT, min_size=1, max_size=3),
    "status": STATUS | st.lists(STATUS, min_size=1, max_size=3),
    "content_type": st.sampled_from(["text/html", "*json", "*", "Application/*"]),
})  # fmt: skip


@given(ANYTHING | st.dictionaries(st.sampled_from(sorted(FULL)), ANYTHING))
def test_any_data_is_a_match_or_problems(data: object) -> None:
    match, found = read(data)
    assert (match is None) == bool(found)
    problems = Problems()
    read_match(data, problems, ())
    assert all("; " in problem.message for problem in problems), "each says what would be right"


@given(MATCHES)
def test_what_is_read_is_written_back(data: dict[str, object]) -> None:
    match, _ = read(data)
    if match is not None:
        written = write_struct(match)
        assert read(written) == (match, [])
        assert write_struct(read(written)[0]) == written
        for plain in (data, written):
            jsonschema.validate(plain, struct_schema(Match))


# Requests


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"method": "get"}, ["GET /", "GET *"], ["get /", "POST /"]),
        ({"method": ["PUT", "POST"], "path": "/a"}, ["PUT /a", "POST /a?b"], ["GET /a", "PUT /b"]),
        ({"path": "/a"}, ["GET http://x/a", "GET /%61", "GET /a?x=/b"], ["GET http://x/", "GET /a/", "CONNECT a:443"]),
        ({"path": "**"}, ["OPTIONS *", "CONNECT a:443", "GET http://x"], []),
        ({"query": {"p": "2"}}, ["GET /?p=2", "GET /?p=1&p=2", "GET /?&&p=%32", "GET http://x?p=2"],
         ["GET /", "GET /?p", "GET /?p=22", "GET /?P=2", "GET /?q=p=2", "GET /p=2"]),
        ({"query": {"p": True}}, ["GET /?p", "GET /?p=", "GET /?x&p=1"], ["GET /?", "GET /?x=p"]),
        ({"query": {"p": False}}, ["GET /", "GET /?x=1", "OPTIONS *"], ["GET /?p", "GET /?x&p=1"]),
        ({"query": {"a b": "c*é"}}, ["GET /?a+b=c%C3%A9", "GET /?a%20b=c-\xc3\xa9"], ["GET /?a+b=c%E9", "GET /?ab=cé"]),
        ({"query": {"p": ""}}, ["GET /?p", "GET /?p=", "GET /?p=1&p"], ["GET /", "GET /?p=1"]),
        ({"query": {"a": "1", "b": False}}, ["GET /?a=1"], ["GET /?a=1&b", "GET /?b", "GET /"]),
    ],
)  # fmt: skip
def test_the_request_line_decides(match: dict[str, object], yes: list[str], no: list[str]) -> None:
    asked = matcher(**match)
    for line, wanted in [(line, True) for line in yes] + [(line, False) for line in no]:
        method, _, target = line.partition(" ")
        assert asked.line(method, target) == wanted, line
        assert asked.request(RequestHead(method, target, "1.1", ()), "unix") == wanted, line
        if all(char < "\u0100" for char in line):
            assert Rules([asked]).any_line(method.encode(), target.encode("latin-1")) == wanted, line


def test_any_line_of_a_repeated_header_may_be_the_one() -> None:
    acme = matcher(headers={"x-tenant": "acme"})
    assert acme.line("GET", "/"), "undecided"
    assert acme.request(asks(X_Tenant="acme"), "")
    assert acme.request(RequestHead("GET", "/", "1.1", (("x-tenant", "b"), ("X-TENANT", "acme"))), "")
    assert not acme.request(asks(X_Tenant="b, acme"), ""), "a line is compared as it came"
    assert not acme.request(asks(X_Tenant="ACME"), "")
    assert not acme.request(asks(), "")


def test_a_header_is_there_or_not_or_like_a_glob() -> None:
    asked = matcher(headers={"x-trace": True, "x-old": False, "accept": "text/*", "x-name": "é*"})
    good = {"X_Trace": "", "Accept": "text/html", "X_Name": "\xc3\xa9a"}
    assert asked.request(asks(**good), "")
    assert not asked.request(asks(**good, X_Old=""), "")
    assert not asked.request(asks(Accept="text/html", X_Name="\xc3\xa9a"), "")
    assert not asked.request(asks(**(good | {"X_Name": "\xe9a"})), "")


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.example.org", "a.example.org A.B.Example.ORG:80 a.example.org.", "example.org aexample.org a.example.orgs"),
        ("example.org:8080", "example.org:8080", "example.org example.org:80 example.org:80801"),
        ("example.org:80", "example.org example.org:80 example.org:", "example.org:8080"),
        ("[::1]", "[::1] [::1]:80", "::2 [::11]"),
        ("[::1]:8080", "[::1]:8080", "[::1]"),
        ("*:8080", "a:8080 [::1]:8080", "a"),
    ],
)
def test_the_host_decides(pattern: str, yes: str, no: str) -> None:
    asked = matcher(host=pattern)
    assert asked.line("GET", "/")
    for host, wanted in [(host, True) for host in yes.split()] + [(host, False) for host in no.split()]:
        assert asked.request(asks(Host=host), "") == wanted, host
        assert asked.request(asks(f"http://me:pw@{host}/a?b", Host="other"), "") == wanted, host
    assert not asked.request(asks(), "")


@pytest.mark.parametrize(
    ("client", "yes", "no"),
    [
        ("10.0.0.0/8", "10.1.2.3 10.1.2.3:5000 ::ffff:10.1.2.3 [::ffff:10.1.2.3]:5000", "11.0.0.1 ::1 unix 10.1.2"),
        ("::1", "::1 [::1]:5000 0:0::1", "::2 127.0.0.1 unix"),
        ("fe80::/10", "fe80::1%eth0 [fe80::1%eth0]:1", "fc00::1"),
        ("::ffff:10.0.0.0/104", "10.1.2.3", "::a01:203 11.0.0.0"),
        ("0.0.0.0/0", "1.2.3.4", "::1 unix"),
        (["10.0.0.7", "::/0"], "10.0.0.7 ::7", "10.0.0.8 unix"),
    ],
)
def test_the_client_decides(client: object, yes: str, no: str) -> None:
    asked = matcher(client=client)
    for peer, wanted in [(peer, True) for peer in yes.split()] + [(peer, False) for peer in ["", *no.split()]]:
        assert asked.request(asks(), peer) == wanted, peer


def test_all_that_is_asked_must_hold() -> None:
    asked = matcher(method="POST", path="/a", query={"q": True}, headers={"x": "1"}, host="h", client="10.0.0.0/8")
    good = asks("/a?q", "POST", X="1", Host="h")
    assert asked.request(good, "10.0.0.1")
    assert not asked.request(good, "11.0.0.1")
    for bad in (
        asks("/a?q", "GET", X="1", Host="h"), asks("/b?q", "POST", X="1", Host="h"),
        asks("/a", "POST", X="1", Host="h"), asks("/a?q", "POST", X="2", Host="h"),
        asks("/a?q", "POST", X="1", Host="i"),
    ):  # fmt: skip
        assert not asked.request(bad, "10.0.0.1"), bad


# Responses


@pytest.mark.parametrize(
    ("status", "yes", "no"),
    [(503, [503], [502, 504]), ("5xx", [500, 599], [499, 600]), ("500-504", [500, 504], [499, 505]),
     ([404, "2xx"], [404, 204], [403, 300])],
)  # fmt: skip
def test_the_status_decides(status: object, yes: list[int], no: list[int]) -> None:
    asked = matcher(status=status)
    assert asked.request(asks(), ""), "undecided"
    assert [code for code in yes + no if asked.response(answers(code))] == yes


def test_the_media_type_decides() -> None:
    asked = matcher(content_type="application/json")
    assert asked.response(answers(200, "Application/JSON ; charset=utf-8"))
    assert not asked.response(answers(200, "application/json-seq"))
    assert not asked.response(answers(200))
    assert matcher(content_type="*json").response(answers(200, "application/problem+json"))
    both = matcher(content_type="text/*", status="5xx")
    assert both.response(answers(500, "text/html"))
    assert not both.response(answers(200, "text/html")) and not both.response(answers(500, "a/b"))


def test_a_match_on_requests_leaves_every_response() -> None:
    assert matcher(path="/a").response(answers(500))


def test_values_are_those_of_every_line_of_a_name() -> None:
    assert values((("A", "1"), ("b", "2"), ("a", "3")), "a") == ["1", "3"]
    assert values((("A", "1"), ("b", "2")), "B") == ["2"]


# Many at once


def test_rules_ask_each_matcher() -> None:
    rules = Rules([matcher(path="/a"), matcher(method="POST")])
    assert rules.any_line(b"GET", b"/a") and rules.any_line(b"POST", b"/b")
    assert not rules.any_line(b"GET", b"/b") and not rules.any_line(b"GET", b"/b")
    assert not Rules([]).any_line(b"GET", b"/")
    assert Rules([matcher(path="/a"), None]).any_line(b"GET", b"/b")


TEXTS = st.text() | st.binary().map(lambda raw: raw.decode("latin-1"))
FIELDS = st.lists(st.tuples(TEXTS | st.sampled_from(["host", "content-type"]), TEXTS))
TARGETS = st.binary() | st.text("/ab?=&%").map(str.encode)


@settings(deadline=None)
@given(st.lists(MATCHES, max_size=3), st.binary(max_size=5) | st.just(b"GET"), TARGETS)
def test_rules_answer_what_their_matchers_answer(data: list[dict[str, object]], method: bytes, target: bytes) -> None:
    some = [Matcher.of(match) for one in data if (match := read(one)[0]) is not None]
    rules = Rules(some)
    wanted = any(one.line(method.decode("latin-1"), target.decode("latin-1")) for one in some)
    assert [rules.any_line(method, target), rules.any_line(method, target)] == [wanted, wanted]


@settings(deadline=None)
@given(MATCHES, TEXTS, TEXTS, FIELDS, TEXTS, st.integers())
def test_matching_never_raises(
    data: dict[str, object], method: str, target: str, fields: list[tuple[str, str]], client: str, status: int
) -> None:
    match, _ = read(data)
    if match is not None:
        asked = Matcher.of(match)
        head = RequestHead(method, target, "1.1", tuple(fields))
        if asked.request(head, client):
            assert asked.line(method, target), "what the line rules out, the request does not rule in"
        assert asked.response(ResponseHead(status, "", "1.1", tuple(fields))) in (True, False)
