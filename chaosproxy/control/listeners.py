"""Bind the listener of a proxy for a change that may still fail."""

from __future__ import annotations

from contextlib import ExitStack

from chaosproxy.errors import CannotListen
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.sockets.listener import Listener

__all__ = ["bound_for"]


async def bound_for(spec: ProxySpec, proxy: Proxy, undo: ExitStack, *path: str) -> Listener | None:
    """Bind and return a listener for `spec`, which `undo` closes; None if the proxy is disabled.

    Clients wait in its backlog until the proxy uses it.

    :raises CannotListen: with the field that has the address; `path` is the proxy's place in the input.
    """
    if not spec.enabled:
        return None
    try:
        listener = await proxy.bind(spec.listen)
    except CannotListen as error:
        raise CannotListen(str(error), error.code, [error.at(*path, "listen")]) from error
    undo.callback(listener.close)
    return listener
