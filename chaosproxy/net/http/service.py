"""The HTTP side of one proxy: what its connections share, which faults watch, and copies of requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chaosproxy.events import Event, MessageTouched, NotFramed
from chaosproxy.faults.chain import Link, Marker
from chaosproxy.http.caller import CALLER, CallerFaults, CallerStage, asks
from chaosproxy.http.context import HttpContext, HttpSettings
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.exchange import Exchange
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
from chaosproxy.net.timer.scheduler import Clock
from chaosproxy.seed import Seed
from chaosproxy.tallies import FaultTally, ProxyTally

__all__ = ["HttpService"]

_TOLD = 20
"""Messages per second and fault that events tell of."""
_LONGEST_PATH = 200
_CALLER_KEY = Marker(CALLER)


class HttpService:
    """What HTTP mode adds to a proxy."""

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
        """What requests have asked for themselves."""

    # ── settings ──────────────────────────────────────────────────────────────────────

    def configure(self, spec: ProxySpec) -> bool:
        """What the proxy's desired state says holds from now on; answers whether faults may act otherwise."""
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
        """These are all faults of the proxy now."""
        rules = [one.matcher for one in active if one.treats_messages]
        self._watching = bool(rules)
        self.context.use_rules(Rules(rules))

    @property
    def are_watched(self) -> bool:
        """Some fault treats messages."""
        return self._watching or self.context.settings.obeys_callers

    def are_treated(self, connection: Connection) -> bool:
        """A fault treats messages of that connection, or has begun to."""
        conversation = self.conversation_of(connection)
        return conversation is not None and (self.are_watched or conversation.is_treated)

    # ── for connections ───────────────────────────────────────────────────────────────

    def make_pipes(self, connection: Connection) -> tuple[HttpPipe, HttpPipe]:
        """Return the pipes upstream and downstream of a connection that speaks HTTP."""
        conversation, ordinal = Conversation(self.context), connection.ordinal
        requests, responses = Requests(conversation), Responses(conversation)
        return (
            HttpPipe(connection, "upstream", DIAL_QUEUE, REQUEST_READERS, requests, self, ordinal),
            HttpPipe(connection, "downstream", connection.owner.queue, RESPONSE_READERS, responses, self, ordinal),
        )

    def conversation_of(self, connection: Connection) -> Conversation | None:
        """Return the messages of a connection; None where it never spoke HTTP."""
        pipe = connection.upstream
        return pipe.conversation if isinstance(pipe, HttpPipe) else None

    def in_flight(self, connections: Iterable[Connection]) -> int:
        """Count the requests of these connections that have no complete response yet."""
        conversations = map(self.conversation_of, connections)
        return sum(one.outstanding for one in conversations if one is not None)

    def of(self, connection: Connection) -> MessageContext | None:
        """What message faults are told of a connection; None where it is no HTTP."""
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
        """What obeys requests that ask for faults themselves; `before` is what did so until now."""
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
        """What requests have asked for, where they may."""
        return {CALLER: self._caller_tally} if self._caller.headers else {}

    def send_copies(self, copies: Iterable[bytes]) -> None:
        """Send each request to the server once more."""
        for copy in copies:
            self._copies.send(copy)

    def close(self) -> None:
        """Copies under way are given up."""
        self._copies.close()

    # ── what is told ──────────────────────────────────────────────────────────────────

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
    """So many per second."""

    def __init__(self) -> None:
        self._second = 0
        self._quotas = 0
        self._suppressed = 0

    def allows(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._quotas = int(now), 0
        self._quotas += 1
        if self._quotas <= _TOLD:
            return True
        self._suppressed += 1
        return False

    def take_suppressed(self) -> int:
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
