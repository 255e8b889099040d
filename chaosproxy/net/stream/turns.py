"""The turns of one connection: what the client sends until the server answers, and the answer. Pure.

A turn opens with the first byte of the client while none is open, and is answered when a byte of the server leaves
for the client. The plain readers do this inline, since a turn must cost no more than two time stamps and a few
assignments. A turn is *watched* when its answer needs more: a chain is in its way, its client has ended, it has
failed, or it is the first of a connection. Then the readers call `answer`.

The connection reports the ends of its sides, and this module publishes what they mean:

- A client that ends while its turn is open has given up, unless it has only half-closed. A reset is clear. After an
  end-of-stream the turn is in doubt: the client has given up if it then resets, or if the connection ends without
  an answer. Tools that send all they have, half-close and read do so within `AT_ONCE` of their last byte. They have
  given up only if they reset.
- A server that ends while a turn is open has failed it, unless its answer has arrived and a fault holds it.
- An end that a fault or the operator causes is never the client's, nor the server's.

The shape of the conversation decides which claims can be made about it (`events.Shape`). A client that sends again
after a pause of `PAUSE` while its turn is open does not wait: the shape is `one-way` if it never got an answer, else
`pipelined`. A server that sends after a second of silence without having been asked makes it `push`.
"""

from __future__ import annotations

from collections.abc import Sized

from chaosproxy.endings import Ending, How
from chaosproxy.events import (
    AnswerCut,
    AnswerLate,
    ClientGaveUp,
    FailedBy,
    HalfClosed,
    Shape,
    TurnFailed,
    TurnRepeated,
    WaitingFor,
)
from chaosproxy.net.stream.turn_counts import FailedTurn, ProxyTurns
from chaosproxy.net.stream.turn_parts import AT_ONCE, DIGESTED, DOUBTED_FOR, PAUSE, About, Doubt
from chaosproxy.net.stream.turn_request import Identity, Request
from chaosproxy.net.stream.turn_shape import TurnShape

__all__ = ["Turns"]

_NEVER = -1.0


