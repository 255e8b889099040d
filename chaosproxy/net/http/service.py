"""The HTTP side of one proxy: the state that its connections share, its message faults, and copies of requests.

The proxy owns one HttpService, and passes it the desired state (`configure`) and the active faults
(`watch`). The service owns the HttpContext of all its connections, and makes their pipes, each pair
with a Conversation (`make_pipes`). A fault that opens a stage gets the MessageContext of the
connection from `of`. The pipes know the service as `net.http.pipe.Service`: they get the link of
CallerFaults from it, and pass it the copies of requests, which Copies sends.

Invariants:
- Each stage decides about a message through the `choose` that this module makes, which also publishes
  an event for each chosen message.
- At most _EVENTS_PER_SECOND events per fault and second are published; the next one has the number of
  suppressed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chaosproxy.events import Event, MessageTouched, NotFramed
from chaosproxy.faults.chain import Link, Marker
from chaosproxy.http.caller import CALLER, CallerFaults, CallerStage, asks
from chaosproxy.http.context import HttpContext, HttpSettings
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.exchange import Exchange
from chaosproxy.http.fingerprint import fingerprint
from chaosproxy.http.match import Rules
from chaosproxy.http.part import MessageKind
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses
from chaosproxy.http.stage import MessageOpening
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.http.copies import Copies
from chaosproxy.net.http.pipe import HttpPipe
from chaosproxy.net.http.readers import REQUEST_READERS, RESPONSE_READERS
from chaosproxy.net.placement.active_fault import ActiveFault, MessageContext
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.pipe import DIAL_QUEUE
from chaosproxy.net.stream.turn_request import Request
from chaosproxy.net.timer.scheduler import Clock
from chaosproxy.seed import Seed
from chaosproxy.tallies import FaultTally, ProxyTally

__all__ = ["HttpService"]

_EVENTS_PER_SECOND = 20
"""The maximum number of MessageTouched events per second and fault."""
_LONGEST_PATH = 200
"""The maximum length of a path in an event, in characters."""
_CALLER_KEY = Marker(CALLER)


class HttpService:
    """The additions of HTTP mode to one proxy."""

    def __init__(
        self, name: str, tally: ProxyTally, clock: Clock, publish: Callable[[Event], None], copies: Copies
    ) -> None:
        self._name = name
        self._tally = tally
        self._clock = clock
        self._publish_event = publish
        self._copies = copies
        self.context = HttpContext(tally, self._not_framed)
        self._watching = False
        self._quotas: dict[str, _Quota] = {}
        self._caller = CallerFaults()
        self._caller_tally = FaultTally()
        """The counts of the faults that requests asked for."""

    # ── settings ──────────────────────────────────────────────────────────────────────

    def configure(self, spec: ProxySpec) -> bool:
        """Apply the proxy's desired state; return True if the faults that requests may ask for have changed."""
        settings = HttpSettings(
            strict=spec.strict,
            announce=spec.announce,
            head_limit=spec.head_limit,
            hold_limit=spec.hold_limit,
            pipeline_limit=spec.pipeline_limit,
            obeys_callers=spec.caller_faults.headers,
        )
        self.context.configure(settings, spec.routes)
        before, self._caller = self._caller, spec.caller_faults
        return before != self._caller

    def watch(self, active: Iterable[ActiveFault]) -> None:
        """Use the message faults among `active`, which are all active faults of the proxy."""
        rules = [one.matcher for one in active if one.treats_messages]
        self._watching = bool(rules)
        self.context.use_rules(Rules(rules))

    @property
    def are_watched(self) -> bool:
        """Return True if a fault may treat messages."""
        return self._watching or self.context.settings.obeys_callers

    def are_treated(self, connection: Connection) -> bool:
        """Return True if a fault may treat messages of a connection, or has unfinished work on it."""
        conversation = self.conversation_of(connection)
        return conversation is not None and (self.are_watched or conversation.is_treated)

    # ── for connections ───────────────────────────────────────────────────────────────

    def make_pipes(self, connection: Connection) -> tuple[HttpPipe, HttpPipe]:
        """Return the upstream and the downstream pipe of a connection in HTTP mode."""
        conversation, ordinal = Conversation(self.context), connection.ordinal
        connection.turns.request = Request(fingerprint)
        requests, responses = Requests(conversation), Responses(conversation)
        return (
            HttpPipe(connection, "upstream", DIAL_QUEUE, REQUEST_READERS, requests, self, ordinal),
            HttpPipe(connection, "downstream", connection.owner.queue, RESPONSE_READERS, responses, self, ordinal),
        )

    def conversation_of(self, connection: Connection) -> Conversation | None:
        """Return the Conversation of a connection; None if it was not accepted in HTTP mode."""
        pipe = connection.upstream
        return pipe.conversation if isinstance(pipe, HttpPipe) else None

    def in_flight(self, connections: Iterable[Connection]) -> int:
        """Return the number of requests on these connections that have no complete response yet."""
        conversations = map(self.conversation_of, connections)
        return sum(one.outstanding for one in conversations if one is not None)

    def of(self, connection: Connection) -> MessageContext | None:
        """Return the context of message faults on a connection; None if it was not accepted in HTTP mode."""
        conversation = self.conversation_of(connection)
        if conversation is None:
            return None
        ordinal, client = connection.ordinal, connection.client_address

        def choose(active: ActiveFault, exchange: Exchange, on: MessageKind) -> bool:
            chosen = active.chooses(exchange, on, ordinal, client)
            if chosen:
                self._publish(active.spec.name, active.spec.type, exchange, ordinal)
            return chosen

        return MessageContext(conversation, choose)

    def caller_link(self, conversation: Conversation, connection: int, before: Link | None) -> Link | None:
        """Return the link that applies the faults that requests ask for; None if they must not be applied.

        `before` is the current link, which is returned if its settings have not changed.
        """
        if not self._caller.headers or not conversation.is_framed:
            return None
        if before is not None and before.owner is self._caller:
            return before

        def choose(exchange: Exchange) -> bool:
            if exchange.request is None or not asks(exchange.request.fields):
                return False
            self._caller_tally.messages += 1
            self._publish(CALLER, CALLER, exchange, connection)
            return True

        opening = MessageOpening(Seed(0).at, 0.0, None, conversation, CALLER, "request", 0.0, choose)
        return Link(_CALLER_KEY, CallerStage(self._caller, opening), self._caller_tally, self._caller)

    def caller_tallies(self) -> dict[str, FaultTally]:
        """Return the counts of the faults that requests ask for, if the proxy allows them."""
        return {CALLER: self._caller_tally} if self._caller.headers else {}

    def send_copies(self, copies: Iterable[bytes], sender: object) -> None:
        """Send each request of the connection `sender` to the server once more."""
        for copy in copies:
            self._copies.send(copy, sender)

    def close(self) -> None:
        """Abort the copies under way."""
        self._copies.close()

    # ── events ────────────────────────────────────────────────────────────────────────

    def _publish(self, fault: str, kind: str, exchange: Exchange, connection: int) -> None:
        now = self._clock()
        quota = self._quotas.setdefault(fault, _Quota())
        if not quota.allows(now):
            return
        target = "" if exchange.request is None else exchange.request.target
        self._publish_event(
            MessageTouched(
                proxy=self._name,
                at=now,
                fault=fault,
                type=kind,
                connection=connection,
                exchange=exchange.number,
                method=exchange.method,
                path=target.partition("?")[0][:_LONGEST_PATH],
                suppressed=quota.take_suppressed(),
            )
        )

    def _not_framed(self, reason: str) -> None:
        if self._tally.not_framed == 1:
            self._publish_event(NotFramed(proxy=self._name, at=self._clock(), reason=reason))


class _Quota:
    """The limit on the events of one fault per second."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0
        self._suppressed = 0

    def allows(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        self._count += 1
        if self._count <= _EVENTS_PER_SECOND:
            return True
        self._suppressed += 1
        return False

    def take_suppressed(self) -> int:
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
