"""The faults at work on one proxy: its own, and the parts that partitions have in it.

Answers the questions that the proxy, its listener and its connections ask: which faults touch a
connection, how new clients are met, how a TLS handshake goes wrong. It holds no socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chaosproxy.events import Met
from chaosproxy.faults.base import Admission, Direction, Drop, Loss, Reply
from chaosproxy.faults.chain import Link
from chaosproxy.net.placement.active_fault import ActiveFault, MessageContext
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.tallies import FaultTally

__all__ = ["ActiveFaults", "Hiding", "arrange_pipe"]

_STRENGTH: tuple[Reply, ...] = ("accept", "hold", "refuse", "silence")
"""Of several replies the last here is given: a paused process that is down refuses, a host out of reach is silent."""


@dataclass(frozen=True, slots=True)
class Hiding:
    """A fault that keeps new clients from connecting."""

    met: Met
    """The answer to a client's SYN."""
    fault: str
    """The fault's name."""


class ActiveFaults:
    """The faults of one proxy, in order: a partition is nearest to the sender."""

    def __init__(self) -> None:
        self.own: dict[str, ActiveFault] = {}
        """The proxy's own faults, by name."""
        self.partitions: dict[str, ActiveFault] = {}
        """Partitions through the proxy, by id; a change of its own faults leaves them alone."""
        self._past: dict[str, FaultTally] = {}
        self.read_hellos = False
        """A fault is for clients that ask for some server's name in TLS."""

    def __iter__(self) -> Iterator[ActiveFault]:
        yield from self.partitions.values()
        yield from self.own.values()

    # ── which there are ───────────────────────────────────────────────────────────────

    def put(self, where: dict[str, ActiveFault], key: str, fault: ActiveFault) -> None:
        """Place a fault among `own` or `partitions`, or put it in the place of the one with that key."""
        name = fault.spec.name
        if key not in where and name in self._past:
            fault.tally = self._past.pop(name)  # counters never go back
        where[key] = fault
        self._changed()

    def take(self, where: dict[str, ActiveFault], key: str) -> ActiveFault:
        """Take a fault away; KeyError when there is none."""
        gone = where.pop(key)
        self._past[gone.spec.name] = gone.tally
        self._changed()
        return gone

    def _changed(self) -> None:
        self.read_hellos = any(fault.spec.sni is not None for fault in self)

    def tallies(self) -> dict[str, FaultTally]:
        """Return what each fault has done, by name, also those that are gone."""
        return {**self._past, **{fault.spec.name: fault.tally for fault in self}}

    # ── how clients are met ───────────────────────────────────────────────────────────

    def admission(self) -> tuple[Reply, tuple[Drop, ...]]:
        """Return how the listener meets every new client, and which packets its filter drops."""
        all_touching = [
            (fault, fault.admission)
            for fault in self
            if fault.admission is not None and fault.spec.placement.touches_all
        ]
        reply: Reply = max((one.reply for _, one in all_touching), key=_STRENGTH.index, default="accept")
        drops = tuple(one.drop for fault, one in all_touching if one.drop is not None and fault.acts("upstream"))
        if reply == "silence":
            drops = (Drop(),) if any(one.by_filter for _, one in all_touching) else ()
        return reply, drops

    def hiding(self, reply: Reply) -> Hiding | None:
        """Return the fault that keeps every new client from the listening socket, if one does.

        `reply` is how the listener meets them, as `admission` returns it.
        """
        met: Met = "refused" if reply == "refuse" else "unanswered"
        return next((Hiding(met, fault.spec.name) for fault in self if fault.hides == met), None)

    def admit(self, ordinal: int) -> tuple[ActiveFault | None, float]:
        """Return the fault that refuses this accepted client, if one does, and the seconds that others delay it."""
        delay = 0.0
        for fault in self:
            admission = fault.admission
            if admission is None or not (admission.delay or admission.reply == "refuse"):
                continue
            if fault.touches(ordinal):
                fault.tally.chunks += 1
                if admission.reply == "refuse":
                    return fault, 0.0
                delay += admission.delay
        return None, delay

    def handshake_fault(self, connection: Connection) -> ActiveFault | None:
        """Return the fault that makes a client's TLS handshake go wrong."""
        for fault in self:
            admission: Admission | None = fault.admission
            if admission is not None and admission.handshake is not None and fault.is_for(connection.sni):
                if fault.touches(connection.ordinal):
                    return fault
        return None

    # ── how connections are treated ───────────────────────────────────────────────────

    def touching(self, connection: Connection) -> list[ActiveFault]:
        """Return the faults that touch a connection."""
        return [one for one in self if one.is_for(connection.sni) and one.touches(connection.ordinal)]

    def severs(self, direction: Direction) -> bool:
        """Whether nothing gets through in that direction, on any connection."""
        return any(fault.severs(direction) for fault in self)

    def forget(self, connection: int) -> None:
        """Drop what is kept of a connection that has ended."""
        for fault in self:
            fault.forget(connection)


def arrange_pipe(
    pipe: Pipe, touching: Iterable[ActiveFault], connection: int, now: float, messages: MessageContext | None
) -> None:
    """Have one pipe run those of the faults that act in its direction."""
    active = [fault for fault in touching if fault.acts(pipe.direction)]
    pipe.lose(_losses(active, pipe, connection, now), now)
    pipe.pace(min((one.pacing for one in active if one.pacing is not None), default=None))
    pipe.arrange(list(_links(active, pipe, connection, now, messages)), now)


def _links(
    active: Iterable[ActiveFault], pipe: Pipe, connection: int, now: float, messages: MessageContext | None
) -> Iterable[Link]:
    """The links a pipe shall have: those that stay as they are, and new ones."""
    standing = {} if pipe.chain is None else {link.owner: link for link in pipe.chain.links}
    for fault in active:
        link = standing.get(fault) or fault.link(connection, pipe.direction, now, messages)
        if link is not None:
            yield link


def _losses(active: Iterable[ActiveFault], pipe: Pipe, connection: int, now: float) -> dict[object, Loss]:
    """The losses the kernel shall cause on a pipe: those that stay as they are, and new ones."""
    standing = {} if pipe.filter is None else pipe.filter.losses
    found: dict[object, Loss] = {}
    for fault in active:
        loss = standing.get(fault) or fault.loss(connection, pipe.direction, now)
        if loss is not None:
            found[fault] = loss
    return found
