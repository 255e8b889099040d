"""Routes: the most specific template names a path, and nothing else ever does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.http.routes import OTHER, Routes, RouteTemplate, duplicates
from tests.refused import code_of

TEMPLATES = [
    "/", "/health", "/users/{id}", "/users/me", "/users/{id}/orders", "/users/{id}/**", "/users/me/**", "/static/**",
    "/{tenant}/orders", "/{tenant}/**", "/café",
]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "label"),
    [
        ("/", "/"),
        ("/health", "/health"),
        ("/health?full=1", "/health"),
        ("/health/", "/{tenant}/**"),
        ("/%68ealth", "/health"),
        ("http://example.org/health", "/health"),
        ("http://example.org", "/"),
        ("/users/7", "/users/{id}"),
        ("/users/me", "/users/me"),
        ("/users/a%2Fb", "/users/{id}"),
        ("/users/7/orders", "/users/{id}/orders"),
        ("/users/me/orders", "/users/me/**"),
        ("/users/7/orders/9", "/users/{id}/**"),
        ("/users/", "/{tenant}/**"),
        ("/users/orders", "/users/{id}"),
        ("/acme/orders", "/{tenant}/orders"),
        ("/static/", "/static/**"),
        ("/static/a/b.js", "/static/**"),
        ("/static", OTHER),
        ("/caf%c3%a9", "/café"),
        ("/caf\xc3\xa9", "/café"),
        ("//", OTHER),
        ("/{}", OTHER),
        ("/**", OTHER),
        ("", OTHER),
        ("*", OTHER),
        ("example.org:443", OTHER),
    ],
)
def test_a_target_has_one_label(target: str, label: str) -> None:
    routes = Routes(TEMPLATES)
    assert [routes.label(target), routes.label(target), routes.label(target.encode("latin-1"))] == [label] * 3


def test_nothing_fits_no_templates() -> None:
    assert Routes([]).label("/") == OTHER


SEGMENTS = st.sampled_from(["a", "b", "{x}", "{y}", ""])
SOME = st.builds(
    lambda segments, rest: "/" + "/".join([*segments, *rest]),
    st.lists(SEGMENTS, min_size=1, max_size=4),
    st.sampled_from([[], ["**"]]),
)


def read_all(templates: list[str]) -> list[str]:
    """Without those that are wrong, and those that are there already."""
    good = []
    for template in templates:
        try:
            good.append(RouteTemplate().read(template))
        except ValueError:
            assert template.count("{x}") > 1 or template.count("{y}") > 1
    refused = {index for index, _ in duplicates(good)}
    return [template for index, template in enumerate(good) if index not in refused]


def naive(templates: list[str], path: str) -> str:
    def fits(template: list[str], given: list[str]) -> bool:
        if template == ["**"]:
            return len(given) > 0
        if not template or not given:
            return not template and not given
        one, segment = template[0], given[0]
        return (segment != "" if one.startswith("{") else one == segment) and fits(template[1:], given[1:])

    def rank(template: str) -> list[int]:
        return [2 if one == "**" else one.startswith("{") for one in template.split("/")[1:]]

    found = [one for one in templates if fits(one.split("/")[1:], path.split("/")[1:])]
    return min(found, key=rank, default=OTHER)


@given(st.lists(SOME, max_size=8), st.text("/abc", max_size=8), st.randoms(use_true_random=False))
def test_the_label_is_that_of_a_naive_search_in_any_order(some: list[str], rest: str, dice: random.Random) -> None:
    templates = read_all(some)
    wanted = naive(templates, "/" + rest)
    dice.shuffle(templates)
    assert Routes(templates).label("/" + rest) == wanted


@given(st.binary() | st.text())
def test_no_target_raises_or_makes_a_label_of_its_own(target: bytes | str) -> None:
    assert Routes(TEMPLATES).label(target) in {*TEMPLATES, OTHER}


@pytest.mark.parametrize(
    ("given_", "code"),
    [
        (7, "wrong-type"),
        ("users", "malformed"),
        ("", "malformed"),
        ("/a?b", "malformed"),
        ("/users/{id", "malformed"),
        ("/users/id}", "malformed"),
        ("/users/{}", "malformed"),
        ("/f/{name}.json", "malformed"),
        ("/{a/b}", "malformed"),
        ("/{a}/{a}", "duplicate"),
        ("/a/*/b", "malformed"),
        ("/**/b", "malformed"),
        ("/a\n", "malformed"),
        ("/" + "a" * 200, "too-large"),
    ],
)
def test_a_template_that_is_wrong_is_refused(given_: object, code: str) -> None:
    assert code_of(RouteTemplate().read, given_) == code


def test_templates_that_fit_the_same_paths_are_duplicates() -> None:
    same = ["/users/{id}", "/users/{id}/x", "/users/{name}", "/%7Ea", "/~a", "/users/{id}"]
    assert [index for index, _ in duplicates(same)] == [2, 4, 5]
    assert list(duplicates(TEMPLATES)) == []
