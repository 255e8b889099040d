"""Connection attempts that a fault keeps from the listening socket: seen by a tap, counted and published.

    SharedTap   one per process: the tap, open while a proxy hides attempts, and which port is whose
    Attempts    one per proxy: counts each attempt, publishes some per second, passes packets on

A proxy says what a fault does to new clients (`Attempts.hide`). While it has them refused or
left unanswered, the ports of that proxy are watched, and no other ports: the connections of
a proxy that hides nothing bring no packet here.

An attempt is one SYN. It is classified by the fault that acts when the packet is read, so
the proxy calls `catch_up` before another fault acts. A SYN that is sent again belongs to the
same attempt, unless it meets something else than before: an attempt that outlasts the fault
counts once as unanswered and once as accepted.

The tap never fails a fault. Where it cannot be opened, attempts are not visible: this is
logged once, and `SharedTap.capability` says why.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from chaosproxy.events import Bus, ConnectionAttempt, Met
from chaosproxy.faults.base import NEVER
from chaosproxy.model.address import Address
from chaosproxy.net.kernel.capabilities import Capability
from chaosproxy.net.kernel.tap import Packet, PacketKind, Tap
from chaosproxy.net.placement.active_faults import Hiding
from chaosproxy.net.timer.scheduler import Clock, Scheduler
from chaosproxy.tallies import ProxyTally

__all__ = ["Attempts", "OnPacket", "SharedTap"]

OnPacket = Callable[[PacketKind, tuple[str, int], int, float], None]
"""Takes a packet's kind, the client's address and port, the listening port, and when it arrived."""

_PER_SECOND = 20
"""Events per second and proxy."""
_WINDOW = 1.0
_REMEMBERED = 2048
"""Attempts per proxy whose SYNs are recognised when they are sent again."""
_TWICE = 0.1
"""Seconds within which a second SYN is no retransmission: a bridge, bond or VLAN and the port below it show each."""
_MOST_HOSTS = 1024

logger = logging.getLogger(__name__)


class Listening(Protocol):
    """The bound sockets of a proxy."""

    @property
    def addresses(self) -> Sequence[Address]: ...
    def is_filler(self, client: tuple[str, int]) -> bool: ...


class SharedTap:
    """The tap of a process, open while a fault hides attempts on one of its proxies."""

    def __init__(self, probed: Capability, clock: Clock) -> None:
        """To be made inside a running loop."""
        self._loop = asyncio.get_running_loop()
        self._probed = probed
        self._clock = clock
        self._tap: Tap | None = None
        self._missed = 0
        self._failure = ""
        """Why it could not be opened; empty where it could, or need not be."""
        self._refused = False
        """It has been logged that the probe found no tap."""
        self._listening: dict[Attempts, Sequence[Address]] = {}
        self._hiding: set[Attempts] = set()
        self._watched: dict[int, list[tuple[Address, Attempts]]] = {}
        """By port: the addresses where attempts are hidden, and whose they are."""
        self._narrowing: asyncio.Handle | None = None
        self._local: dict[str, bool] = {}
        """Whether an address is one of this machine."""

    @property
    def capability(self) -> Capability:
        """Whether attempts are visible; lacking also where the tap could not be opened in spite of the probe."""
        if not self._failure:
            return self._probed
        remedy = "free descriptors or memory, then put the fault again"
        return replace(self._probed, lacking=f"the tap could not be opened ({self._failure})", remedy=remedy)

    @property
    def is_open(self) -> bool:
        """Whether packets are looked at now."""
        return self._tap is not None

    @property
    def missed(self) -> int:
        """Packets that the kernel dropped since too many were waiting to be read."""
        return self._missed + (0 if self._tap is None else self._tap.missed)

    def watch(self, attempts: Attempts, addresses: Sequence[Address], hiding: bool) -> None:
        """Show `attempts` the packets to these addresses if a fault hides them; without one, none."""
        if attempts in self._hiding:
            self._forget(attempts)
        self._listening.pop(attempts, None)
        if addresses:
            self._listening[attempts] = addresses
        if hiding and addresses:
            self._hiding.add(attempts)
            for address in addresses:
                self._watched.setdefault(_port(address), []).append((address, attempts))
        if not self._watched:
            self._close()
        elif not self._probed.available:
            self._log_lacking()
        elif hiding:
            self._open(addresses)

    def catch_up(self) -> None:
        """Read every packet that has arrived by now."""
        if self._tap is not None:
            self._tap.catch_up()

    def _forget(self, attempts: Attempts) -> None:
        self._hiding.discard(attempts)
        for address in self._listening[attempts]:
            port = _port(address)
            self._watched[port].remove((address, attempts))
            if not self._watched[port]:
                del self._watched[port]
        self._narrow_soon()

    def _open(self, addresses: Sequence[Address]) -> None:
        """Look at the ports of these addresses, and at all others that are watched.

        A partition watches the ports of many proxies in one turn of the loop, and each program
        takes the kernel 20 to 80 µs. So the first one shows the ports of all proxies, and the
        exact one is made once, after that turn.
        """
        try:
            if self._tap is None:
                self._tap = Tap(self._clock, self._show, self._fail)
            if any(_port(one) not in self._tap.ports for one in addresses):
                self._tap.watch(frozenset(_port(one) for addresses in self._listening.values() for one in addresses))
                self._narrow_soon()
        except OSError as error:
            self._fail(error)
        else:
            self._failure = ""

    def _narrow_soon(self) -> None:
        if self._narrowing is None and self._tap is not None:
            self._narrowing = self._loop.call_soon(self._narrow)

    def _narrow(self) -> None:
        self._narrowing = None
        if self._tap is not None:
            try:
                self._tap.watch(frozenset(self._watched))
            except OSError as error:
                self._fail(error)

    def _log_lacking(self) -> None:
        if not self._refused:
            self._refused = True
            _log(self._probed)

    def _close(self) -> None:
        if self._narrowing is not None:
            self._narrowing.cancel()
            self._narrowing = None
        if self._tap is not None:
            self._missed += self._tap.missed
            self._tap.close()
            self._tap = None
            self._local.clear()

    def _fail(self, error: OSError) -> None:
        self._close()
        is_new, self._failure = not self._failure, error.strerror or str(error)
        if is_new:
            _log(self.capability)

    def _show(self, packet: Packet) -> None:
        host, port = packet.destination
        for address, attempts in self._watched.get(port, ()):
            if self._includes(address.host, host):
                try:
                    attempts.on_arrival(packet)
                except Exception:  # packets are read when a fault changes, too, and that must not fail
                    logger.exception("a packet could not be counted")
                return

    def _includes(self, bound: str, host: str) -> bool:
        """Whether a socket bound to one address receives what is sent to another."""
        if bound == ("::" if ":" in host else "0.0.0.0"):
            return self._is_local(host)
        return bound.partition("%")[0] == host

    def _is_local(self, host: str) -> bool:
        """Whether an address is one of this machine: a router is shown packets that only pass through it."""
        known = self._local.get(host)
        if known is None:
            if len(self._local) >= _MOST_HOSTS:
                self._local.clear()
            known = self._local[host] = _can_bind(host)
        return known


class Attempts:
    """The connection attempts of one proxy."""

    def __init__(self, proxy: str, tally: ProxyTally, bus: Bus, scheduler: Scheduler, tap: SharedTap) -> None:
        self.on_packet: OnPacket | None = None
        """Called with every SYN, FIN and RST to the proxy's ports while a fault hides attempts."""
        self.scheduled_at = NEVER
        self._proxy = proxy
        self._tally = tally
        self._bus = bus
        self._scheduler = scheduler
        self._tap = tap
        self._hiding: Hiding | None = None
        self._listening: Listening | None = None
        self._met: dict[tuple[tuple[str, int], int, int], tuple[Met, float]] = {}
        """What the latest attempts met and when, by client, port and sequence number."""
        self._window_ends = 0.0
        self._published = 0
        """Events in the window."""
        self._suppressed: dict[Hiding, _Suppressed] = {}

    @property
    def capability(self) -> Capability:
        """Whether attempts that a fault hides are visible."""
        return self._tap.capability

    def catch_up(self) -> None:
        """Count the attempts that have arrived by now, before the listener treats new ones otherwise."""
        self._tap.catch_up()

    def hide(self, hiding: Hiding | None, listening: Listening | None) -> None:
        """Note the fault that keeps clients from these sockets from now on; None where no fault does."""
        if listening is None:
            hiding = None
        addresses = () if listening is None else listening.addresses
        self._tap.watch(self, [one for one in addresses if not one.is_unix], hiding is not None)
        self._hiding, self._listening = hiding, listening

    def count(self, hiding: Hiding, client: str, at: float) -> None:
        """Count a client that met this fault, and publish it unless too many were published within a second."""
        self._tally.attempts[hiding.met] += 1
        now = self._scheduler.clock()
        if now >= self._window_ends:
            self._begin_window(now)
        if self._published < _PER_SECOND:
            self._publish(hiding, client, at, 0)
            return
        before = self._suppressed.get(hiding)
        self._suppressed[hiding] = _Suppressed(client, at, 1 if before is None else before.count + 1)
        self._scheduler.schedule(self, self._window_ends)

    def on_arrival(self, packet: Packet) -> None:
        """Handle a packet to one of the proxy's ports."""
        if self._hiding is None or self._listening is None or self._listening.is_filler(packet.source):
            return
        port = packet.destination[1]
        if packet.kind == "syn":
            self._on_syn(packet, self._hiding)
        if self.on_packet is not None:
            self.on_packet(packet.kind, packet.source, port, packet.at)

    def close(self) -> None:
        """Watch nothing more, and publish what was suppressed."""
        self.hide(None, None)
        self._scheduler.schedule(self, NEVER)
        self._begin_window(self._scheduler.clock())

    def on_due(self, now: float) -> None:
        if self._suppressed:
            self._begin_window(now)

    def on_bug(self) -> None:
        self._suppressed.clear()

    def _on_syn(self, packet: Packet, hiding: Hiding) -> None:
        attempt = (packet.source, packet.destination[1], packet.sequence)
        met, at = self._met.pop(attempt, ("", NEVER))
        if len(self._met) >= _REMEMBERED:
            del self._met[next(iter(self._met))]
        self._met[attempt] = hiding.met, packet.at
        if met == hiding.met:
            self._tally.syn_retransmits += packet.at - at >= _TWICE
            return
        self.count(hiding, str(Address(*packet.source)), packet.at)

    def _begin_window(self, now: float) -> None:
        """Allow events again; publish the latest suppressed attempt of each kind, which stands for all of them."""
        suppressed, self._suppressed = self._suppressed, {}
        self._window_ends, self._published = now + _WINDOW, 0
        for hiding, latest in suppressed.items():
            self._publish(hiding, latest.client, latest.at, latest.count - 1)

    def _publish(self, hiding: Hiding, client: str, at: float, suppressed: int) -> None:
        self._published += 1
        self._bus.publish(
            ConnectionAttempt(
                proxy=self._proxy, at=at, client=client, met=hiding.met, fault=hiding.fault, suppressed=suppressed
            )
        )


@dataclass(frozen=True, slots=True)
class _Suppressed:
    """Attempts that met the same within a window and were not published."""

    client: str
    """The latest of them."""
    at: float
    count: int


def _log(lacking: Capability) -> None:
    logger.warning("connection attempts are not visible: %s; %s", lacking.lacking, lacking.remedy)


def _port(address: Address) -> int:
    assert address.port is not None, "a unix socket has no packets"
    return address.port


def _can_bind(host: str) -> bool:
    if host.startswith("fe80:"):  # link-local: never passed on by a router, and not to be bound without its zone
        return True
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            return False
    return True
