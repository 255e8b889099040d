"""The faults that act on one proxy: its own, and those of the partitions that cut it.

An ActiveFaults keeps them in order and derives from them how the listener treats new clients, which
faults touch a connection, and which fault makes a TLS handshake fail. It holds no socket; the proxy
applies the results. `arrange_pipe` applies the faults of one direction to a pipe.

The counts of a fault outlive it: one of the same name continues them, so a counter never decreases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chaosproxy.events import Met
from chaosproxy.faults.base import Admission, Direction, Drop, Loss, Reply
from chaosproxy.faults.chain import Link
from chaosproxy.net.kernel.buffers import UNSIZED_FROM
from chaosproxy.net.kernel.filter import Named
from chaosproxy.net.placement.active_fault import ActiveFault, MessageContext
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.pipe import Pipe
from chaosproxy.tallies import FaultTally

__all__ = ["ActiveFaults", "Hiding", "arrange_pipe"]

_PARTITION = "partition/"
_PRECEDENCE: tuple[Reply, ...] = ("accept", "hold", "refuse", "silence")
"""Replies to a SYN, weakest first: of several faults, the one with the strongest reply decides.

For example, a paused process that also crashes refuses clients, and an unreachable host sends nothing in any case.
"""


@dataclass(frozen=True, slots=True)
class Hiding:
    """A fault that keeps new clients from connecting."""

    met: Met
    """The result of the client's attempt."""
    fault: str
    """The fault's name."""


class ActiveFaults:
    """The faults of one proxy, in order: partitions come first, nearest to the sender."""

    def __init__(self) -> None:
        self.own: dict[str, ActiveFault] = {}
        """The proxy's own faults, by name."""
        self.partitions: dict[str, ActiveFault] = {}
        """Faults of partitions, by the partition's id; changes of the proxy's own faults do not affect them."""
        self._past: dict[str, FaultTally] = {}
        """The counts of removed faults, by fault name."""
        self._ordered: tuple[ActiveFault, ...] | None = ()
        """All faults; None from a change until they are needed, so that many changes put them in order once."""
        self._read_hellos = False

    @property
    def _all(self) -> tuple[ActiveFault, ...]:
        if self._ordered is None:
            self._ordered = (*self.partitions.values(), *self.own.values())
            self._read_hellos = any(fault.spec.sni is not None for fault in self._ordered)
        return self._ordered

    def __iter__(self) -> Iterator[ActiveFault]:
        return iter(self._all)

    @property
    def read_hellos(self) -> bool:
        """True if a fault acts only on clients that request a server name in TLS."""
        return bool(self._all) and self._read_hellos

    def name_of(self, where: dict[str, ActiveFault], key: str) -> str:
        """Return the name with which `by_name` yields the fault with that key in `own` or `partitions`."""
        return key if where is self.own else f"{_PARTITION}{key}"

    def named(self, name: str) -> ActiveFault | None:
        """Return the fault that `by_name` yields with that name; None if there is none."""
        id = name.removeprefix(_PARTITION)
        return self.own.get(name) if id == name else self.partitions.get(id)

    def by_name(self) -> Iterator[tuple[str, ActiveFault]]:
        """Yield the proxy's own faults by name, and those of partitions as `partition/ID`."""
        yield from self.own.items()
        yield from ((f"{_PARTITION}{id}", fault) for id, fault in self.partitions.items())

    # ── adding and removing ───────────────────────────────────────────────────────────

    def put(self, where: dict[str, ActiveFault], key: str, fault: ActiveFault) -> None:
        """Add a fault to `own` or `partitions`, or replace the one with that key."""
        name = fault.spec.name
        if key not in where and name in self._past:
            fault.tally = self._past.pop(name)  # a counter never decreases
        where[key] = fault
        self._ordered = None

    def take(self, where: dict[str, ActiveFault], key: str) -> ActiveFault:
        """Remove and return a fault; KeyError if there is none."""
        gone = where.pop(key)
        self._past[gone.spec.name] = gone.tally
        self._ordered = None
        return gone

    def tallies(self) -> dict[str, FaultTally]:
        """Return the counts of every fault, by name, including removed ones."""
        return {**self._past, **{fault.spec.name: fault.tally for fault in self}}

    # ── new clients ───────────────────────────────────────────────────────────────────

    def admission(self) -> tuple[Reply, tuple[Drop, ...]]:
        """Return the listener's reply to every new client, and the packets that its filter drops."""
        all_touching = [
            (fault, fault.admission)
            for fault in self
            if fault.admission is not None and fault.spec.placement.touches_all
        ]
        reply: Reply = max((one.reply for _, one in all_touching), key=_PRECEDENCE.index, default="accept")
        drops = tuple(one.drop for fault, one in all_touching if one.drop is not None and fault.acts("upstream"))
        if reply == "silence":
            drops = (Drop(),) if any(one.by_filter for _, one in all_touching) else ()
        return reply, drops

    def hiding(self, reply: Reply) -> Hiding | None:
        """Return the fault that keeps every new client from the listening socket, if one does.

        `reply` is the listener's reply to new clients, as `admission` returns it.
        """
        met: Met = "refused" if reply == "refuse" else "unanswered"
        return next((Hiding(met, fault.spec.name) for fault in self if fault.hides == met), None)

    def admit(self, ordinal: int) -> tuple[ActiveFault | None, bool]:
        """Return the fault that refuses this accepted client, if any, and whether others delay it (`accept_delay`)."""
        is_delayed = False
        for fault in self:
            admission = fault.admission
            if admission is None or not (admission.delay or admission.reply == "refuse"):
                continue
            if fault.touches(ordinal):
                fault.tally.chunks += 1
                if admission.reply == "refuse":
                    return fault, False
                is_delayed = True
        return None, is_delayed

    def accept_delay(self, ordinal: int) -> tuple[float, str | None]:
        """Return the seconds by which faults delay this accepted client now, and the fault with the longest delay."""
        delays = [
            (fault.admission.delay, fault.spec.name)
            for fault in self
            if fault.admission is not None and fault.admission.delay and fault.touches(ordinal)
        ]
        return sum(delay for delay, _ in delays), max(delays, default=(0.0, None))[1]

    def handshake_fault(self, connection: Connection) -> ActiveFault | None:
        """Return the fault that makes a client's TLS handshake fail, if any."""
        for fault in self:
            admission: Admission | None = fault.admission
            if admission is not None and admission.handshake is not None and fault.matches_sni(connection.sni):
                if fault.touches(connection.ordinal):
                    return fault
        return None

    # ── connections ───────────────────────────────────────────────────────────────────

    def touching(self, connection: Connection) -> list[ActiveFault]:
        """Return the faults that touch a connection."""
        return [one for one in self._all if one.matches_sni(connection.sni) and one.touches(connection.ordinal)]

    def sizes(self, direction: Direction, queue: int) -> int | None:
        """Return `queue` if the buffers of new connections in that direction are sized to it; None if they are not."""
        return queue if queue < UNSIZED_FROM and any(fault.holds(direction) for fault in self) else None

    def severs(self, direction: Direction) -> bool:
        """Return whether nothing passes in that direction, on any connection."""
        return any(fault.severs(direction) for fault in self)

    def forget(self, connection: int) -> None:
        """Drop the state of a connection that has ended."""
        for fault in self._all:
            fault.forget(connection)


