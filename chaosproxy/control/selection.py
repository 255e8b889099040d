"""Selections: the proxies to which one change applies, and the changes that accept a selection.

A selection is exactly one of three: names of proxies, in which `*` stands for any text; a
service; or a node, which selects the proxies to and from it. It must select at least one
proxy, so that a misspelt selector is an error instead of a change without effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from chaosproxy.control.nodes import proxies_of
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.declare import Kind, Text, nearest
from chaosproxy.errors import BadValue, Conflict, InvalidInput, NotFound, Problem, Unsupported
from chaosproxy.http.patterns import glob
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.partition import Names
from chaosproxy.net.proxy import Proxy

__all__ = ["SELECTORS", "Selection", "add_on", "read_selection", "select"]

SELECTORS: Mapping[str, Kind] = {"proxies": Names(), "service": Text(), "node": Text()}
"""The keys of a selection, and their values."""

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
    first, *others = given
    if others:
        message = f"cannot be combined with {first}; use one of {', '.join(SELECTORS)}"
        raise InvalidInput([Problem((key,), "invalid-together", message, at_key=True) for key in others])
    try:
        value = SELECTORS[first].read(given[first])
    except BadValue as bad:
        raise InvalidInput([Problem((first,), bad.code, str(bad))]) from None
    return Selection(**{first: value})  # type: ignore[arg-type]  # the kind of each key has read it


def select(selection: Selection, proxies: Sequence[Proxy]) -> list[Proxy]:
    """Return the selected proxies, in the order of `proxies`.

    :raises NotFound: a name, glob, service or node selects no proxy; with every such name, and the nearest one that
        does.
    """
    names = [proxy.spec.name for proxy in proxies]
    found: set[str] = set()
    problems: list[Problem] = []
    several = len(selection.proxies) > 1
    for index, pattern in enumerate(selection.proxies):
        try:
            found.update(_matching(pattern, names))
        except NotFound as error:
            problems.append(error.at("proxies", *([index] if several else [])))
    try:
        if selection.node is not None:
            return proxies_of(selection.node, proxies)
        if selection.service is not None:
            return _of_service(selection.service, proxies)
    except NotFound as error:
        problems.append(error.at("service" if selection.node is None else "node"))
    if problems:
        raise NotFound("; ".join(problem.message for problem in problems), problems=problems)
    return [proxy for proxy in proxies if proxy.spec.name in found]


def _of_service(service: str, proxies: Sequence[Proxy]) -> list[Proxy]:
    found = [proxy for proxy in proxies if proxy.spec.service == service]
    if not found:
        known = list(dict.fromkeys(proxy.spec.service for proxy in proxies if proxy.spec.service))
        has = f"known services: {', '.join(known[:_LISTED])}" if known else "add `service` to proxies"
        raise NotFound(f"no proxy has the service {service[:_SHOWN]!r}{nearest(service, known)}; {has}")
    return found


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the proxy with exactly this name, or all proxies that match it as a glob if there is none."""
    if pattern in names:
        return [pattern]
    fits = glob(pattern)
    found = [name for name in names if fits(name)]
    if not found:
        has = f"known proxies: {', '.join(names[:_LISTED])}" if names else "there are none yet"
        verb = "has a name that matches" if "*" in pattern else "is called"
        raise NotFound(f"no proxy {verb} {pattern[:_SHOWN]!r}{nearest(pattern, _like(pattern, names))}; {has}")
    return found


def _like(pattern: str, names: Sequence[str]) -> list[str]:
    """Return words for `nearest`: the names, or for `ftp-*` their beginnings of the same length with a star."""
    stem, star, rest = pattern.partition("*")
    return [f"{name[: len(stem)]}*" for name in names] if star and not rest else list(names)


def add_on(supervisor: Supervisor, proxies: Sequence[Proxy], fault: FaultSpec, by: str) -> None:
    """Add a fault to several proxies in one turn of the loop: to all or to none. Errors name the proxy.

    :raises Conflict: a proxy has a fault of that name.
    :raises InvalidInput: a file that the fault needs on a proxy is unusable.
    :raises Unsupported: a proxy does not support the fault or its mode.
    """
    prepared = []
    for proxy in proxies:
        if proxy.spec.fault(fault.name) is not None:
            raise Conflict.name_taken(f"the fault {fault.name!r} on proxy {proxy.spec.name!r}")
        with _naming(proxy):
            prepared.append((proxy, supervisor.faults.prepare(proxy, fault)))
    for proxy, one in prepared:
        supervisor.faults.place(proxy, one, by)


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
