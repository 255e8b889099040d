"""A fault placed on a running proxy: whom it touches, and what it has done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaosproxy.faults.base import Admission, Direction, Loss, Opening
from chaosproxy.faults.chain import Link
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.exchange import Exchange
from chaosproxy.http.match import Matcher
from chaosproxy.http.part import MessageKind
from chaosproxy.http.stage import MessageFault, MessageOpening
from chaosproxy.model.fault import FaultSpec
from chaosproxy.net.placement.modes import ResolvedMode
from chaosproxy.seed import Seed
from chaosproxy.tallies import FaultTally

__all__ = ["MessageContext", "ActiveFault"]


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What message faults are told of the connection they act on."""

    conversation: Conversation
    choose: Callable[[ActiveFault, Exchange, MessageKind], bool]
    """Whether that fault treats that message."""


class ActiveFault:
    """One fault at work on one proxy."""

    def __init__(
        self,
        spec: FaultSpec,
        resolved: ResolvedMode,
        proxy: str,
        seed: Seed,
        now: float,
        before: ActiveFault | None = None,
    ) -> None:
        """`before` is the fault whose settings this one replaces: its counts go on."""
        self.spec = spec
        self.since: float = now if before is None else before.since
        """When it began."""
        self.matcher: Matcher | None = None if spec.match is None else Matcher.of(spec.match)
        self.resolved = resolved
        """Its settings with the mode settled: what acts, while `spec` says what was asked for."""
        self.admission: Admission | None = resolved.settings.admission()
        self.pacing: float | None = resolved.settings.pacing()
        self.tally: FaultTally = FaultTally() if before is None else before.tally
        self._proxy = proxy
        self._seed = seed
        self._common: dict[Direction, object] = {way: resolved.settings.common() for way in spec.placement.directions}
        same = before is not None and before.spec.placement == spec.placement and before.spec.match == spec.match
        latest = before._latest if same and before is not None else {}
        self._latest: dict[int, dict[MessageKind, tuple[int, bool]]] = latest
        """Of each connection, the latest exchange asked for, and the answer."""
        self._chosen: dict[int, bool] = before._chosen if same and before is not None else {}
        self._seen: int = before._seen if same and before is not None else 0
        self._touched: int = before._touched if same and before is not None else 0

    @property
    def treats_messages(self) -> bool:
        """It acts on HTTP messages: it is on every connection, and chooses among their exchanges."""
        return isinstance(self.resolved.settings, MessageFault)

    def touches(self, connection: int) -> bool:
        """Whether it acts on that connection; the same answer as long as the placement stays."""
        if self.treats_messages:
            return True
        chosen = self._chosen.get(connection)
        if chosen is None:
            chosen = self._chosen[connection] = self._choose(connection)
            self.tally.connections += chosen
        return chosen

    def forget(self, connection: int) -> None:
        """That connection is no more."""
        self._chosen.pop(connection, None)
        self._latest.pop(connection, None)

    def chooses(self, exchange: Exchange, on: MessageKind, connection: int, client: str) -> bool:
        """Whether it treats that message: one that matches, and by its placement; asked twice, it answers the same."""
        latest = self._latest.setdefault(connection, {}).get(on)
        if latest is not None and latest[0] == exchange.number:
            return latest[1]
        chosen = self._matches(exchange, on, client) and self._choose(connection, exchange.number)
        self._latest[connection][on] = (exchange.number, chosen)
        self.tally.messages += chosen
        return chosen

    def _matches(self, exchange: Exchange, on: MessageKind, client: str) -> bool:
        matcher = self.matcher
        if matcher is None:
            return True
        if exchange.request is None or not matcher.request(exchange.request, client):
            return False
        return on == "request" or (exchange.response is not None and matcher.response(exchange.response))

    def is_for(self, sni: str | None) -> bool:
        """Whether it is meant for a client that asks for that server's name."""
        return self.spec.sni is None or self.spec.sni.matches(sni)

    def acts(self, direction: Direction) -> bool:
        """Whether it is placed on that direction."""
        return direction in self._common

    def link(
        self, connection: int, direction: Direction, now: float, messages: MessageContext | None = None
    ) -> Link | None:
        """A stage of it for one pipe; None where it acts at the door, in the kernel or on messages there are not."""
        if self.resolved.mode == "packet":
            return None
        opening = self._opening(connection, direction, now)
        if self.treats_messages:
            if messages is None or not messages.conversation.is_framed:
                return None
            opening = self._message_opening(opening, direction, messages)
        stage = self.resolved.settings.open(opening)
        return None if stage is None else Link(self.spec.name, stage, self.tally, self)

    def _message_opening(self, opening: Opening, direction: Direction, messages: MessageContext) -> MessageOpening:
        on: MessageKind = "request" if direction == "upstream" else "response"
        return MessageOpening(
            opening.make_dice, opening.now, opening.common, messages.conversation, self.spec.name, on, self.since,
            lambda exchange: messages.choose(self, exchange, on),
        )  # fmt: skip

    def loss(self, connection: int, direction: Direction, now: float) -> Loss | None:
        """What the kernel is to lose of one pipe; None where nothing."""
        if self.resolved.mode != "packet":
            return None
        return self.resolved.settings.loss(self._opening(connection, direction, now))

    def severs(self, direction: Direction) -> bool:
        """Nothing gets through that way, on any connection."""
        all_touched = self.spec.placement.touches_all and self.spec.sni is None
        return self.acts(direction) and all_touched and self.resolved.settings.severs()

    def _opening(self, connection: int, direction: Direction, now: float) -> Opening:
        address = ("fault", self._proxy, self.spec.name, connection, direction)
        return Opening(lambda: self._seed.at(*address), now, self._common[direction])

    def _choose(self, *address: int) -> bool:
        """Whether the next connection, or the next message that matches, is touched; its address is its numbers."""
        placement = self.spec.placement
        self._seen += 1
        if placement.touches_all:  # nobody is left alone: no dice are needed
            self._touched += 1
            return True
        if self._seen <= placement.skip:
            return False
        if placement.nth is not None and (self._seen - placement.skip) % placement.nth != 0:
            return False
        if self._seed.share_at("touch", self._proxy, self.spec.name, *address) >= placement.probability:
            return False
        if placement.count is not None and self._touched >= placement.count:
            return False
        self._touched += 1
        return True
