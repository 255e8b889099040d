"""The context that every handler of the native API gets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from aiohttp import web

from chaosproxy.control.leases import Leases
from chaosproxy.control.limits import Limit
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.control.v1.event_stream import EventStream
from chaosproxy.control.wall import WallClock
from chaosproxy.journal.ring import Ring
from chaosproxy.model import PolicySpec, ProxySpec
from chaosproxy.net.proxy import Proxy

__all__ = ["BY", "Api", "Handler"]

BY = "rest"
"""The maker of every change by this API, in events and origins."""


@dataclass(frozen=True, slots=True)
class Api:
    """The parts of the running program that the handlers use."""

    supervisor: Supervisor
    policy: PolicySpec
    limits: Callable[[], Sequence[Limit]]
    """Returns the limits of the process."""
    loop_name: str
    """`uvloop` or `asyncio`."""
    ring: Ring
    """The latest events of the supervisor's bus."""
    naming: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by requests that choose a free name and use it after they have waited."""
    started_at: float = field(default_factory=time.monotonic)
    wall: WallClock = field(init=False)
    """Converts times of the supervisor's clock to dates."""
    events: EventStream = field(init=False)
    """Sends the events of the ring."""
    leases: Leases = field(init=False)

    def proxies_after(self, name: str | None) -> Iterator[Proxy]:
        """Return the proxies that follow the one with this name, or all; each only if it runs when its turn comes.

        :raises NotFound: no proxy has this name.
        """
        proxies = self.supervisor.proxies()
        if name is not None:
            proxies = proxies[proxies.index(self.supervisor.proxy(name)) + 1 :]
        return filter(self.supervisor.runs, proxies)

    def specs(self) -> list[ProxySpec]:
        """Return the settings of all proxies, which are immutable values."""
        return [proxy.spec for proxy in self.supervisor.proxies()]

    def __post_init__(self) -> None:
        wall = WallClock(self.supervisor.now)
        object.__setattr__(self, "wall", wall)  # as dataclasses do where they are frozen
        object.__setattr__(self, "events", EventStream(self.ring, wall.date))
        object.__setattr__(self, "leases", Leases(self.supervisor))


Handler: TypeAlias = Callable[[Api, web.Request], Awaitable[web.StreamResponse]]
