"""Partition: cut one direction, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from chaosproxy.declare import Choice, Flag, param
from chaosproxy.faults.base import MODE, Admission, Depth, Drop, Fault, Loss, Opening, Stage
from chaosproxy.faults.hold import Hold

__all__ = ["Partition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(Fault):
    """Delivers no data in its direction, and lets no new connection be made.

    In mode `packet` the kernel drops packets before TCP sees them. The sender's own TCP
    retransmits, backs off and gives up, as on a broken network; after healing it recovers, and
    each byte arrives once. In mode `stream` chaosproxy reads the data and holds it: the sender
    considers it delivered, and after healing it arrives at once.

    With `acks: pass` packets with only an acknowledgement get through, so that the other
    direction works in full: a cut of one direction only. With `acks: drop` they are lost too, as
    behind a firewall that drops everything from one host: the other direction then stops when its
    window of unacknowledged data is full. A TCP handshake needs both directions, so a new
    client's SYN gets no response, whichever direction is cut.

    With `fail_fast` nothing is silent: open connections are reset, new ones refused.
    """

    type: ClassVar[str] = "partition"
    depth: ClassVar[Depth] = "packet"
    summary: ClassVar[str] = "cuts one direction or both: nothing arrives, new connections time out"
    models: ClassVar[str] = "A cut cable, a switch that forwards one way only, a wrong firewall rule."
    example: ClassVar[str] = "{type: partition, direction: upstream}"
    at_listener: ClassVar[bool] = True
    matches_sni: ClassVar[bool] = False
    in_kernel: ClassVar[Literal["filters", "pacing"] | None] = "filters"

    mode: str = param(MODE, "packet: in the kernel; stream: hold the data", default="auto", example="packet")
    acks: str = param(
        Choice("pass", "drop"), "in mode packet: pass or drop bare acknowledgements", default="pass", example="drop"
    )
    fail_fast: bool = param(
        Flag(), "resets and refuses connections instead of silence", default=False, example="true"
    )

    def why_stream(self) -> str:
        return "fail_fast drops no packets" if self.fail_fast else ""

    def open(self, opening: Opening) -> Stage | None:
        return None if self.mode == "packet" or self.fail_fast else Hold()

    def loss(self, opening: Opening) -> Loss | None:
        if self.mode != "packet" or self.fail_fast:
            return None
        return Loss(Drop(spare_acks=self.acks == "pass"))

    def admission(self) -> Admission:
        if self.fail_fast:
            return Admission(reply="refuse", existing="reset")
        return Admission(reply="silence", by_filter=self.mode == "packet")

    def severs(self) -> bool:
        return True
