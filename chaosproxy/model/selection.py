"""Selections: the proxies to which one change applies. Pure.

A selection is exactly one of three: names of proxies, in which `*` stands for any text; a service; or a node, which
selects the proxies to and from it. It must select at least one proxy, so that a misspelt selector is an error instead
of a change without effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

from chaosproxy.declare import MOST_ITEMS, Given, Kind, Not, Problems, Rule, Text, broken, nearest
from chaosproxy.errors import BadValue, InvalidInput, NotFound, Problem
from chaosproxy.http.patterns import glob
from chaosproxy.model.names import LONGEST, LONGEST_NODE
from chaosproxy.model.partition import Names, nodes_of
from chaosproxy.model.proxy import ProxySpec

__all__ = [
    "SELECTORS", "SELECT_ANY", "SELECT_ONE", "Selection", "read_selection", "selected_names", "specs_of",
]  # fmt: skip

SELECTORS: Mapping[str, Kind] = {"proxies": Names(MOST_ITEMS), "service": Text(LONGEST), "node": Text(LONGEST_NODE)}
"""The keys of a selection, and their values."""

SELECT_ONE = tuple(
    Rule((other,), "invalid-together", f"cannot be combined with {one}; use one of {', '.join(SELECTORS)}",
         Given(one), Given(other), at_key=True)
    for one, other in combinations(SELECTORS, 2)
)  # fmt: skip
"""The rules across the keys of a selection."""
SELECT_ANY = Rule(
    (), "missing", f'no proxies are selected; use one of {", ".join(SELECTORS)}, such as proxies: ["db-*"]',
    *(Not(Given(key)) for key in SELECTORS),
)  # fmt: skip
"""The rule of a change that needs a selection."""
_LISTED = 20
"""The number of known names in an error message."""
_SHOWN = 100
"""The number of characters of a given name in an error message."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects proxies; exactly one of the three fields is set."""

    proxies: tuple[str, ...] = ()
    """Names of proxies, or globs."""
    service: str | None = None
    node: str | None = None


def read_selection(data: Mapping[str, object]) -> Selection | None:
    """Return the selection under the keys SELECTORS of `data`; None if it has none of them.

    :raises InvalidInput: a value is invalid, or there is more than one selector.
    """
    given = {key: data[key] for key in SELECTORS if data.get(key) is not None}
    if not given:
        return None
    if problems := [*broken(SELECT_ONE, dict.fromkeys(SELECTORS) | given)]:
        raise InvalidInput(problems)
    [first] = given
    try:
        value = SELECTORS[first].read(given[first])
    except BadValue as bad:
        raise InvalidInput([Problem((first,), bad.code, str(bad))]) from None
    return Selection(**{first: value})  # type: ignore[arg-type]  # the kind of each key has read it


def selected_names(selection: Selection, specs: Sequence[ProxySpec]) -> frozenset[str]:
    """Return the names of the selected proxies. Pure.

    :raises NotFound: a name, glob, service or node selects no proxy; with every such name, and the nearest one that
        does.
    """
    if selection.node is not None:
        with _at("node"):
            return frozenset(spec.name for spec in specs_of(selection.node, specs))
    if selection.service is not None:
        with _at("service"):
            return frozenset(_of_service(selection.service, specs))
    names = [spec.name for spec in specs]
    found: set[str] = set()
    problems = Problems()
    known, several = frozenset(names), len(selection.proxies) > 1
    places: dict[str, int] = {}
    for at, pattern in enumerate(selection.proxies):
        places.setdefault(pattern, at)
    for pattern, index in places.items():
        matching = [pattern] if pattern in known else list(filter(glob(pattern), names)) if "*" in pattern else []
        found.update(matching)
        if not matching:
            path = ("proxies", index) if several else ("proxies",)
            problems.add(path, "not-found", _no_match(pattern, names, hint=not problems.full))
    if problems:
        raise NotFound("; ".join(problem.message for problem in problems), problems=[*problems])
    return frozenset(found)


def specs_of(node: str, specs: Sequence[ProxySpec]) -> list[ProxySpec]:
    """Return the settings of the proxies to and from a node.

    :raises NotFound: no proxy names it; the message has the nearest name.
    """
    known = nodes_of(specs)
    if node not in known:
        has = f"known nodes: {', '.join(known[:20])}" if known else "add `from` and `to` to proxies"
        raise NotFound(f"no proxy names the node {node[:100]!r}{nearest(node, known)}; {has}")
    return [spec for spec in specs if node in (spec.from_node, spec.to_node)]


@contextmanager
def _at(key: str) -> Iterator[None]:
    """Add the field `key` to a NotFound."""
    try:
        yield
    except NotFound as error:
        raise NotFound(str(error), problems=[error.at(key)]) from None


def _of_service(service: str, specs: Sequence[ProxySpec]) -> list[str]:
    found = [spec.name for spec in specs if spec.service == service]
    if not found:
        known = list(dict.fromkeys(spec.service for spec in specs if spec.service))
        has = f"known services: {', '.join(known[:_LISTED])}" if known else "add `service` to proxies"
        raise NotFound(f"no proxy has the service {service[:_SHOWN]!r}{nearest(service, known)}; {has}")
    return found


def _no_match(pattern: str, names: Sequence[str], *, hint: bool) -> str:
    """Return the message for a name or glob that selects no proxy."""
    has = f"known proxies: {', '.join(names[:_LISTED])}" if names else "there are none yet"
    verb = "has a name that matches" if "*" in pattern else "is called"
    similar = nearest(pattern, _like(pattern, names)) if hint else ""
    return f"no proxy {verb} {pattern[:_SHOWN]!r}{similar}; {has}"


def _like(pattern: str, names: Sequence[str]) -> list[str]:
    """Return words for `nearest`: the names, or for `ftp-*` their beginnings of the same length with a star."""
    stem, star, rest = pattern.partition("*")
    return list(dict.fromkeys(f"{name[: len(stem)]}*" for name in names)) if star and not rest else list(names)
