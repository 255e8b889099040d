"""The invariants of a connection in HTTP mode, checked under any order of messages, ends and faults.

The client numbers its requests, and the server responds to each request that it receives, in order, with the
number. So both sides can identify every message independently of the connection's own state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from chaosproxy.faults.base import Direction, Fault
from chaosproxy.faults.latency import Latency
from chaosproxy.http.conversation import UPGRADED
from chaosproxy.http.effects import EndAt, GoPlain, PauseClient, Refuse, ResumeClient, SendCopies
from chaosproxy.http.faults.abort import HttpAbort
from chaosproxy.http.faults.delay import HttpDelay
from chaosproxy.http.faults.drop import HttpDropRequest, HttpDropResponse
from chaosproxy.http.faults.duplicate import HttpDuplicate
from chaosproxy.http.faults.slow_body import HttpSlowBody
from chaosproxy.http.states import Losses, Requesting, Responding, States, Treatment
from tests.net.http_world import Wire, World

FAULTS: dict[str, tuple[Fault, Direction]] = {
    "delay-request": (HttpDelay(delay=0.1), "upstream"),
    "delay-response": (HttpDelay(delay=0.1, on="response"), "downstream"),
    "abort": (HttpAbort(status=503), "upstream"),
    "drop-request": (HttpDropRequest(), "upstream"),
    "drop-request-close": (HttpDropRequest(close_after=0.2), "upstream"),
    "drop-response": (HttpDropResponse(), "downstream"),
    "drop-response-close": (HttpDropResponse(close_after=0.2), "downstream"),
    "slow-request": (HttpSlowBody(rate=100.0, on="request"), "upstream"),
    "duplicate": (HttpDuplicate(copies=2), "upstream"),
    "latency-up": (Latency(delay=0.05), "upstream"),
    "latency-down": (Latency(delay=0.05), "downstream"),
}
NUMBER = re.compile(rb"X-Number: (\d+)\r\n")
LENGTH = re.compile(rb"Content-Length: (\d+)\r\n")
INJECTED = b"HTTP/1.1 503 Service Unavailable\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def request(kind: str, number: int) -> bytes:
    method, extra, body = {
        "GET": ("GET", b"", b""),
        "HEAD": ("HEAD", b"", b""),
        "POST": ("POST", b"", b"body-%04d" % number),
        "EXPECT": ("PUT", b"Expect: 100-continue\r\n", b"body-%04d" % number),
        "CLOSE": ("DELETE", b"Connection: close\r\n", b""),
        "UPGRADE": ("GET", b"Connection: Upgrade\r\nUpgrade: x\r\n", b"body-%04d" % number),
    }[kind]
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return b"%s /%d HTTP/1.1\r\nHost: h\r\nX-Number: %d\r\n%s%s\r\n%s" % (
        method.encode(), number, number, extra, length, body,
    )  # fmt: skip


def response(kind: str, number: int, body: bytes) -> bytes:
    if kind == "HEAD":
        return b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 7\r\n\r\n" % number
    return b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: %d\r\n\r\n%s" % (number, len(body), body)


@dataclass
class Beginning:
    """The settings of a connection."""

    strict: bool
    limit: int
    faults: dict[str, int]
    """The faults, by name, with the interval at which each acts on messages."""
    patience: int
    """The number of steps that could end the conversation and are skipped."""


beginnings = st.builds(
    Beginning,
    strict=st.sampled_from((False, False, False, True)),
    limit=st.sampled_from((1000, 1, 3)),
    faults=st.sampled_from([{name: 1} for name in FAULTS])
    | st.dictionaries(st.sampled_from([*FAULTS]), st.integers(1, 5), max_size=4),
    patience=st.integers(0, 6),
)


@dataclass
class Peer:
    """One side: the rest of the message that it is sending, and the messages that it has received."""

    wire: Wire
    rest: bytes = b""
    has_ended: bool = False
    inbox: bytearray = field(default_factory=bytearray)
    raw: bytearray = field(default_factory=bytearray)
    """All bytes received."""
    forbidden: list[bytes] = field(default_factory=list)
    """Garbage that must not arrive."""
    got: list[int] = field(default_factory=list)
    """The numbers of the complete requests, or of the responses, that arrived; 0 for an injected response."""


class HttpConnection(RuleBasedStateMachine):
    @initialize(beginning=beginnings)
    def first_connection(self, beginning: Beginning) -> None:
        self.begin(beginning)

    @precondition(lambda self: self.world.ending)
    @rule(beginning=beginnings)
    def another_connection(self, beginning: Beginning) -> None:
        self.close()
        self.begin(beginning)

    def begin(self, beginning: Beginning) -> None:
        self.world = World(strict=beginning.strict, pipeline_limit=beginning.limit)
        self.patience = beginning.patience
        self.client, self.server = Peer(self.world.client), Peer(self.world.server)
        self.kinds: list[str] = []
        """The kinds of the requests that the client has begun to send."""
        self.answered = 0
        """The number of requests to which the server has begun to respond."""
        self.is_orderly = True
        """True if neither side has sent ambiguous bytes."""
        self.garbage = 0
        """The number of pieces of garbage sent."""
        self.client_garbage: list[bytes] = []
        self.unframed = 0
        """The number of those that cannot be framed."""
        self.may_be_body = False
        """True if the client sent garbage in place of the rest of a request, whose body it may then be."""
        for name, each in beginning.faults.items():
            self.add_or_remove(name, each)

    # ── acts of the sides ─────────────────────────────────────────────────────────────

    def send(self, peer: Peer, data: bytes, share: int) -> None:
        """Send the first `share` tenths of some bytes, and keep the rest."""
        cut = max(1, len(data) * share // 10)
        data, peer.rest = data[:cut], data[cut:]
        self.world.receive(peer.wire, data)
        self.look()

    @property
    def is_patient(self) -> bool:
        """True at first, so that the conversation does not end too early; see `patience`."""
        self.patience -= 1
        return self.patience > 0

    def make_garbage(self) -> bytes:
        self.is_orderly = False
        self.garbage += 1
        return b"GARBAGE-%d;" % self.garbage

    def may_send(self, peer: Peer) -> bool:
        return not (self.world.ending or peer.has_ended or peer.wire.is_paused)

    @precondition(lambda self: self.may_send(self.client) and not self.client.rest and not self.waits_for_upgrade)
    @rule(
        kinds=st.lists(st.sampled_from(("GET", "GET", "HEAD", "POST", "EXPECT", "CLOSE")), min_size=1, max_size=3),
        upgrades=st.integers(0, 3),
        share=st.sampled_from((10, 1, 5, 9)),
    )
    def client_sends_requests(self, kinds: list[str], upgrades: int, share: int) -> None:
        kinds = kinds if upgrades else [*kinds, "UPGRADE"]
        data = b""
        for kind in kinds:
            self.kinds.append(kind)
            data += request(kind, len(self.kinds))
        self.send(self.client, data, share)

    @precondition(lambda self: self.may_send(self.client) and self.client.rest)
    @rule(share=st.sampled_from((10, 10, 5)))
    def client_goes_on(self, share: int) -> None:
        self.send(self.client, self.client.rest, share)

    @precondition(lambda self: self.may_send(self.client))
    @rule()
    def client_sends_garbage(self) -> None:
        if self.is_patient:
            return
        garbage = self.make_garbage()
        states = self.world.conversation.states
        if states.losses is Losses.REQUESTS or states.requests is Requesting.BROKEN:
            self.server.forbidden.append(garbage)
        self.client_garbage.append(garbage)
        self.may_be_body |= bool(self.client.rest)
        self.client.rest = b""
        self.unframed += 1
        self.send(self.client, b"\x00" + garbage, 10)

    @precondition(lambda self: self.may_send(self.client))
    @rule()
    def client_ends(self) -> None:
        if self.is_patient:
            return
        self.client.has_ended = True
        self.world.end_of_stream(self.client.wire)
        self.look()

    @precondition(lambda self: self.may_send(self.server) and not self.server.rest and self.has_unanswered)
    @rule(
        body=st.sampled_from((b"", b"hello", b"x" * 40)),
        share=st.sampled_from((10, 1, 5)),
        upgrades=st.booleans(),
        interim=st.booleans(),
    )
    def server_responds(self, body: bytes, share: int, upgrades: bool, interim: bool) -> None:
        self.respond(body, interim=interim, upgrades=upgrades, share=share)

    @precondition(lambda self: self.may_send(self.server) and self.server.rest)
    @rule(share=st.sampled_from((10, 10, 5)))
    def server_goes_on(self, share: int) -> None:
        self.send(self.server, self.server.rest, share)

    @precondition(lambda self: self.may_send(self.server) and not self.server.rest)
    @rule(garbage=st.booleans())
    def server_is_disorderly(self, garbage: bool) -> None:
        """Send bytes that are no response, or a response without a request."""
        if self.is_patient:
            return
        text = self.make_garbage()
        self.unframed += garbage
        conversation = self.world.conversation
        is_paired = not garbage and conversation.silence.exchange > 1  # it belongs to a request before the loss
        is_silent = conversation.states.losses is not Losses.NOTHING and not is_paired
        if is_silent or conversation.states.responses is Responding.BROKEN:
            self.client.forbidden.append(text)
        data = b"\x00" + text if garbage else b"HTTP/1.1 408 %s\r\nContent-Length: 0\r\n\r\n" % text
        self.send(self.server, data, 10)

    @precondition(lambda self: self.may_send(self.server))
    @rule()
    def server_ends(self) -> None:
        if self.is_patient:
            return
        self.server.has_ended, self.server.rest = True, b""
        self.world.end_of_stream(self.server.wire)
        self.look()

    def respond(self, body: bytes, *, interim: bool, upgrades: bool = False, share: int = 10) -> None:
        number = self.server.got[self.answered]
        self.answered += 1
        kind = self.kinds[number - 1]
        data = response(kind, number, body)
        if kind == "UPGRADE" and upgrades:
            self.is_orderly = False
            data = b"HTTP/1.1 101 Yes\r\nX-Number: %d\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" % number
        self.send(self.server, CONTINUE * interim + data, share)

    @property
    def waits_for_upgrade(self) -> bool:
        return self.kinds[-1:] == ["UPGRADE"] and len(self.client.got) < len(self.kinds)

    @property
    def has_unanswered(self) -> bool:
        return self.answered < len(self.server.got)

    # ── acts of the proxy ─────────────────────────────────────────────────────────────

    @precondition(lambda self: not self.world.ending)
    @rule(name=st.sampled_from([*FAULTS]), each=st.integers(1, 3))
    def add_or_remove_a_fault(self, name: str, each: int) -> None:
        self.add_or_remove(name, each)

    def add_or_remove(self, name: str, each: int) -> None:
        if name in self.world.faults:
            self.world.remove(name)
        else:
            fault, direction = FAULTS[name]
            self.world.add(name, fault, direction, lambda number: number % each == 0)
        self.look()

    @precondition(lambda self: not self.world.ending and self.world.faults)
    @rule()
    def heal(self) -> None:
        for name in self.world.faults:
            self.world.remove(name)
        self.look()

    @precondition(lambda self: not self.world.ending)
    @rule()
    def change_strict(self) -> None:
        context = self.world.conversation.context
        context.configure(replace(context.settings, strict=not context.settings.strict), ())

    @precondition(lambda self: not self.world.ending)
    @rule(seconds=st.sampled_from((0.01, 0.06, 0.3)))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)
        self.look()

    # ── observations ──────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """Read the bytes that both sides have received."""
        for peer in (self.client, self.server):
            peer.inbox += peer.wire.written
            peer.raw += peer.wire.written
            peer.wire.written.clear()
        if self.is_orderly:
            while self.reads_request() or self.reads_response():
                pass

    def reads_request(self) -> bool:
        inbox = self.server.inbox
        found = NUMBER.search(inbox)
        if found is None:
            return False
        number = int(found[1])
        whole = request(self.kinds[number - 1], number)
        assert whole.startswith(inbox[: len(whole)]), "a request reaches the server as it was sent"
        if len(inbox) < len(whole):
            return False
        del inbox[: len(whole)]
        self.server.got.append(number)
        return True

    def reads_response(self) -> bool:
        inbox = self.client.inbox
        assert b"HTTP/1.1 ".startswith(inbox[:9]), "a response comes from its beginning on"
        end = inbox.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        head = bytes(inbox[:end])
        if head.startswith(CONTINUE):
            del inbox[:end]
            return True
        number = int(found[1]) if (found := NUMBER.search(head)) else 0
        assert number or head.startswith(INJECTED)
        is_next = len(self.client.got) + 1
        length = int(found[1]) if (found := LENGTH.search(head)) and self.kinds[is_next - 1] != "HEAD" else 0
        if len(inbox) < end + length:
            return False
        del inbox[: end + length]
        self.client.got.append(number)
        return True

    def lost(self, *kinds: str) -> int:
        """Return the number of the first exchange on which a fault of these kinds has acted."""
        return min([number for name, number in self.world.chosen if name.startswith(kinds)], default=2**62)

    # ── invariants ────────────────────────────────────────────────────────────────────

    @invariant()
    def responses_are_paired(self) -> None:
        """The n-th response belongs to the n-th request, and an injected one to a request that the fault has chosen."""
        aborted = {number for name, number in self.world.chosen if name == "abort"}
        for place, number in enumerate(self.client.got, 1):
            assert number == (0 if place in aborted else place), (self.client.got, aborted)

    @invariant()
    def requests_come_once_and_in_order(self) -> None:
        assert self.server.got == sorted(set(self.server.got))

    @invariant()
    def nothing_is_answered_after_a_loss(self) -> None:
        assert len(self.client.got) < self.lost("drop-")

    @invariant()
    def no_garbage_passes_where_nothing_may(self) -> None:
        """No garbage passes a silent conversation, a broken direction or a refused connection."""
        for peer in (self.client, self.server):
            assert not [garbage for garbage in peer.forbidden if garbage in peer.raw]
        if self.world.conversation.states.requests is Requesting.BROKEN:
            assert not [garbage for garbage in self.client_garbage if garbage in self.server.raw]
        if self.world.conversation.states.requests is Requesting.REFUSED:
            assert self.world.ending is not None
            passed = self.client.raw + self.server.raw
            assert self.unframed > 1 or self.may_be_body or b"\x00GARBAGE" not in passed

    @invariant()
    def swallowed_requests_do_not_reach_the_server(self) -> None:
        chosen = {number for name, number in self.world.chosen if name == "abort"}
        lost_from = self.lost("drop-request")
        assert not [number for number in self.server.got if number in chosen or number >= lost_from]
        for number in range(1, len(self.kinds) + 1):
            if number in chosen or number >= lost_from:
                assert b"X-Number: %d\r\n" % number not in self.server.raw
                assert b"body-%04d" % number not in self.server.raw

    @invariant()
    def each_exchange_ends_once(self) -> None:
        conversation = self.world.conversation
        assert self.ended + conversation.outstanding == conversation.count
        assert all(one.number < conversation.loss.exchange for one in conversation.waiting), "lost, and still waiting"
        assert all(number < conversation.silence.exchange for number in conversation.delivering), "lost, and delivered"

    @property
    def ended(self) -> int:
        return sum(sum(route.statuses) for route in self.world.tally.routes.values())

    @invariant()
    def effects_are_returned_once(self) -> None:
        taken = self.world.conversation.taken
        for kind in (GoPlain, Refuse):
            assert sum(isinstance(effect, kind) for effect in taken) <= 1
        ends = [effect.at for effect in taken if isinstance(effect, EndAt)]
        assert ends == sorted(set(ends), reverse=True), "each is earlier than the one before"
        turns = [effect for effect in taken if isinstance(effect, PauseClient | ResumeClient)]
        assert turns == [PauseClient(), ResumeClient()] * (len(turns) // 2) + [PauseClient()] * (len(turns) % 2)
        copied = [NUMBER.search(effect.request) for effect in taken if isinstance(effect, SendCopies)]
        numbers = [int(found[1]) for found in copied if found]
        assert numbers == sorted(set(numbers)) and len(self.world.copies) == 2 * len(numbers)
        if not self.world.ending:
            assert self.world.conversation.next_effect() is None, "each was taken in the turn in which it was noted"

    @invariant()
    def states_move_along_the_arrows(self) -> None:
        replayed = States()
        for event in self.world.conversation.states.events:
            replayed.on(event)
        states = self.world.conversation.states
        for name in States.__slots__:
            assert getattr(states, name) is getattr(replayed, name), name

    @invariant()
    def an_orderly_conversation_is_framed(self) -> None:
        assert self.world.conversation.is_framed or not self.is_orderly

    @invariant()
    def a_stream_has_nothing_to_wait_for(self) -> None:
        """No fault has unfinished work, and no beginning of a head is kept back."""
        conversation = self.world.conversation
        is_refused = conversation.states.requests is Requesting.REFUSED
        if conversation.is_framed or is_refused or self.world.ending:
            return
        if conversation.stream_reason != UPGRADED:
            assert not conversation.is_treated
        for pipe in (self.world.upstream, self.world.downstream):
            assert not pipe.stream.framer.kept or pipe.stream.treatment() is Treatment.DROP

    @invariant()
    def a_glance_is_allowed_in_the_ordinary_state_alone(self) -> None:
        conversation = self.world.conversation
        if not conversation.is_busy:
            assert conversation.states.are_ordinary and conversation.outstanding == 0

    @invariant()
    def the_client_is_paused_as_it_was_told(self) -> None:
        turns = [one for one in self.world.conversation.taken if isinstance(one, PauseClient | ResumeClient)]
        assert self.client.wire.is_paused == (turns[-1:] == [PauseClient()])

    # ── end ───────────────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.finish()
            self.close()

    def close(self) -> None:
        self.world.conversation.close()
        assert self.ended == self.world.conversation.count

    def finish(self) -> None:
        """Continue without faults: if nothing was lost, every request gets its response."""
        if not self.is_orderly:
            return
        for _ in range(1000):
            for name in self.world.faults:
                self.world.remove(name)
            self.world.wait(10.0)
            self.look()
            if self.world.ending:
                return
            if self.may_send(self.client) and self.client.rest:
                self.send(self.client, self.client.rest, 10)
            elif self.may_send(self.server) and self.server.rest:
                self.send(self.server, self.server.rest, 10)
            elif self.may_send(self.server) and self.has_unanswered:
                self.respond(b"", interim=False)
            else:
                break
        conversation = self.world.conversation
        if conversation.states.losses is not Losses.NOTHING:
            assert not self.client.has_ended, "the connection ends with its client"
        elif not self.server.has_ended:
            assert len(self.client.got) == len(self.kinds) or self.client.has_ended
            assert conversation.outstanding == 0 or self.client.has_ended
            assert not self.client.wire.is_paused


HttpConnection.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestHttpConnection = pytest.mark.slow(HttpConnection.TestCase)
