"""Shorthands for the supervisor of a test."""

from __future__ import annotations

from chaosproxy.control.status import ProxyStatus
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.model import ProxySpec
from chaosproxy.net.proxy import Proxy


async def change_proxy(supervisor: Supervisor, spec: ProxySpec, by: str) -> Proxy:
    """Change the proxy of that name to `spec`."""
    return await supervisor.merge_proxy(spec.name, lambda _: spec, by)


def statuses(supervisor: Supervisor) -> list[ProxyStatus]:
    """Return the status of every proxy."""
    return [supervisor.proxy_status(proxy) for proxy in supervisor.proxies()]
