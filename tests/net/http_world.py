"""Both pipes of a connection in HTTP mode, without sockets: transports in memory, and a clock that tests advance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any, cast

from chaosproxy.endings import Ending
from chaosproxy.events import Event
from chaosproxy.faults.base import NEVER, Direction, Fault, Opening, Stage
from chaosproxy.faults.chain import Link
from chaosproxy.http.context import HttpContext, HttpSettings
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.exchange import Exchange
from chaosproxy.http.fingerprint import fingerprint
from chaosproxy.http.match import Rules
from chaosproxy.http.part import MessageKind
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage
from chaosproxy.net.http.pipe import HttpPipe
from chaosproxy.net.http.readers import REQUEST_READERS, RESPONSE_READERS
from chaosproxy.net.stream.held import HeldBytes
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.net.stream.turn_counts import FailedTurns, ProxyTurns
from chaosproxy.net.stream.turn_request import Request
from chaosproxy.net.stream.turns import Turns
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.tallies import FaultTally, ProxyTally
from tests.http.recording import RecordedConversation

__all__ = ["Wire", "World"]


class Wire(asyncio.Transport):
    """A socket in memory: the bytes written to it, and the protocol that reads from it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_paused = False
        self._protocol: Any = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def write_eof(self) -> None:
        pass

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return 0


class World:
    """One connection, as its pipes see it: it implements `Ends` and the proxy's `Service`, and has a scheduler."""

    def __init__(self, **settings: int | bool) -> None:
        self.now = 1.0
        self.tally = ProxyTally()
        context = HttpContext(self.tally, lambda reason: None)
        context.configure(HttpSettings(**settings), ())  # type: ignore[arg-type]  # tests name what there is
        self.conversation = RecordedConversation(context)
        self.client, self.server = Wire(), Wire()
        self.turn_events: list[Event] = []
        self.turns = Turns(ProxyTurns("proxy", self.turn_events.append, FailedTurns(b"key")), 1, "h:1", self.now)
        self.turns.is_connected = True
        self.turns.request = Request(fingerprint)
        self.ending: Ending | None = None
        """The ending of the connection."""
        self.half_closed: list[Direction] = []
        self.copies: list[bytes] = []
        self.chosen: list[tuple[str, int]] = []
        """The name of the fault and the number of the exchange, for each message on which a fault has acted."""
        self.are_watched = False
        self.is_hurried = False
        """True if a turn of the loop has no time for more than a few steps."""
        self._asked = 0
        """The questions whether there is time, in this turn."""
        self._links: dict[str, tuple[Direction, Link]] = {}
        self._due: dict[Direction, float] = {}
        ends: Any = self
        requests, responses = Requests(self.conversation), Responses(self.conversation)
        self.held = HeldBytes(cast(Scheduler, self), lambda event: None)
        self.upstream = HttpPipe(ends, "upstream", 2**20, REQUEST_READERS, requests, self, 1)
        self.downstream = HttpPipe(ends, "downstream", 2**20, RESPONSE_READERS, responses, self, 1)
        self.upstream.source = self.downstream.sink = self.client
        self.upstream.sink = self.downstream.source = self.server
        self.client.set_protocol(self.upstream.reader())
        self.server.set_protocol(self.downstream.reader())

    # ── acts ──────────────────────────────────────────────────────────────────────────

    def receive(self, wire: Wire, data: bytes) -> None:
        """Deliver these bytes from one side."""
        assert not wire.is_paused
        wire.get_protocol().data_received(data)
        self.wait(0.0)

    def end_of_stream(self, wire: Wire) -> None:
        """Deliver the end-of-stream of one side."""
        wire.get_protocol().eof_received()
        self.wait(0.0)

    def add(self, name: str, fault: Fault, direction: Direction, chooses: Callable[[int], bool]) -> None:
        """Add a fault; a message fault acts on the exchanges for which `chooses` is true."""
        self._links[name] = (direction, Link(name, self._open(name, fault, direction, chooses), FaultTally()))
        self._arrange()

    def remove(self, name: str) -> None:
        """Remove a fault."""
        del self._links[name]
        self._arrange()

    @property
    def faults(self) -> list[str]:
        return [*self._links]

    def wait(self, seconds: float) -> None:
        """Advance the clock, and do everything that is due until then."""
        until = self.now + seconds
        for _ in range(10_000):
            due, pipe = min(
                ((self._due.get(pipe.direction, NEVER), pipe) for pipe in (self.upstream, self.downstream)),
                key=lambda one: one[0],
            )
            if due > until or self.ending:
                self.now = until
                return
            self.now = max(self.now, due)
            self._due[pipe.direction] = NEVER
            pipe.on_due(self.now)
        raise AssertionError("the pipes never come to rest")

    def _arrange(self) -> None:
        self.are_watched = any(isinstance(link.stage, MessageStage) for _, link in self._links.values())
        self.conversation.context.use_rules(Rules((None,) if self.are_watched else ()))
        for pipe in (self.upstream, self.downstream):
            pipe.arrange([link for way, link in self._links.values() if way == pipe.direction], self.now)
        self.wait(0.0)

    def _open(self, name: str, fault: Fault, direction: Direction, chooses: Callable[[int], bool]) -> Stage:
        def choose(exchange: Exchange) -> bool:
            if chosen := chooses(exchange.number):
                self.chosen.append((name, exchange.number))
            return chosen

        def dice() -> random.Random:
            return random.Random(name)

        on: MessageKind = "request" if direction == "upstream" else "response"
        opening = Opening(dice, self.now, None)
        if isinstance(fault, MessageFault):
            opening = MessageOpening(dice, self.now, None, self.conversation, name, on, 0.0, choose)
        stage = fault.open(opening)
        assert stage is not None
        return stage

    # ── Ends, as far as these pipes use it ────────────────────────────────────────────

    @property
    def scheduler(self) -> World:
        return self

    def clock(self) -> float:
        return self.now

    def schedule(self, pipe: Pipe, due: float) -> None:
        self._due[pipe.direction] = due

    def defer(self, pipe: Pipe) -> None:
        self._due[pipe.direction] = self.now

    def begin(self) -> bool:
        self._asked = 0
        return True

    def has_time(self) -> bool:
        self._asked += 1
        return not self.is_hurried or self._asked == 1

    def end(self) -> None:
        pass

    def opposite(self, pipe: Pipe) -> Pipe:
        return self.downstream if pipe is self.upstream else self.upstream

    def note_end_of_stream(self, pipe: Pipe) -> None:
        pass

    def publish_ended(self, pipe: Pipe) -> None:
        pass

    def watch_hangup(self, pipe: Pipe, source: asyncio.Transport) -> None:
        pass

    def forget_hangup(self, pipe: Pipe) -> None:
        pass

    def half_close(self, pipe: Pipe) -> None:
        pipe.finished = True
        self.half_closed.append(pipe.direction)

    def close(self, ending: Ending) -> None:
        self.ending = self.ending or ending

    def reset(self, ending: Ending) -> None:
        self.ending = self.ending or ending

    def log_bug(self) -> None:
        raise  # the exception that is being handled

    # ── Service ───────────────────────────────────────────────────────────────────────

    def caller_link(self, conversation: Conversation, connection: int, before: Link | None) -> Link | None:
        return None

    def send_copies(self, copies: Iterable[bytes], sender: object) -> None:
        self.copies += copies
