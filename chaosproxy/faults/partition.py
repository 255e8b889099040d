"""Partition: one direction, or both, is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from chaosproxy.declare import Choice, Flag, param
from chaosproxy.faults.base import MODE, Admission, Depth, Drop, Fault, Loss, Opening, Stage
from chaosproxy.faults.hold import Hold

__all__ = ["Partition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(Fault):
    """Nothing that is sent in its direction arrives, and no new connection comes about.

    In mode `packet` the kernel drops what arrives, before TCP sees it: the sender's own TCP
    sends it again, backs off and gives up as it does on a broken network, and after healing
    recovers by itself, each byte arriving once. In mode `stream` the bytes are taken from
    the sender and held: it believes them delivered; after healing they arrive at once.

    With `acks: pass` packets that hold an acknowledgement alone get through, so that what
    flows the other way flows in full: a cut of one direction only. With `acks: drop` they
    are lost too, as where a firewall drops all that one host sends: then the other way
    comes to a halt when its window of unacknowledged data is full. A TCP handshake needs
    both ways, so a new client's SYN is not answered, whichever way is cut.

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

    mode: str = param(MODE, "where the cut is made", default="auto", example="packet")
    acks: str = param(
        Choice("pass", "drop"), "mode packet: what becomes of bare acknowledgements", default="pass", example="drop"
    )
    fail_fast: bool = param(Flag(), "reset and refuse instead of silence", default=False, example="true")

    def why_stream(self) -> str:
        return "fail_fast needs no packets to be dropped" if self.fail_fast else ""

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
