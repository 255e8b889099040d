"""The changes that apply to the proxies of a selection (`model.selection`).

`add_on`, `put_on` and `heal_on` run on the loop, and call `rest` between two proxies. While they rest, others may
change a proxy: each proxy is therefore checked again at the moment of its change. A change that fails on one proxy is
undone on the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

from chaosproxy.control.lease import Lease
from chaosproxy.control.preflight import PreparedFault
from chaosproxy.control.status import FaultStatus
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.declare import Given, Rule
from chaosproxy.errors import Conflict, InvalidInput, Unsupported
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.selection import SELECTORS
from chaosproxy.net.proxy import Proxy

__all__ = ["HEALED", "HEAL_ONE", "add_on", "heal_on", "put_on"]

Rest: TypeAlias = Callable[[], Awaitable[None]]
"""A function that gives the loop to others if the caller has held it for long."""

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


async def add_on(
    supervisor: Supervisor, proxies: Sequence[Proxy], fault: FaultSpec, by: str, rest: Rest, lease: Lease | None = None
) -> list[tuple[str, FaultStatus]]:
    """Add a fault to several proxies: to all or to none. Return it as it acts on each. Errors name the proxy.

    As `put_on`, but no proxy may have a fault of that name.

    :raises Conflict: a proxy has a fault of that name.
    """
    return await _place(supervisor, proxies, fault, by, rest, lease, is_new=True)


async def put_on(
    supervisor: Supervisor, proxies: Sequence[Proxy], fault: FaultSpec, by: str, rest: Rest, lease: Lease | None = None
) -> list[tuple[str, FaultStatus]]:
    """Add a fault to several proxies, or change it there: on all or on none. Return it as it acts on each.

    It calls `rest` after each proxy, which may wait. Therefore each proxy is checked again if it has changed
    meanwhile, and proxies that were removed are skipped. If a later check fails, the fault is taken back.

    :raises InvalidInput: a file that the fault needs on a proxy is unusable.
    :raises Unsupported: a proxy does not support the fault or its mode.
    :raises NotFound: the lease has ended; the fault is taken back.
    """
    return await _place(supervisor, proxies, fault, by, rest, lease, is_new=False)


async def _place(
    supervisor: Supervisor,
    proxies: Sequence[Proxy],
    fault: FaultSpec,
    by: str,
    rest: Rest,
    lease: Lease | None,
    *,
    is_new: bool,
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
                supervisor.faults.place(proxy, present, by, lease)
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
