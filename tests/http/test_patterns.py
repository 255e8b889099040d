"""Globs, regular expressions and targets: against a naive reading of the same words, and within their time."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chaosproxy.errors import BadValue
from chaosproxy.http.patterns import (
    Memo,
    PathPattern,
    glob,
    host_and_port,
    normal_path,
    path_test,
    split_target,
)
from tests.cpu import cpu_time
from tests.refused import code_of


def fits(pattern: str, path: str) -> bool:
    """What the documentation says, as slowly as it can be said."""
    if not pattern:
        return not path
    if pattern.startswith("/**/"):
        return path[:1] == "/" and any(fits(pattern[3:], path[at:]) for at, char in enumerate(path) if char == "/")
    if pattern.startswith("**"):
        return any(fits(pattern[2:], path[at:]) for at in range(len(path) + 1))
    if pattern[0] == "*":
        return any(fits(pattern[1:], path[at:]) for at in range(len(path) + 1) if "/" not in path[:at])
    return path[:1] == pattern[0] and fits(pattern[1:], path[1:])


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("/checkout/*", "/checkout/ /checkout/cart", "/checkout /checkout/cart/2 /x/checkout/cart"),
        ("/static/**", "/static/ /static/a /static/a/b", "/static /statics/a"),
        ("/users/*/orders", "/users/7/orders /users//orders", "/users/7/8/orders /users/orders /users/7/orders/"),
        ("/a/**/b", "/a/b /a/x/b /a/x/y/b /a//b", "/a/xb /ab /a/b/c"),
        ("/a**b", "/ab /a/b /a/x/yb", "/a/bc"),
        ("**", "/ /a * example.org:443", ""),
        ("**/orders", "/orders /a/b/orders", "/orders/1 orders"),
        ("/*.js", "/a.js /.js /a.b.js", "/a/b.js /a.jsx /aXjs"),
        ("/a*b*c", "/abc /axbxbxc", "/ac /ab/c"),
        ("/", "/", "// /a"),
        ("/caf%c3%A9", "/caf%C3%A9 /caf%c3%a9 /caf\xc3\xa9", "/cafe /caf\xe9"),
        ("/café", "/caf%C3%A9 /caf%c3%a9 /caf\xc3\xa9", "/caf\xe9"),
        ("/a b", "/a%20b", "/a+b"),
        ("/~joe", "/~joe /%7ejoe /%7Ejoe", "/%257Ejoe"),
        ("/a/b", "/a/b", "/a%2Fb /a/./b /a/c/../b /a//b"),
        ("/a%2fb", "/a%2Fb /a%2fb", "/a/b"),
        ("/a/../b", "/a/../b /a/%2e%2E/b", "/b"),
        ("/[x].{y}+$", "/[x].{y}+$", "/x"),
        ("~/users/[0-9]+", "/users/7 /users/77", "/users/ /users/7/ /x/users/7 /users/7\n"),
        ("~/a|/b", "/a /b", "/ab /a/b"),
        ("~/users?", "/user /users", "/use /userss"),
        ("~(?i)/Ab", "/ab /AB", "/abc"),
        ("~.*", "/ /a/b * example.org:443", ""),
        ("~[*]", "*", "/"),
    ],
)
def test_a_pattern_is_for_these_paths_and_not_for_those(pattern: str, yes: str, no: str) -> None:
    test = path_test(PathPattern().read(pattern))
    paths = [(path, True) for path in yes.split(" ")] + [(path, False) for path in no.split(" ") if no]
    assert [(path, bool(test(normal_path(path)))) for path, _ in paths] == paths


@given(st.text("/ab*", max_size=9), st.text("/ab", max_size=9))
@example("/**/**/b", "/b")
@example("/a*b**", "/axbb/")
@example("/*a/**", "/aa/b")
@example("/**/a*b/**b", "/a/a/ab/a/b")
def test_a_path_glob_is_what_a_naive_reading_says(pattern: str, path: str) -> None:
    assert bool(path_test("/" + pattern)("/" + path)) == fits(re.sub(r"\*\*+", "**", "/" + pattern), "/" + path)


@given(st.text("ab*", max_size=9), st.text("ab\n", max_size=9))
@example("*a", "\na")
def test_a_glob_is_what_a_naive_reading_says(pattern: str, text: str) -> None:
    assert bool(glob(pattern)(text)) == fits(re.sub(r"\*+", "**", pattern), text)


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "/", "ab", "/a/b", ".", "[ab]", "[^/]", "^", "$", "{", ""]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join),
        st.builds("({}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "*?", ""])),
        st.builds("{}{}".format, st.sampled_from(["a", "/ab", "."]), st.sampled_from(["*", "+", "?", "{2}", "{0,1}"])),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, st.text("/ab{", max_size=8))
@example("ab?", "a")
@example("/a|b", "b")
@example("{", "{")
def test_a_regular_expression_is_for_the_whole_path(pattern: str, path: str) -> None:
    assert bool(path_test("~" + pattern)(path)) == bool(re.compile(pattern).fullmatch(path))


@given(st.text("/ab[]?+*|.(){2,}\\^$", max_size=12))
def test_an_expression_is_used_or_refused_in_words(pattern: str) -> None:
    try:
        path_test("~" + pattern)("/a/b")
    except BadValue as bad:
        assert "; " in str(bad)


LONG = "a" * 50_000 + "!"


@pytest.mark.parametrize(
    "pattern",
    [
        "~(a+)+$", "~(a|a)*", "~(a*)*b", "~(.*.*.*.*)x", "~/?.*a.{480}",
        "/" + "*a" * 200 + "b", "/" + "**a" * 60 + "b", "/a**" + "a*" * 100 + "!b",
    ],
)  # fmt: skip
def test_no_pattern_takes_long(pattern: str) -> None:
    test = path_test(PathPattern().read(pattern))
    with cpu_time() as used:
        assert not test("/" + LONG)
        test("/" + "ab" * 25_000)
    assert used.seconds < 0.5


@pytest.mark.parametrize("pattern", ["*a" * 200 + "b", "*" * 400 + "b", "a*" * 200 + "?"])
def test_no_glob_takes_long(pattern: str) -> None:
    test = glob(pattern)
    with cpu_time() as used:
        assert not test(LONG)
    assert used.seconds < 0.5


def test_a_large_expression_does_not_read_a_path_that_it_would_read_for_long() -> None:
    test = path_test("~/.{400}.*")
    assert test("/" + "a" * 5_000)
    assert not test("/" + "a" * 50_000)
    assert path_test("~/a+")("/" + "a" * 50_000)


@pytest.mark.parametrize(
    ("given_", "code"),
    [
        (7, "wrong-type"),
        ("", "malformed"),
        ("checkout/*", "malformed"),
        ("*", "malformed"),
        ("/a?b=c", "malformed"),
        ("~", "empty"),
        ("~[", "malformed"),
        (r"~/(a)\1", "malformed"),
        ("~/(?=a)", "malformed"),
        ("~/(?!a)", "malformed"),
        ("~/(?<!a)b", "malformed"),
        ("~/é", "malformed"),
        ("~/(.{30}){30}", "too-large"),
        ("~" + "(((a{30}){30}){30})", "malformed"),
        ("/" + "a" * 500, "too-large"),
        ("/\ud800", "malformed"),
    ],
)  # fmt: skip
def test_a_path_pattern_that_is_wrong_is_refused(given_: object, code: str) -> None:
    assert code_of(PathPattern().read, given_) == code


@pytest.mark.parametrize(
    ("target", "split"),
    [
        ("/a?b=c", (None, "/a", "b=c")),
        ("/a", (None, "/a", "")),
        ("/a?", (None, "/a", "")),
        ("/a?b?c", (None, "/a", "b?c")),
        ("//evil/a", (None, "//evil/a", "")),
        ("/http://x/a", (None, "/http://x/a", "")),
        ("*", (None, "*", "")),
        ("", (None, "", "")),
        ("example.org:443", (None, "example.org:443", "")),
        ("http://example.org:80/a?b", ("example.org:80", "/a", "b")),
        ("HTTP://example.org", ("example.org", "/", "")),
        ("http://example.org?b", ("example.org", "/", "b")),
        ("http:///a", ("", "/a", "")),
    ],
)
def test_a_target_is_split(target: str, split: tuple[str | None, str, str]) -> None:
    assert split_target(target) == split


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_a_normal_path_is_printable_ascii(path: str) -> None:
    found = normal_path(path)
    assert found.isascii()
    assert not re.search(r"[^!-~]", found)


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("%7e%2D%2f", "~-%2F"), ("%2e", "."), ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%25%37%65", "%257e"),
        ("\0 \x7f", "%00%20%7F"),
    ],
)  # fmt: skip
def test_only_what_needs_no_encoding_is_decoded(path: str, normal: str) -> None:
    assert normal_path(path) == normal


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("example.org", ("example.org", "")), ("example.org.:80", ("example.org", "80")), ("::1", ("::1", "")),
        ("[::1]:80", ("::1", "80")), ("[::1]", ("::1", "")), ("", ("", "")), (":80", ("", "80")), ("[", ("", "")),
    ],
)  # fmt: skip
def test_a_host_and_its_port(text: str, parts: tuple[str, str]) -> None:
    assert host_and_port(text) == parts


def test_a_memo_asks_once_and_forgets_all_when_it_is_full() -> None:
    asked = []
    memo = Memo(lambda key: not asked.append(key), lambda key: len(key) < 10)
    assert memo["a"] and memo["a"] and memo["a" * 10] and memo["a" * 10]
    assert asked == ["a", "a" * 10, "a" * 10]
    for number in range(Memo.MOST - 1):
        memo[str(number)]
    assert len(memo) == Memo.MOST
    memo["one more"]
    assert list(memo) == ["one more"]
