"""A toy Raft: an honest client for partitions. It holds everything in memory and knows neither snapshots nor joins.

Terms, elections and the log are those of the paper (Ongaro and Ousterhout, USENIX ATC 2014). Two rules come from
Ongaro's thesis, since without them a cut of one way alone can stop a healthy majority for good: a node asks whether
it would win before it takes a new term (pre-vote, 9.6), and a leader that no majority answers steps down (6.2).

A node has one connection to each peer, which it opens itself, and on which it asks: each line is a JSON object, each
question has an id, and the answer comes back on the same connection. At most one question to a peer is out, and only
for RPC_SECONDS; what is answered later is ignored. Silence never closes a connection: a network that carries one way
alone still carries it, whereas a new connection would need both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import count
from typing import Any, NamedTuple, Protocol, cast

__all__ = ["Entry", "Node", "NotLeader", "Role", "Witness"]

HEARTBEAT_SECONDS = 0.03
ELECTION_SECONDS = (0.15, 0.3)
RPC_SECONDS = 0.1
"""How long an answer is waited for; less than an election takes, so a follower that cannot answer still hears."""
DIAL_SECONDS = 0.1
BACK_OFF_SECONDS = 0.02

Message = dict[str, Any]
Address = tuple[str, int]


class NotLeader(Exception):
    """Somebody else has to be asked."""


class Entry(NamedTuple):
    """One place in the log."""

    term: int
    value: str | None
    """None is the entry with which a leader begins its term."""


class Role(Enum):
    FOLLOWER = "follower"
    ASKING = "asking whether it would win"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Witness(Protocol):
    """Sees everything and answers nothing."""

    def heard(self, sender: str, receiver: str, sent_at: float) -> None:
        """A message has arrived; `sent_at` is in seconds of time.monotonic()."""

    def leads(self, node: str, term: int) -> None:
        """A node has won an election."""

    def committed(self, node: str, index: int, entry: Entry) -> None:
        """A node takes an entry for committed; indices begin at 1."""

    def changed(self) -> None:
        """Something about a node has changed."""


class Line(asyncio.Protocol):
    """One connection, cut into messages."""

    def __init__(self, lines: set[Line], told: Callable[[Line, Message], None]) -> None:
        self._lines = lines
        """Where it stands while it is open."""
        self._quotas = told
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        return self in self._lines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._lines.add(self)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._quotas(self, json.loads(line))

    def connection_lost(self, error: Exception | None) -> None:
        self._lines.discard(self)

    def send(self, message: Message) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(json.dumps(message).encode() + b"\n")

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Node:
    """One member of a cluster."""

    def __init__(self, name: str, peers: Iterable[str], dice: random.Random, witness: Witness) -> None:
        self.name = name
        self.peers = tuple(peers)
        self.term = 0
        self.role = Role.FOLLOWER
        self.leader: str | None = None
        """Whom it follows, itself while it leads; None where it knows of nobody."""
        self.log: list[Entry] = []
        self.commit = 0
        """How many entries it takes for committed."""
        self._voted_for: str | None = None
        self._votes: set[str] = set()
        self._answered: set[str] = set()
        """Who has said yes or no to the questions of this role."""
        self._next = dict.fromkeys(self.peers, 1)
        self._match = dict.fromkeys(self.peers, 0)
        self._answered_at = dict.fromkeys(self.peers, 0.0)
        self._leader_heard_at = 0.0
        self._dice = dice
        self._witness = witness
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._talkers: list[asyncio.Task[None]] = []
        self._wakes = {peer: asyncio.Event() for peer in self.peers}
        self._ids = count(1)
        self._awaited: dict[int, asyncio.Future[Message]] = {}
        self._asked_of: set[Line] = set()
        self._asked_by: set[Line] = set()

    @property
    def majority(self) -> int:
        return (len(self.peers) + 1) // 2 + 1

    @property
    def connected(self) -> bool:
        """Whether it has a connection to every peer."""
        return len(self._asked_of) == len(self.peers)

    # ── from the outside ──────────────────────────────────────────────────────────────

    async def listen(self) -> int:
        """Answer from now on, at the port that is returned."""
        self._server = await self._loop.create_server(lambda: Line(self._asked_by, self._on_question), "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def join(self, ways: Mapping[str, Address]) -> None:
        """Take part; `ways` says where each peer is reached."""
        for peer in self.peers:
            name = f"{self.name} to {peer}"
            self._talkers.append(self._loop.create_task(self._talk(peer, ways[peer]), name=name))
        self._restart_timer()

    def propose(self, value: str) -> int:
        """Append to the log, and answer where. Whether it will be committed is not known yet.

        :raises NotLeader: it does not lead.
        """
        if self.role is not Role.LEADER:
            raise NotLeader(f"{self.name} does not lead, ask {self.leader}")
        self._append(value)
        return len(self.log)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for talker in self._talkers:
            talker.cancel()
        await asyncio.gather(*self._talkers, return_exceptions=True)
        for line in [*self._asked_of, *self._asked_by]:
            line.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    # ── elections ─────────────────────────────────────────────────────────────────────

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._dice.uniform(*ELECTION_SECONDS), self._time_is_up)

    def _time_is_up(self) -> None:
        if self.role is not Role.LEADER:
            self._stand(Role.ASKING)
            return
        silent_since = time.monotonic() - max(ELECTION_SECONDS)
        if 1 + sum(at >= silent_since for at in self._answered_at.values()) < self.majority:
            self._follow(self.term)
        else:
            self._restart_timer()

    def _follow(self, term: int) -> None:
        if term > self.term:
            self.term, self._voted_for = term, None
        self.role, self.leader = Role.FOLLOWER, None
        self._restart_timer()
        self._witness.changed()

    def _stand(self, role: Role) -> None:
        """Ask for votes: first whether there would be enough, and only then with a term of its own."""
        self.role, self.leader = role, None
        if role is Role.CANDIDATE:
            self.term, self._voted_for = self.term + 1, self.name
        self._votes, self._answered = {self.name}, set()
        self._restart_timer()
        self._wake_all()

    def _lead(self) -> None:
        self.role, self.leader = Role.LEADER, self.name
        self._next = dict.fromkeys(self.peers, len(self.log) + 1)
        self._match = dict.fromkeys(self.peers, 0)
        self._answered_at = dict.fromkeys(self.peers, time.monotonic())
        self._restart_timer()
        self._witness.leads(self.name, self.term)
        self._append(None)

    def _standing(self) -> tuple[int, int]:
        """How far the log goes; who votes must not be further than who is voted for."""
        return (self.log[-1].term if self.log else 0, len(self.log))

    def _on_vote_asked(self, question: Message) -> Message:
        would_do = tuple(question["standing"]) >= self._standing()
        if question["pre"]:
            has_leader = time.monotonic() - self._leader_heard_at < min(ELECTION_SECONDS)
            yes = question["term"] > self.term and would_do and not has_leader and self.role is not Role.LEADER
            return {"yes": yes}
        if question["term"] > self.term:
            self._follow(question["term"])
        yes = question["term"] == self.term and would_do and self._voted_for in (None, question["from"])
        if yes:
            self._voted_for = question["from"]
            self._restart_timer()
        return {"yes": yes}

    def _on_vote(self, peer: str, question: Message, answer: Message) -> None:
        role = Role.ASKING if question["pre"] else Role.CANDIDATE
        if self.role is not role or question["term"] != self.term + question["pre"]:
            return
        self._answered.add(peer)
        if answer["yes"]:
            self._votes.add(peer)
        if len(self._votes) < self.majority:
            return
        if role is Role.ASKING:
            self._stand(Role.CANDIDATE)
        else:
            self._lead()

    # ── the log ───────────────────────────────────────────────────────────────────────

    def _append(self, value: str | None) -> None:
        self.log.append(Entry(self.term, value))
        self._wake_all()
        self._witness.changed()

    def _on_append_asked(self, question: Message) -> Message:
        if question["term"] < self.term:
            return {"yes": False, "length": len(self.log)}
        if question["term"] > self.term or self.role is not Role.FOLLOWER:
            self._follow(question["term"])
        self.leader, self._leader_heard_at = question["from"], time.monotonic()
        self._restart_timer()
        before = question["before"]
        if before > len(self.log) or (before and self.log[before - 1].term != question["before_term"]):
            return {"yes": False, "length": min(len(self.log), before - 1)}
        entries = [Entry(*entry) for entry in question["entries"]]
        for place, entry in enumerate(entries, before):
            if place < len(self.log) and self.log[place].term != entry.term:
                del self.log[place:]
            if place == len(self.log):
                self.log.append(entry)
        self._commit_up_to(min(question["commit"], before + len(entries)))
        self._witness.changed()
        return {"yes": True}

    def _on_appended(self, peer: str, question: Message, answer: Message) -> None:
        if self.role is not Role.LEADER or question["term"] != self.term:
            return
        self._answered_at[peer] = time.monotonic()
        if answer["yes"]:
            self._match[peer] = max(self._match[peer], question["before"] + len(question["entries"]))
            self._next[peer] = self._match[peer] + 1
            self._commit_what_a_majority_has()
        else:
            self._next[peer] = max(1, min(self._next[peer] - 1, answer["length"] + 1))
            self._wakes[peer].set()

    def _commit_what_a_majority_has(self) -> None:
        lengths = sorted([len(self.log), *self._match.values()], reverse=True)
        index = lengths[self.majority - 1]
        if index > self.commit and self.log[index - 1].term == self.term:  # earlier terms' go along with it
            self._commit_up_to(index)
            self._wake_all()
            self._witness.changed()

    def _commit_up_to(self, index: int) -> None:
        while self.commit < index:
            self.commit += 1
            self._witness.committed(self.name, self.commit, self.log[self.commit - 1])

    # ── questions and answers ─────────────────────────────────────────────────────────

    def _question_for(self, peer: str) -> Message | None:
        match self.role:
            case Role.LEADER:
                before = self._next[peer] - 1
                before_term = self.log[before - 1].term if before else 0
                return {
                    "kind": "append", "term": self.term, "before": before, "before_term": before_term,
                    "entries": self.log[before:], "commit": self.commit,
                }  # fmt: skip
            case Role.ASKING | Role.CANDIDATE if peer not in self._answered:
                pre = self.role is Role.ASKING
                return {"kind": "vote", "term": self.term + pre, "pre": pre, "standing": self._standing()}
        return None

    def _on_question(self, line: Line, question: Message) -> None:
        self._witness.heard(question["from"], self.name, question["at"])
        answer = self._on_vote_asked(question) if question["kind"] == "vote" else self._on_append_asked(question)
        line.send(answer | {"id": question["id"], "term": self.term, "from": self.name, "at": time.monotonic()})

    def _on_answer(self, line: Line, answer: Message) -> None:
        self._witness.heard(answer["from"], self.name, answer["at"])
        awaited = self._awaited.get(answer["id"])
        if awaited is not None and not awaited.done():
            awaited.set_result(answer)

    async def _talk(self, peer: str, way: Address) -> None:
        line: Line | None = None
        wake = self._wakes[peer]
        while True:
            if line is None or not line.is_open:
                line = await self._dial(way)
                if line is None:
                    await asyncio.sleep(BACK_OFF_SECONDS)
                continue
            wake.clear()
            question = self._question_for(peer)
            if question is not None:
                answer = await self._ask(line, question)
                if answer is not None:
                    self._take(peer, question, answer)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await wake.wait()

    def _take(self, peer: str, question: Message, answer: Message) -> None:
        if answer["term"] > self.term:
            self._follow(answer["term"])
        elif question["kind"] == "vote":
            self._on_vote(peer, question, answer)
        else:
            self._on_appended(peer, question, answer)

    async def _ask(self, line: Line, question: Message) -> Message | None:
        """The answer, or None when none has come in time."""
        id = next(self._ids)
        self._awaited[id] = self._loop.create_future()
        line.send(question | {"id": id, "from": self.name, "at": time.monotonic()})
        try:
            async with asyncio.timeout(RPC_SECONDS):
                return await self._awaited[id]
        except TimeoutError:
            return None
        finally:
            del self._awaited[id]

    async def _dial(self, way: Address) -> Line | None:
        """A connection, or None when none has come about in time."""
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                _, line = await self._loop.create_connection(lambda: Line(self._asked_of, self._on_answer), *way)
        except (OSError, TimeoutError):
            return None
        self._witness.changed()
        return line

    def _wake_all(self) -> None:
        for wake in self._wakes.values():
            wake.set()