class Turns:
    """The turns of one connection."""

    __slots__ = (
        "_answered_at", "_arrived_at", "_attempt", "_client", "_connection", "_doubt", "_error", "_is_counted",
        "_is_published", "_is_remembered", "_late_at", "_left_at", "_looks_back", "_more_at", "_shape", "_turns",
        "began_at", "begin", "failed_turns", "faults", "host", "is_connected", "is_watched", "longest_answer_s",
        "number", "opened_at", "request",
    )  # fmt: skip

    def __init__(self, turns: ProxyTurns, connection: int, client: str, now: float) -> None:
        self._turns, self._connection, self._client = turns, connection, client
        self.failed_turns: Sized = turns.failed.by_bytes
        """True, as a condition, if a turn has failed that the next may repeat."""
        self.host = turns.host_of(client)
        self.began_at = now
        self.begin: bytes | None = b""
        """The first bytes of the open turn; None if none is open."""
        self.is_watched = True
        """True if the readers must call `answer`."""
        self.number = 0
        """The number of the latest turn, from 1; 0 before the first."""
        self.opened_at = now
        """The time of the first byte of the latest turn."""
        self._more_at = now
        """The time of the latest byte."""
        self.is_connected = False
        """True once the upstream was reached."""
        self.request: Request | None = None
        """The request of the latest turn, in HTTP mode; None if the bytes have no meaning here."""
        self.faults: tuple[str, ...] = ()
        """The faults that touch the connection now."""
        self._attempt = 0, 1
        """A turn, and 2 if it repeats a failed one, and so on."""
        self._left_at = self._arrived_at = _NEVER
        """Of the open turn, with a chain in its way: the times at which it left for the server and its answer came."""
        self._error: tuple[int, str] | None = None
        """Of an answer that has not left yet: its status, and the fault that has made it."""
        self._doubt: Doubt | None = None
        """The end of the client in its turn."""
        self._late_at = _NEVER
        """The time of the first byte that was sent to the client after that."""
        self._is_published = False  # the turn in doubt
        self._is_counted = False
        """True once the open turn was counted as failed or given up."""
        self._is_remembered = False  # the open turn, as failed
        self._looks_back = False  # it is not known yet whether the open turn repeats a failed one
        self._answered_at = _NEVER  # the latest byte of an answer that was not written at once
        self.longest_answer_s = 0.0
        """The longest time to a byte of an answer that has left a fault, since the last look at the connection."""
        self._shape = TurnShape()

    # ── bytes ─────────────────────────────────────────────────────────────────────────

    def sent(self, now: float, data: bytes) -> None:
        """Note bytes of the client."""
        if self.begin is not None and self.number:
            if now - self._sent_at > PAUSE:
                self._shape.repeats += 1
            self._more_at = now
            if self.request is not None and self.request.add(data) and self._looks_back:
                self.look_back(self.opened_at)
            return
        self.begin = data
        if self.request is not None:
            self.request.start(data)
            self._looks_back = False
            if self.faults or self.failed_turns:
                self.request.digest(data)
        self.is_watched = False
        self.number += 1
        self.opened_at = now
        if self.failed_turns:
            self.look_back(now)

    def leave(self, now: float) -> None:
        """Note that bytes of the client leave a chain for the server."""
        if self.is_open and self._left_at == _NEVER:
            self._left_at = now
            self.is_watched = True

    def arrive(self, now: float) -> None:
        """Note that bytes of the server have arrived before a chain, or after the client has gone."""
        if self.is_open and self._arrived_at == _NEVER:
            self._arrived_at = now
            self.is_watched = True
            if self._is_counted:
                self._publish_late(now)

    def answer(self, now: float) -> None:
        """Note that bytes of the server leave for the client; only the first of an open turn matter."""
        if self.begin is None:
            return
        if not self.number:
            self._shape.is_server_first = self._turns.greets = True
            self.begin, self.is_watched = None, False
        elif self._doubt is not None or self._is_counted:
            if self._late_at == _NEVER:
                self._late_at = now
        else:
            if self._looks_back:
                self._look_back_at_last()
            self.begin, self.is_watched, self._answered_at = None, False, now
            if self._error is None:
                self._count(now)
            else:
                error, self._error = self._error, None
                self.answer_failed(now, *error)

    def answer_more(self, now: float) -> None:
        """Note that more bytes of the server have left a fault for the client, after the first of their turn."""
        if self.number:
            self.longest_answer_s, self._answered_at = max(self.longest_answer_s, now - self.opened_at), now

    def _count(self, now: float) -> None:
        """Count the latest turn as answered."""
        self.host.count(now, now - self.opened_at)
        if self._arrived_at != _NEVER or self._left_at != _NEVER:
            arrived = now if self._arrived_at == _NEVER else self._arrived_at
            left = self.opened_at if self._left_at == _NEVER else self._left_at
            self._turns.delayed.append((now - self.opened_at, max(0.0, arrived - left)))
            self._left_at = self._arrived_at = _NEVER

    # ── ends ──────────────────────────────────────────────────────────────────────────

    def client_ended(self, how: How, now: float, held_by: str | None = None) -> None:
        """Note the end of the client, not one that a fault or the operator has caused; `held_by` holds it back."""
        waiting_for = self._waiting_for
        if self._is_counted or waiting_for is None:
            return
        self._look_back_at_last()
        if how == "timeout":
            self._fail("network", now)
            return
        if self._doubt is None:
            self._doubt = Doubt(now, waiting_for, self.faults, held_by, how)
            self.is_watched = True
            if self._has_left:  # what it does next is its reaction, although a fault may hold its end for long
                self._remember(self._about()["digest"], now)
        if how != "fin":
            self._give_up(self._doubt)

    def answer_cut(self, how: How, now: float) -> None:
        """Note that the client has ended while a fault holds the rest of the latest answer."""
        if self.number:
            waited, quiet = now - self.opened_at, now - max(self._answered_at, self.opened_at)
            event = AnswerCut(at=now, waited_s=waited, quiet_s=quiet, how=how, faults=self.faults, **self._about())
            self._turns.publish(event)

    def server_ended(self, how: How, now: float) -> None:
        """Note the end of the server, not one that a fault or the operator has caused."""
        if not self.is_open or self._arrived_at != _NEVER or self._is_counted or self._has_left:
            return
        if how == "timeout":
            self._fail("network", now)
        elif how != "fin":
            self._fail("server_reset", now)
        elif self._doubt is None:
            self._fail("server_closed", now)

    def connection_ended(self, ending: Ending, now: float) -> None:
        """Note that both sockets are gone, and why; the connection is over."""
        self.host.connections -= 1
        if self._is_counted:
            return
        by: FailedBy | None = None if ending.by == "client" or ending.by == "server" else ending.by
        if self._late_at != _NEVER:  # the client has accepted an answer: it had only half-closed
            if self._is_published:
                self._turns.publish(HalfClosed(at=now, **self._about()))
            if self._is_remembered:
                here = self._turns.proxy, self._connection, self.number
                self._turns.failed.forget(self._whose, self._about()["digest"], here)
            self._count(self._late_at)
        elif by == "injected" and ending.during == "handshake":
            self._is_counted = True  # a fault has made the client leave
        elif self._doubt is not None and self._has_left:
            self._give_up(self._doubt)
        elif ending.during == "dial" and ending.by != "client":
            self._fail("dial_failed" if by in (None, "network") else by, now, ending.fault)
        elif self.is_open and by is not None:
            self._fail(by, now, ending.fault)

    def look(self, now: float, bytes_downstream: int) -> None:
        """Look at the connection once a second: publish a doubtful turn, and notice a server that speaks unasked."""
        doubt = self._doubt
        if doubt is not None and not self._is_published and doubt.at + DOUBTED_FOR <= now:
            if self._late_at == _NEVER and self._has_left and not self._is_counted:
                self._is_published = True
                self._give_up(doubt, is_pending=True)
        if self.begin is not None and len(self.begin) > DIGESTED:
            self.begin = self.begin[:DIGESTED]
        self._shape.look(self.number, self.begin is not None, bytes_downstream)

    # ── what they mean ────────────────────────────────────────────────────────────────

    @property
    def shape(self) -> Shape:
        """The shape of the conversation so far."""
        return self._shape.of(self.is_answered)

    @property
    def is_open(self) -> bool:
        """True while a turn is open."""
        return self.begin is not None and self.number > 0

    @property
    def is_answered(self) -> bool:
        """True once a turn was answered."""
        return self.number > 1 or (self.number == 1 and self.begin is None)

    @property
    def _sent_at(self) -> float:
        """The time of the latest byte of the client in the latest turn."""
        return max(self.opened_at, self._more_at)

    @property
    def is_late(self) -> bool:
        """True if bytes were sent to a client that had ended in an open turn: it accepts them, or resets."""
        return self._late_at != _NEVER

    @property
    def open_since(self) -> float | None:
        """The time at which the open turn was opened; None if none is open, or its client has ended."""
        return self.opened_at if self.is_open and self._doubt is None and not self._is_counted else None

    @property
    def _waiting_for(self) -> WaitingFor | None:
        """The goal of the client's wait; None if it does not wait, as far as is known."""
        if not self.is_connected:
            return "connect"
        if self.is_open:
            return "answer"
        return "greeting" if self.begin is not None and self._turns.greets else None

    @property
    def _has_left(self) -> bool:
        """True if the client has ended later than one that half-closes does, so that it has probably left."""
        return self._doubt is not None and self._doubt.at - self._sent_at >= AT_ONCE

    def _give_up(self, doubt: Doubt, is_pending: bool = False) -> None:
        since = self.began_at if doubt.waiting_for != "answer" else self.opened_at
        if doubt.waiting_for != "answer" and doubt.at - since < AT_ONCE:
            return  # a check of the port, which connects and leaves
        event = ClientGaveUp(
            at=doubt.at, waiting_for=doubt.waiting_for, waited_s=doubt.at - since, quiet_s=doubt.at - self._sent_at,
            how=doubt.how, held_by=doubt.held_by, faults=doubt.faults, answer_arrived=self._arrived_at != _NEVER,
            is_pending=is_pending, **self._about(),
        )  # fmt: skip
        self._turns.publish(event)
        if is_pending:
            return
        self._is_counted = self.is_watched = True
        self._turns.gave_up += 1
        if not self._is_remembered:
            self._remember(event.digest, doubt.at)
        answered_at = self._late_at if self._late_at != _NEVER else self._arrived_at
        if answered_at > doubt.at:
            self._publish_late(answered_at)

    def _fail(self, reason: FailedBy, now: float, fault: str = "") -> None:
        self._look_back_at_last()
        event = TurnFailed(
            at=now, reason=reason, waited_s=now - self.opened_at, fault=fault, faults=self.faults,
            answer_arrived=self._arrived_at != _NEVER, **self._about(),
        )  # fmt: skip
        self._turns.publish(event)
        self._is_counted = self.is_watched = True
        self._turns.failures += 1
        self._remember(event.digest, now)

    def answer_failed(self, now: float, status: int, fault: str = "") -> None:
        """Note that the latest answer, which has just left or is held back, means that the request has failed."""
        if self.is_open:  # the client has not felt it yet, and may give up before
            self._error, self.is_watched = (status, fault), True
            return
        self._look_back_at_last()
        self.host.forget(self.opened_at)  # a good turn is one without an error
        event = TurnFailed(
            at=now, reason="status" if not fault else "injected", status=status, waited_s=now - self.opened_at,
            fault=fault, faults=self.faults, answer_arrived=not fault, **self._about(),
        )  # fmt: skip
        self._turns.publish(event)
        self._turns.failures += 1
        self._remember(event.digest, now)

    def _publish_late(self, now: float) -> None:
        """Publish that the answer has come after the client had given up."""
        doubt = self._doubt
        if doubt is not None and doubt.waiting_for == "answer":
            waited = doubt.at - self.opened_at
            self._turns.publish(AnswerLate(at=now, waited_s=waited, late_s=now - doubt.at, **self._about()))

    def _remember(self, digest: str, ended_at: float) -> None:
        attempt = self._attempt[1] if self._attempt[0] == self.number else 1
        failed = FailedTurn(self._turns.proxy, self._connection, self.number, ended_at, attempt, self._body)
        self._turns.failed.note(self._whose, digest, failed)
        self._is_remembered = True

    @property
    def _whose(self) -> str:
        return self._turns.whose(self.host.name)

    def look_back(self, now: float, is_last: bool = False) -> None:
        """Publish whether the turn that was opened at `now` repeats a failed one.

        If more of its request is to come, it is looked at again, for the last time when the turn is over.
        """
        self._attempt = self.number, 1
        identity, known = self._identity(), self._turns.failed
        about = self._about(identity)
        waits = identity.is_partial
        if self.request is not None and not self.request.is_known:
            waits = waits or known.tells_bodies(self._whose, about["digest"])
        self._looks_back = waits and not is_last
        if self._looks_back:
            return
        here = self._turns.proxy, self._connection
        failed = known.repeated(self._whose, about["digest"], here, now, self._body)
        if failed is not None:
            self._attempt = self.number, failed.attempt + 1
            self._turns.repeated += 1
            self._turns.publish(
                TurnRepeated(
                    at=now,
                    of_proxy=failed.proxy,
                    of_connection=failed.connection,
                    of_turn=failed.turn,
                    gap_s=now - failed.ended_at,
                    attempt=failed.attempt + 1,
                    **about,
                )  # fmt: skip
            )

    def _look_back_at_last(self) -> None:
        """Look back if that waits for more of the request, since the turn is over."""
        if self._looks_back:
            self.look_back(self.opened_at, is_last=True)

    def _identity(self) -> Identity:
        identity = None if self.request is None else self.request.identity
        return identity or Identity((self.begin or b"")[:DIGESTED], "")

    @property
    def _body(self) -> str:
        return "" if self.request is None else self.request.body

    def _about(self, known: Identity | None = None) -> About:
        identity, request, *_ = known or self._identity()
        return {
            "proxy": self._turns.proxy, "connection": self._connection, "turn": self.number, "client": self._client,
            "digest": self._turns.failed.digest(identity), "request": request, "shape": self.shape,
        }  # fmt: skip
