"""Unreachable: nobody answers, not even with a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from chaosproxy.declare import Choice, param
from chaosproxy.faults.base import MODE, Admission, Depth, Existing, Fault

__all__ = ["Unreachable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable(Fault):
    """A client's SYN gets no answer, so that `connect` times out instead of being refused.

    In mode `packet` a filter on the listening socket swallows every SYN. In mode `stream`
    the socket's backlog is kept full, which Linux answers with silence, too; there a client
    that connects in the very moment the fault begins may still find itself connected, and
    is served when it ends. After it a client that is still trying gets through with its
    next SYN. Linux 6.5 and later repeats one after 1, 2, 3, 4, 5, 7, 11, 20, 36 and 69 seconds
    and gives up after 134; older kernels after 1, 3, 7, 15, 31 and 63, and give up after 127.
    Clients that try to connect meanwhile are counted (`chaosproxy_connection_attempts_total`).
    A unix socket has no SYN: connecting to it succeeds or waits, and nobody serves it.
    """

    type: ClassVar[str] = "unreachable"
    depth: ClassVar[Depth] = "packet"
    summary: ClassVar[str] = "lets new connections time out, unanswered; keeps, closes or resets those that are open"
    models: ClassVar[str] = "A host that is off, a wrong route, a firewall that drops instead of rejecting."
    example: ClassVar[str] = "{type: unreachable, existing: keep}"
    at_listener: ClassVar[bool] = True
    matches_sni: ClassVar[bool] = False
    on_pipes: ClassVar[bool] = False
    in_kernel: ClassVar[Literal["filters", "pacing"] | None] = "filters"

    existing: str = param(
        Choice("keep", "close", "reset"), "what becomes of open connections", default="keep", example="reset"
    )
    mode: str = param(MODE, "how SYNs are kept from being answered", default="auto", example="packet")

    def admission(self) -> Admission:
        return Admission(reply="silence", existing=cast("Existing", self.existing), by_filter=self.mode == "packet")

    def severs(self) -> bool:
        return self.existing != "keep"
