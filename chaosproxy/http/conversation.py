"""The state of one connection in HTTP mode, which both directions share.

`Requests` and `Responses` frame the bytes of the two directions and report their findings through
`request_begins`, `response_ends`, `client_unframed` and so on. Faults call `inject`,
`lose_request`, `lose_response`, `end_at` and `send_copies`. The Gate behind all faults calls
`settle_doubt` and `delivered`. Each of these methods determines which Event has happened, moves the
machines (`states`), and queues the effects. A pipe takes each effect from `next_effect` and
performs it. This module never waits and never writes.

Invariants:

- Bytes that cannot be framed make both directions plain streams, unless a fault has unfinished
  work: an injected response, a loss, or the rest of a request that is swallowed. A plain stream
  would then carry responses to the wrong requests, or the end of a request without its
  beginning. So no more bytes pass in that direction, and the connection is closed after the
  responses to earlier requests.
- After a lost message, no response is forwarded: the client would take it for the lost one.
- The unfinished work of a fault is completed even after the fault was removed (`is_treated`).
- Each exchange ends once (`Exchange.deliver`, `Exchange.leave_unanswered`).
"""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.http.context import HttpContext
from chaosproxy.http.effects import Effect, EndAt, NoteFailure, SendCopies, is_failure
from chaosproxy.http.exchange import Exchange, InjectedResponse, Sign, State
from chaosproxy.http.exchanges import Exchanges
from chaosproxy.http.framing import Framer
from chaosproxy.http.head import RequestHead, ResponseHead
from chaosproxy.http.parse import Unframed
from chaosproxy.http.part import MessageKind
from chaosproxy.http.states import EFFECTS, Event, Intake, Losses, Requesting, Responding, Senders, States, Treatment

__all__ = ["UPGRADED", "Conversation", "Mark"]

UPGRADED = "upgraded"
"""The `stream_reason` of a connection on whose upgrade both sides have agreed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The first exchange that something affects, and the fault that caused it."""

    exchange: int
    fault: str


NOWHERE = Mark(2**62, "")
"""The mark of something that affects no exchange: no connection reaches this number."""