def arrange_pipe(
    pipe: Pipe, touching: Iterable[ActiveFault], connection: int, now: float, messages: MessageContext | None
) -> None:
    """Apply to one pipe those of the faults that act in its direction."""
    active = [fault for fault in touching if fault.acts(pipe.direction)]
    pipe.set_losses(_losses(active, pipe, connection, now), now)
    pipe.set_pacing(min((one.pacing for one in active if one.pacing is not None), default=None))
    pipe.arrange(list(_links(active, pipe, connection, now, messages)), now)


def _links(
    active: Iterable[ActiveFault], pipe: Pipe, connection: int, now: float, messages: MessageContext | None
) -> Iterable[Link]:
    """Yield the links of a pipe's chain: its present links where the faults stay, and new ones."""
    present = {} if pipe.chain is None else {link.owner: link for link in pipe.chain.links}
    for fault in active:
        link = present.get(fault) or fault.link(connection, pipe.direction, now, messages)
        if link is not None:
            yield link


def _losses(active: Iterable[ActiveFault], pipe: Pipe, connection: int, now: float) -> dict[Named, Loss]:
    """Return the losses of a pipe's filter: its present ones where the faults stay, and new ones."""
    present = {} if pipe.filter is None else pipe.filter.losses
    found: dict[Named, Loss] = {}
    for fault in active:
        loss = present.get(fault) or fault.loss(connection, pipe.direction, now)
        if loss is not None:
            found[fault] = loss
    return found
