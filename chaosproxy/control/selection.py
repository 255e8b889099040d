"""Selections: the proxies to which one change applies, and the changes that accept a selection.

A selection is exactly one of three: names of proxies, in which `*` stands for any text; a
service; or a node, which selects the proxies to and from it. It must select at least one
proxy, so that a misspelt selector is an error instead of a change without effect.

`selected_names` is pure, so that it can run off the loop. The changes (`add_on`, `put_on`, `heal_on`) run on
the loop, and call `rest` between two proxies. While they rest, others may change a proxy: each proxy is
therefore checked again at the moment of its change. A change that fails on one proxy is undone on the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeAlias

from chaosproxy.control.nodes import specs_of
from chaosproxy.control.preflight import PreparedFault
from chaosproxy.control.status import FaultStatus
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.declare import MOST_ITEMS, Given, Kind, Not, Problems, Rule, Text, broken, nearest
from chaosproxy.errors import BadValue, Conflict, InvalidInput, NotFound, Problem, Unsupported
from chaosproxy.http.patterns import glob
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.names import LONGEST, LONGEST_NODE
from chaosproxy.model.partition import Names
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.proxy import Proxy

__all__ = [
    "HEALED", "HEAL_ONE", "SELECTORS", "SELECT_ANY", "SELECT_ONE", "Selection", "add_on", "heal_on",
    "put_on", "read_selection", "selected_names",
]  # fmt: skip

Rest: TypeAlias = Callable[[], Awaitable[None]]
"""A function that gives the loop to others if the caller has held it for long."""

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
HEALED = ("proxy", "fault", "partition", *SELECTORS)
"""The keys that limit what is healed."""
HEAL_ONE = (
    *(
        Rule(
            ("partition",), "invalid-together",
            "cannot be combined with other keys, since a partition cuts several proxies; use it alone",
            Given("partition"), Given(key),
        )
        for key in HEALED
        if key != "partition"
    ),
    *(
        Rule(
            ("proxy",), "invalid-together", f"cannot be combined with {', '.join(SELECTORS)}; use one of these four",
            Given("proxy"), Given(key),
        )
        for key in SELECTORS
    ),
)  # fmt: skip
"""The rules across these keys, in addition to those of a selection."""
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


async def add_on(
    supervisor: Supervisor, proxies: Sequence[Proxy], fault: FaultSpec, by: str, rest: Rest
) -> list[tuple[str, FaultStatus]]:
    """Add a fault to several proxies: to all or to none. Return it as it acts on each. Errors name the proxy.

    As `put_on`, but no proxy may have a fault of that name.

    :raises Conflict: a proxy has a fault of that name.
    """
    return await _place(supervisor, proxies, fault, by, rest, is_new=True)


async def put_on(
    supervisor: Supervisor, proxies: Sequence[Proxy], fault: FaultSpec, by: str, rest: Rest
) -> list[tuple[str, FaultStatus]]:
    """Add a fault to several proxies, or change it there: on all or on none. Return it as it acts on each.

    It calls `rest` after each proxy, which may wait. Therefore each proxy is checked again if it has changed
    meanwhile, and proxies that were removed are skipped. If a later check fails, the fault is taken back.

    :raises InvalidInput: a file that the fault needs on a proxy is unusable.
    :raises Unsupported: a proxy does not support the fault or its mode.
    """
    return await _place(supervisor, proxies, fault, by, rest, is_new=False)


async def _place(
    supervisor: Supervisor, proxies: Sequence[Proxy], fault: FaultSpec, by: str, rest: Rest, *, is_new: bool
) -> list[tuple[str, FaultStatus]]:
    prepared = []
    for proxy in proxies:
        if supervisor.runs(proxy):
            prepared.append((proxy, proxy.spec, _prepared(supervisor, proxy, fault, is_new)))
        await rest()
    placed: list[tuple[Proxy, FaultSpec | None, FaultSpec]] = []
    statuses = []
    try:
        for proxy, spec, one in prepared:
            if supervisor.runs(proxy):
                present = one if proxy.spec is spec else _prepared(supervisor, proxy, fault, is_new)
                before = proxy.spec.fault(fault.name)
                supervisor.faults.place(proxy, present, by)
                placed.append((proxy, before, present.spec))
                statuses.append((proxy.spec.name, supervisor.fault_status(proxy, fault)))
            await rest()
    except BaseException:
        for proxy, before, one_placed in reversed(placed):
            _take_back(supervisor, proxy, before, one_placed, by)
        raise
    return statuses


def _prepared(supervisor: Supervisor, proxy: Proxy, fault: FaultSpec, is_new: bool) -> PreparedFault:
    if is_new and proxy.spec.fault(fault.name) is not None:
        raise Conflict.name_taken(f"the fault {fault.name!r} on proxy {proxy.spec.name!r}")
    with _naming(proxy):
        return supervisor.faults.prepare(proxy, fault)


def _take_back(supervisor: Supervisor, proxy: Proxy, before: FaultSpec | None, placed: FaultSpec, by: str) -> None:
    """Undo the placing of a fault, unless the proxy or the fault has changed since."""
    if not supervisor.runs(proxy) or proxy.spec.fault(placed.name) is not placed:
        return
    if before is None:
        supervisor.faults.remove(proxy, placed.name, by)
    else:
        supervisor.faults.place(proxy, supervisor.faults.prepare(proxy, before), by)


async def heal_on(
    supervisor: Supervisor, proxies: Sequence[Proxy], fault: str | None, by: str, rest: Rest
) -> list[tuple[str, FaultSpec]]:
    """Remove every fault of these proxies, or those of one name; return each with the name of its proxy.

    It calls `rest` after each proxy, which may wait. Faults that others have removed meanwhile are skipped.

    :raises NotFound: no proxy of these has a fault of that name.
    """
    if fault is not None and not any(proxy.spec.fault(fault) for proxy in proxies):
        return supervisor.faults.heal(proxies, fault, by)  # raises the error
    removed = []
    for proxy in proxies:
        if supervisor.runs(proxy):
            with proxy.changing():  # all at once: data that one releases passes through no other of them
                gone = [one.name for one in proxy.spec.faults if fault in (one.name, None)]
                removed += [(proxy.spec.name, supervisor.faults.remove(proxy, name, by)) for name in gone]
        await rest()
    return removed


@contextmanager
def _naming(proxy: Proxy) -> Iterator[None]:
    """Add the name of the proxy to the message of an error that does not contain it."""
    name = repr(proxy.spec.name)

    def named(message: str) -> str:
        return message if name in message else f"on proxy {name}: {message}"

    try:
        yield
    except Unsupported as error:
        problems = [replace(one, message=named(one.message)) for one in error.problems]
        raise Unsupported(named(str(error)), problems, error.code) from None
    except InvalidInput as error:
        raise InvalidInput([replace(one, message=named(one.message)) for one in error.problems]) from None
