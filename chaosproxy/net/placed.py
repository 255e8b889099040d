"""A fault placed on a running proxy: whom it touches, and what it has done."""

from __future__ import annotations

from chaosproxy.faults.base import Direction, Door, Loss, Opening
from chaosproxy.faults.chain import Link
from chaosproxy.model.fault import FaultSpec
from chaosproxy.net.modes import Acting
from chaosproxy.seed import Seed
from chaosproxy.tallies import FaultTally

__all__ = ["Placed"]


class Placed:
    """One fault at work on one proxy."""

    def __init__(
        self, spec: FaultSpec, acting: Acting, proxy: str, seed: Seed, before: Placed | None = None
    ) -> None:
        """`before` is the fault whose settings this one replaces: its counts go on."""
        self.spec = spec
        self.acting = acting
        """Its settings with the mode settled: what acts, while `spec` says what was asked for."""
        self.door: Door | None = acting.settings.door()
        self.pacing: float | None = acting.settings.pacing()
        self.tally: FaultTally = FaultTally() if before is None else before.tally
        self._proxy = proxy
        self._seed = seed
        self._common: dict[Direction, object] = {way: acting.settings.common() for way in spec.placement.directions}
        same = before is not None and before.spec.placement == spec.placement
        self._chosen: dict[int, bool] = before._chosen if same and before is not None else {}
        self._seen: int = before._seen if same and before is not None else 0
        self._touched: int = before._touched if same and before is not None else 0

    def touches(self, connection: int) -> bool:
        """Whether it acts on that connection; the same answer as long as the placement stays."""
        chosen = self._chosen.get(connection)
        if chosen is None:
            chosen = self._chosen[connection] = self._choose(connection)
        return chosen

    def forget(self, connection: int) -> None:
        """That connection is no more."""
        self._chosen.pop(connection, None)

    def is_for(self, sni: str | None) -> bool:
        """Whether it is meant for a client that asks for that server's name."""
        return self.spec.sni is None or self.spec.sni.matches(sni)

    def acts(self, direction: Direction) -> bool:
        """Whether it is placed on that direction."""
        return direction in self._common

    def link(self, connection: int, direction: Direction, now: float) -> Link | None:
        """A stage of it for one pipe; None where it acts at the door or in the kernel alone."""
        if self.acting.mode == "packet":
            return None
        stage = self.acting.settings.open(self._opening(connection, direction, now))
        return None if stage is None else Link(self.spec.name, stage, self.tally, self)

    def loss(self, connection: int, direction: Direction, now: float) -> Loss | None:
        """What the kernel is to lose of one pipe; None where nothing."""
        if self.acting.mode != "packet":
            return None
        return self.acting.settings.loss(self._opening(connection, direction, now))

    def severs(self, direction: Direction) -> bool:
        """Nothing gets through that way, on any connection."""
        all_touched = self.spec.placement.touches_all and self.spec.sni is None
        return self.acts(direction) and all_touched and self.acting.settings.severs()

    def _opening(self, connection: int, direction: Direction, now: float) -> Opening:
        address = ("fault", self._proxy, self.spec.name, connection, direction)
        return Opening(lambda: self._seed.at(*address), now, self._common[direction])

    def _choose(self, connection: int) -> bool:
        placement = self.spec.placement
        self._seen += 1
        if placement.touches_all:  # nobody is left alone: no dice are needed
            self._touched += 1
            self.tally.connections += 1
            return True
        if self._seen <= placement.skip:
            return False
        if placement.nth is not None and (self._seen - placement.skip) % placement.nth != 0:
            return False
        if self._seed.share_at("touch", self._proxy, self.spec.name, connection) >= placement.probability:
            return False
        if placement.count is not None and self._touched >= placement.count:
            return False
        self._touched += 1
        self.tally.connections += 1
        return True
