"""Unreachable: new clients get no response, not even a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from chaosproxy.declare import Choice, param
from chaosproxy.faults.base import MODE, Admission, Depth, Existing, Fault

__all__ = ["Unreachable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable(Fault):
    """Sends no response to a client's SYN, so that `connect` times out instead of being refused.

    In mode `packet` a filter on the listening socket drops every SYN. In mode `stream` the
    socket's backlog is kept full, and Linux then drops SYNs too. A client that connects at the
    moment at which the fault begins may still be accepted by the kernel; it is served when the
    fault ends. After the fault a client that is still trying connects with its next SYN. Linux
    6.5 and later repeats it after 1, 2, 3, 4, 5, 7, 11, 20, 36 and 69 seconds and gives up after
    134; older kernels after 1, 3, 7, 15, 31 and 63, and give up after 127. A unix socket has no
    SYN: connecting succeeds or waits, and the client is not served. Clients that try to connect
    meanwhile are counted (`chaosproxy_connection_attempts_total`).
    """

    type: ClassVar[str] = "unreachable"
    depth: ClassVar[Depth] = "packet"
    summary: ClassVar[str] = "makes new connections time out; keeps, closes or resets those that are open"
    models: ClassVar[str] = "A host that is off, a wrong route, a firewall that drops instead of rejecting."
    example: ClassVar[str] = "{type: unreachable, existing: keep}"
    at_listener: ClassVar[bool] = True
    matches_sni: ClassVar[bool] = False
    on_pipes: ClassVar[bool] = False
    in_kernel: ClassVar[Literal["filters", "pacing"] | None] = "filters"

    existing: str = param(
        Choice("keep", "close", "reset"), "action on open connections", default="keep", example="reset"
    )
    mode: str = param(MODE, "packet: a filter drops SYNs; stream: a full backlog", default="auto", example="packet")

    def admission(self) -> Admission:
        return Admission(reply="silence", existing=cast("Existing", self.existing), by_filter=self.mode == "packet")

    def severs(self) -> bool:
        return True
