"""The context that every handler of the native API gets."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from aiohttp import web

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.control.wall import WallClock
from chaosproxy.model import PolicySpec

__all__ = ["BY", "Api", "Handler"]

BY = "rest"
"""The maker of every change by this API, in events and origins."""


@dataclass(frozen=True, slots=True)
class Api:
    """The parts of the running program that the handlers use."""

    supervisor: Supervisor
    policy: PolicySpec
    loop_name: str
    """`uvloop` or `asyncio`."""
    started_at: float = field(default_factory=time.monotonic)
    wall: WallClock = field(init=False)
    """Converts times of the supervisor's clock to dates."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wall", WallClock(self.supervisor.now))  # as dataclasses do where they are frozen


Handler: TypeAlias = Callable[[Api, web.Request], Awaitable[web.StreamResponse]]
