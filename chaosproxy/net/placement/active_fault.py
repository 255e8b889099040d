"""A fault placed on a running proxy: the connections and messages it acts on, and its counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaosproxy.events import Met
from chaosproxy.faults.base import Admission, Direction, Fault, Loss, Opening
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
    """The parts of a connection that message faults need."""

    conversation: Conversation
    choose: Callable[[ActiveFault, Exchange, MessageKind], bool]
    """Return whether that fault acts on that message."""


class ActiveFault:
    """One fault that acts on one proxy."""

    def __init__(
        self,
        spec: FaultSpec,
        resolved: ResolvedMode,
        proxy: str,
        seed: Seed,
        now: float,
        before: ActiveFault | None = None,
    ) -> None:
        """`before` is the fault that this one replaces: its counts continue."""
        self.spec = spec
        """The fault as the user gave it."""
        self.since: float = now if before is None else before.since
        """The time at which the fault was added."""
        self.matcher: Matcher | None = None if spec.match is None else Matcher.of(spec.match)
        self.resolved = resolved
        """The settings with the resolved mode, which act; `spec` may say `mode: auto`."""
        self.admission: Admission | None = resolved.settings.admission()
        self.pacing: float | None = resolved.settings.pacing()
        self.tally: FaultTally = FaultTally() if before is None else before.tally
        self._proxy = proxy
        self._seed = seed
        directions = spec.placement.directions
        self._common: dict[Direction, object] = {each: resolved.settings.common() for each in directions}
        """The state that the stages of all connections share, by direction."""
        same = before is not None and before.spec.placement == spec.placement and before.spec.match == spec.match
        latest = before._latest if same and before is not None else {}
        self._latest: dict[int, dict[MessageKind, tuple[int, bool]]] = latest
        """The latest decision about each connection and kind of message: the exchange's number, and the result."""
        self._chosen: dict[int, bool] = before._chosen if same and before is not None else {}
        self._seen: int = before._seen if same and before is not None else 0
        self._touched: int = before._touched if same and before is not None else 0

    @property
    def treats_messages(self) -> bool:
        """True if it acts on HTTP messages: then it touches every connection, and chooses exchanges."""
        return isinstance(self.resolved.settings, MessageFault)

    def touches(self, connection: int) -> bool:
        """Return whether it acts on that connection; the result stays the same until the placement changes."""
        if self.treats_messages:
            return True
        chosen = self._chosen.get(connection)
        if chosen is None:
            chosen = self._chosen[connection] = self._choose(connection)
            self.tally.connections += chosen
        return chosen

    def forget(self, connection: int) -> None:
        """Drop the state of a connection that has ended."""
        self._chosen.pop(connection, None)
        self._latest.pop(connection, None)

    def chooses(self, exchange: Exchange, on: MessageKind, connection: int, client: str) -> bool:
        """Return whether it acts on that message, by its match and its placement; repeatable for one message."""
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

    def matches_sni(self, sni: str | None) -> bool:
        """Return whether it acts on clients that request this server name."""
        return self.spec.sni is None or self.spec.sni.matches(sni)

    def acts(self, direction: Direction) -> bool:
        """Return whether it is placed on that direction."""
        return direction in self._common

    def link(
        self, connection: int, direction: Direction, now: float, messages: MessageContext | None = None
    ) -> Link | None:
        """Return a new stage for one pipe, in a Link; None if it has none there.

        A fault has no stage if it acts in the kernel or only on new clients, or if it acts on HTTP messages
        and the connection carries none.
        """
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

    def holds(self, direction: Direction) -> bool:
        """Return whether it has a stage in the pipes of that direction, which may hold bytes."""
        in_chain = type(self.resolved.settings).open is not Fault.open and self.resolved.mode != "packet"
        return in_chain and self.acts(direction)

    @property
    def name(self) -> str:
        return self.spec.name

    def loss(self, connection: int, direction: Direction, now: float) -> Loss | None:
        """Return the packets that the kernel is to drop for one pipe; None in mode stream."""
        if self.resolved.mode != "packet":
            return None
        return self.resolved.settings.loss(self._opening(connection, direction, now))

    def severs(self, direction: Direction) -> bool:
        """Return whether nothing of a new client passes in that direction."""
        settings = self.resolved.settings
        all_touched = self.spec.placement.touches_all and self.spec.sni is None
        return all_touched and settings.severs() and (self.acts(direction) or not settings.on_pipes)

    @property
    def hides(self) -> Met | None:
        """The result of every connection attempt if the fault keeps all SYNs from the listening socket; else None."""
        admission = self.admission
        if admission is None or not self.spec.placement.touches_all:
            return None
        if admission.reply == "refuse":
            return "refused"
        loses_all = admission.drop is not None and admission.drop.share >= 1 and self.acts("upstream")
        return "unanswered" if admission.reply == "silence" or loses_all else None

    def _opening(self, connection: int, direction: Direction, now: float) -> Opening:
        address = ("fault", self._proxy, self.spec.name, connection, direction)
        return Opening(lambda: self._seed.at(*address), now, self._common[direction])

    def _choose(self, *address: int) -> bool:
        """Decide about the next connection or matching message; `address` is the address of its random number."""
        placement = self.spec.placement
        self._seen += 1
        if placement.touches_all:  # no random number is needed
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
