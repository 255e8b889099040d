"""Bind the listener of a proxy for a change that may still fail, and report the proxies that do not listen.

A proxy keeps its listener while it exists, so that its port stays the same, and stays bound. A change
needs another listener only if it changes the address. The address is bound before anything else
changes, and everything is undone if the change fails:

    enabled                 the address is bound and listens; clients wait in its backlog
    enabled again           the present listener listens again
    disabled                the address is held; if the system refuses that, the proxy has no listener
    overlaps its present    the present listener releases its address first, and binds it again if the change fails;
                            so do the listeners of proxies that the same change moves or removes
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from chaosproxy.errors import CannotListen, Problem
from chaosproxy.model.address import Address
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.sockets.listener import Listener

__all__ = ["bound_for", "has_moved", "listening_problems", "needs_binding", "real_address", "reason_not_listening"]

logger = logging.getLogger(__name__)


def has_moved(before: ProxySpec, after: ProxySpec) -> bool:
    """Return whether a change needs another listener."""
    return (before.listen, before.ipv6only) != (after.listen, after.ipv6only)


def needs_binding(before: ProxySpec, after: ProxySpec) -> bool:
    """Return whether an address must be bound before the change from one to the other."""
    return has_moved(before, after) or (after.enabled and not before.enabled)


async def bound_for(
    spec: ProxySpec,
    proxy: Proxy,
    running: Mapping[str, Proxy],
    leaving: Sequence[Proxy],
    undo: ExitStack,
    path: tuple[str, ...] = (),
) -> Listener | None:
    """Return a listener for `spec`, bound as `undo` can undo; None if the address of a disabled proxy is refused.

    `proxy` is new, or runs and will be changed to `spec`. Clients wait in the backlog until it uses the listener.
    `leaving` are the proxies that the change moves to another address, or removes.

    :raises CannotListen: with the field that has the address; `path` is the proxy's place in the input.
    """
    present = proxy.listener
    try:
        _check_path(spec, running, leaving)
        if present is not None and not has_moved(proxy.spec, spec):
            present.secure()
            undo.callback(present.hold)
            return present
        listener = await _bind(spec, proxy, leaving, undo)
    except CannotListen as error:
        if not spec.enabled:
            logger.warning("the address of the disabled proxy %s cannot be kept for it: %s", spec.name, error)
            return None
        message = f"{error}{_user_of(spec, running, error)}"
        raise CannotListen(message, error.code, [Problem((*path, "listen"), error.code, message)]) from error
    undo.callback(listener.close)
    return listener


async def _bind(spec: ProxySpec, proxy: Proxy, leaving: Sequence[Proxy], undo: ExitStack) -> Listener:
    address = spec.listen
    if proxy.listener is not None and address == proxy.spec.listen:  # only ipv6only differs, so the port stays
        address = real_address(proxy)
    try:
        return await proxy.bind(address, spec.ipv6only, spec.enabled)
    except CannotListen as error:
        in_the_way = [one for one in (proxy, *leaving) if one.listener and real_address(one).port == address.port]
        if error.code != "address-in-use" or not in_the_way:
            raise
    for one in in_the_way:
        assert one.listener is not None
        one.listener.release()
        undo.callback(one.use_listener, one.listener)
        undo.callback(one.listener.restore)
    return await proxy.bind(address, spec.ipv6only, spec.enabled)


def real_address(proxy: Proxy) -> Address:
    """Return the desired listen address, with the port that the kernel has chosen for port 0, also while disabled."""
    listen = proxy.spec.listen
    if listen.is_unix or proxy.listener is None:
        return listen
    return replace(listen, port=proxy.listener.addresses[0].port)


def _check_path(spec: ProxySpec, running: Mapping[str, Proxy], leaving: Sequence[Proxy]) -> None:
    """Check that no other proxy has the path of a unix socket.

    Not every system tells the file of a proxy that refuses clients from one that is left over from a crash.

    :raises CannotListen: another proxy has it.
    """
    if spec.listen.is_unix:
        path = posixpath.normpath(spec.listen.host)
        for name, other in running.items():
            listen = other.spec.listen
            same = listen.is_unix and posixpath.normpath(listen.host) == path
            if same and name != spec.name and other not in leaving:
                raise CannotListen(f"cannot listen on {spec.listen}: the path is in use", "address-in-use")


def _user_of(spec: ProxySpec, running: Mapping[str, Proxy], error: CannotListen) -> str:
    """Return the proxy that uses the port of `spec`, as a part of the message for `error`."""
    if error.code != "address-in-use":
        return ""
    for name, other in running.items():
        if name != spec.name and other.listener is not None and real_address(other).port == spec.listen.port:
            off = "" if other.spec.enabled else ", which is disabled and keeps it"
            return f" (the proxy {name!r} has {real_address(other)}{off})"
    return ""


def reason_not_listening(proxy: Proxy) -> str:
    """Return the reason why a proxy does not listen; empty if it does, or if a fault refuses its clients."""
    if not proxy.spec.enabled:
        return "disabled"
    return "; ".join(map(str, proxy.listener.missing.values())) if proxy.listener is not None else "not bound"


def listening_problems(proxies: Iterable[Proxy]) -> list[Problem]:
    """Return a problem for each address on which one of these proxies cannot listen, although it is enabled."""
    return [
        reason.at("proxies", proxy.spec.name, "listen")
        for proxy in proxies
        if proxy.spec.enabled and proxy.listener is not None
        for reason in proxy.listener.missing.values()
    ]