class Conversation(Exchanges):
    """The exchanges of a connection, its states, and the unfinished work of faults."""

    __slots__ = (
        "_doubt", "_effects", "_framers", "breach", "context", "ending", "loss", "silence", "states", "stream_reason",
    )  # fmt: skip

    def __init__(self, context: HttpContext) -> None:
        super().__init__()
        self.context = context
        self.states = States()
        self.stream_reason: str | None = None
        """The reason why bytes are no longer framed; None while they are."""
        self.ending: EndAt | None = None
        """The time at which the connection must be closed, and the fault that set it."""
        self._framers: dict[MessageKind, Framer] = {}
        self.silence = NOWHERE
        """The first exchange whose response does not reach the client, because of a loss."""
        self.loss = NOWHERE
        """The first exchange whose request does not reach the server, because of a loss."""
        self.breach = NOWHERE
        """The exchange whose request cannot be framed: the connection is closed when its response would be next."""
        self._doubt = ""
        """The reason why bytes from the client cannot be framed, until `settle_doubt` decides about them."""
        self._effects: list[Effect] = []

    # ── queries ───────────────────────────────────────────────────────────────────────

    @property
    def is_framed(self) -> bool:
        """Return True if bytes are framed as messages."""
        return self.stream_reason is None

    @property
    def is_silent(self) -> bool:
        """Return True if a message was lost, so that no later response is forwarded."""
        return self.states.losses is not Losses.NOTHING

    @property
    def drops_requests(self) -> bool:
        """Return True if bytes that the client sends now do not reach the server."""
        states = self.states
        if states.losses is Losses.REQUESTS or states.requests.treatment is Treatment.DROP:
            return True
        return self.sending is not None and self.sending.is_swallowed

    @property
    def is_treated(self) -> bool:
        """Return True if a fault has unfinished work on this connection, even if the fault was removed."""
        if self.is_silent or self.ending is not None or self.drops_requests:
            return True
        return self.are_swallowed

    @property
    def unfinished_fault(self) -> str:
        """Return the name of a fault with unfinished work; empty if there is none."""
        under_way = [] if self.sending is None else [self.sending]
        for exchange in (*under_way, *self.waiting):
            if exchange.is_swallowed and exchange.injected is not None:
                return exchange.injected.fault
        return self.silence.fault or ("" if self.ending is None else self.ending.fault)

    @property
    def client_gave_up(self) -> bool:
        """Return True if the connection is silent and the client has ended its stream."""
        return self.is_silent and self.states.senders in (Senders.SERVER, Senders.NEITHER)

    def is_answered(self, exchange: Exchange) -> bool:
        """Return True if the response to an exchange may still reach the client; after a loss only earlier ones may."""
        return not self.is_silent or 0 < exchange.number < self.silence.exchange

    def is_dropped(self, exchange: Exchange) -> bool:
        """Return True if the request of an exchange, or the rest of it, must not reach the server."""
        return exchange.is_swallowed or exchange.number >= self.loss.exchange

    @property
    def breach_fault(self) -> str | None:
        """Return the fault for which the connection must be closed now; None if it must not.

        The requests before the broken one then have their responses.
        """
        if self.states.requests is not Requesting.BROKEN or self.is_silent:
            return None
        waiting = self.waiting
        is_next = not waiting or waiting[0].number >= self.breach.exchange
        return self.breach.fault if is_next else None

    # ── for the pipes ─────────────────────────────────────────────────────────────────

    def next_effect(self) -> Effect | None:
        """Return the next effect that a pipe must perform, each one once; None if there is none.

        Effects are returned one by one, because performing one may queue others, and perform them as well.
        """
        if not self._effects:
            self._regulate()
        return self._effects.pop(0) if self._effects else None

    def let_pass(self, now: float) -> None:
        """Finish the exchanges in delivery: the last message fault was removed, and their bytes were forwarded."""
        for exchange in [*self.delivering.values()]:
            self.delivered(exchange, now)
        self.settle_doubt()

    # ── for both directions ───────────────────────────────────────────────────────────

    def framed_by(self, framer: Framer, on: MessageKind) -> None:
        """Note the framer of one direction."""
        self._framers[on] = framer

    def update(self) -> None:
        """Recompute `is_busy`; to be called after bytes were framed."""
        are_between = all([framer.is_between for framer in self._framers.values()])
        self.is_busy = self.outstanding > 0 or not are_between or not self.states.are_ordinary

    def request_begins(self, head: RequestHead, is_upgrade: bool, now: float) -> Exchange:
        """Begin the exchange of a request whose head is whole."""
        exchange = self.begin(head, self.context.tally_of(head.method, head.target), now)
        exchange.is_upgrade = is_upgrade
        if exchange.number < self.loss.exchange:
            self.waiting.append(exchange)
        else:
            exchange.is_swallowed = True
            exchange.leave_unanswered()
        if is_upgrade:
            self._framers["request"].wait()
            self._on(Event.UPGRADE_REQUESTED)
        return exchange

    def request_ends(self, exchange: Exchange, now: float) -> None:
        """Note that the request of an exchange is whole."""
        exchange.sign(Sign.REQUEST_WHOLE)
        self.sending = None
        injected = exchange.injected
        if injected is not None and injected.then_close and exchange.state is State.DONE:
            self.end_at(now, injected.fault)

    def client_unframed(self, reason: str, in_chain: bool) -> None:
        """Note that bytes from the client cannot be framed; `in_chain`: they go through message faults."""
        if in_chain and not self.context.settings.strict:
            self._doubt = reason
            self._on(Event.DOUBTED)
        else:
            self._go_plain(reason, self.context.settings.strict)

    def settle_doubt(self) -> None:
        """Decide about bytes from the client that cannot be framed; all earlier bytes have passed the faults."""
        if self.states.requests is not Requesting.DOUBTFUL:
            return
        if self.is_treated:
            self.context.not_framed(self._doubt)
            has_begun = self.sending is not None and not self.sending.is_swallowed
            self.breach = Mark(self.count if has_begun else self.count + 1, self.unfinished_fault)
            self._on(Event.REQUEST_BROKEN)
        else:  # bytes that arrived before the proxy became strict pass, as those of earlier plain streams do
            self._go_plain(self._doubt, is_strict=False)
        self.update()

    def client_ends(self, now: float) -> None:
        """Note that the client has closed its socket or only its sending side; the two look the same."""
        self._on(Event.CLIENT_ENDED)
        self._end_silence(now)

    def response_begins(self, exchange: Exchange, head: ResponseHead, is_tunnel: bool) -> None:
        """Note that the head of a response to an exchange is whole.

        :raises Unframed: the response cannot be paired with a request for certain.
        """
        if self.states.responses is Responding.UNSOLICITED:
            raise Unframed("a response after one that no request asked for")
        if is_tunnel and not exchange.is_upgrade:
            raise Unframed("an upgrade that no request asked for")
        if head.status < 200 and not is_tunnel:
            return  # an interim response: the final one follows
        exchange.response = head
        exchange.sign(Sign.RESPONSE_BEGINS)
        if not exchange.number:
            self._on(Event.UNSOLICITED)
        if is_tunnel:
            self.stream_reason = UPGRADED
            self._on(Event.UPGRADED)
        elif exchange.is_upgrade:
            self._on(Event.UPGRADE_REFUSED)
            self._framers["request"].decide()

    def response_ends(self, exchange: Exchange, now: float, in_chain: bool) -> None:
        """Note that the final response to an exchange is whole; `in_chain`: it goes through message faults."""
        exchange.sign(Sign.RESPONSE_WHOLE)
        self.take_first(exchange)
        if exchange.has_ended:
            return  # a fault has lost its request in the meantime
        if in_chain:
            self.forward(exchange)
        else:
            self._deliver(exchange, now)

    def injection_begins(self) -> Exchange | None:
        """Take and return the exchange whose injected response is next; None if no injected response is next."""
        waiting = self.waiting
        if not waiting or (injected := waiting[0].injected) is None:
            return None
        exchange = waiting.popleft()
        exchange.changed_by.append(injected.fault)
        exchange.sign(Sign.RESPONSE_BEGINS)
        exchange.sign(Sign.RESPONSE_WHOLE)
        return exchange

    def forward(self, exchange: Exchange) -> bool:
        """Note that a whole response passes to the client through the faults; return False if it must not."""
        if not exchange.number:
            return True
        if not self.is_answered(exchange):
            exchange.leave_unanswered()
            return False
        self.delivering[exchange.number] = exchange
        return True

    def server_unframed(self, reason: str, in_chain: bool, now: float) -> None:
        """Note that bytes from the server cannot be framed; `in_chain`: they go through message faults."""
        if not in_chain or not self.is_treated or self.context.settings.strict:
            self._go_plain(reason, self.context.settings.strict)
            return
        self.context.not_framed(reason)
        self._on(Event.RESPONSE_BROKEN)
        self.server_ends(now)

    def server_ends(self, now: float) -> None:
        """Note that the server has closed, broken off, or sent bytes that cannot be framed."""
        self._on(Event.SERVER_ENDED)
        self._end_silence(now)

    def delivered(self, exchange: Exchange, now: float) -> None:
        """Note that the last part of a response is forwarded to the client."""
        self.delivering.pop(exchange.number, None)
        self._deliver(exchange, now)
        self._end_silence(now)
        self.update()

    def _deliver(self, exchange: Exchange, now: float) -> None:
        exchange.deliver(now)
        if exchange.injected is not None:
            self._effects.append(NoteFailure(exchange.status, exchange.injected.fault))
        elif is_failure(exchange.status):
            self._effects.append(NoteFailure(exchange.status, ""))

    # ── for faults ────────────────────────────────────────────────────────────────────

    def inject(self, exchange: Exchange, response: InjectedResponse) -> None:
        """Respond in place of the server, which gets no more of the request."""
        exchange.injected, exchange.is_swallowed = response, True
        self._on(Event.INJECTED)

    def send_copies(self, request: bytes, copies: int) -> None:
        """Send `copies` copies of the request to the server, each on a separate connection."""
        self._effects.append(SendCopies(request, copies))

    def lose_response(self, exchange: Exchange, fault: str, now: float) -> None:
        """Lose the response to an exchange, and all later ones: the client would take one of them for this one."""
        self._on(Event.RESPONSE_LOST)
        self._be_silent(exchange, fault, now)

    def lose_request(self, exchange: Exchange, fault: str, now: float) -> None:
        """Lose a request, and all later ones: the client would take one of their responses for the response to this."""
        self._on(Event.REQUEST_LOST)
        exchange.is_swallowed = True
        if exchange.number < self.loss.exchange:
            self.loss = Mark(exchange.number, fault)
        self.end_waiting(self.loss.exchange)
        self._be_silent(exchange, fault, now)

    def end_at(self, at: float, fault: str) -> None:
        """Close the connection at that time, even if the fault is removed before; the earliest time counts."""
        if self.ending is None or at < self.ending.at:
            self.ending = EndAt(at, fault)
            self._effects.append(self.ending)

    # ── events and effects ────────────────────────────────────────────────────────────

    def _on(self, event: Event) -> None:
        self.states.on(event)
        if event in EFFECTS:
            self._effects.append(EFFECTS[event])

    def _regulate(self) -> None:
        """Pause a client at the limit of requests without a response; resume it at half the limit.

        A silent connection must not pause: it would wait for ever, and its end would not be seen. A plain stream must
        not pause either, since its responses are not counted.
        """
        outstanding, limit = self.outstanding, self.context.settings.pipeline_limit
        may_pause = self.is_framed and not self.is_silent
        if self.states.intake is Intake.OPEN:
            if may_pause and outstanding > limit:
                self._on(Event.BACKLOG_FULL)
        elif not may_pause or outstanding <= max(1, limit // 2):
            # At least 1: the last request may be half sent, and its response may depend on the rest of it.
            self._on(Event.BACKLOG_DRAINED)

    def _go_plain(self, reason: str, is_strict: bool) -> None:
        """Make the connection a plain stream, since its bytes cannot be framed; reset it if the proxy is strict."""
        if self.stream_reason is None:
            self.stream_reason = reason
            self.context.not_framed(reason)
            self._on(Event.FORBIDDEN if is_strict else Event.UNFRAMED)

    def _be_silent(self, exchange: Exchange, fault: str, now: float) -> None:
        if exchange.number < self.silence.exchange:
            self.silence = Mark(exchange.number, fault)
            self.end_delivering(exchange.number)
            self._end_silence(now)
        self.update()

    def _end_silence(self, now: float) -> None:
        """Close a silent connection whose client has ended, once all responses before the loss are delivered."""
        if self.client_gave_up and not self._delivers_more:
            self.end_at(now, self.silence.fault)

    @property
    def _delivers_more(self) -> bool:
        """Return True if a response from before the loss may still be delivered."""
        waiting = self.waiting
        server_has_ended = self.states.senders in (Senders.CLIENT, Senders.NEITHER)
        none_comes = not waiting or (server_has_ended and waiting[0].injected is None)
        to_come = NOWHERE.exchange if none_comes else waiting[0].number
        return next(iter(self.delivering), to_come) < self.silence.exchange
