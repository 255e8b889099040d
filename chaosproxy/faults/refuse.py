"""Refuse: no process listens on the port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from chaosproxy.declare import Choice, param
from chaosproxy.faults.base import Admission, Depth, Existing, Fault

__all__ = ["Refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Fault):
    """Makes connecting fail with ECONNREFUSED: the listening socket is closed while the fault is on.

    Its port stays bound meanwhile, so that no other program can take it, and it listens again when the
    fault is removed. `existing` decides about the connections that are open when the fault begins. With
    a `probability`, or with `skip`, `count` or `nth`, the socket stays open: a client that the fault
    selects is accepted and reset at once. Clients that try to connect meanwhile are counted
    (`chaosproxy_connection_attempts_total`).
    """

    type: ClassVar[str] = "refuse"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "refuses new connections; keeps, closes or resets those that are open"
    models: ClassVar[str] = "A server that is down, restarting or not yet listening."
    example: ClassVar[str] = "{type: refuse, existing: reset}"
    on_pipes: ClassVar[bool] = False
    matches_sni: ClassVar[bool] = False

    existing: str = param(
        Choice("keep", "close", "reset"), "action on open connections", default="keep", example="reset"
    )

    def admission(self) -> Admission:
        return Admission(reply="refuse", existing=cast("Existing", self.existing))

    def severs(self) -> bool:
        return True
