"""Connection attempts that a fault keeps from the listening socket: seen by a tap, counted and published.

    SharedTap   one per process: the tap, open while a proxy hides attempts, and the proxy of each port
    Attempts    one per proxy: counts each attempt, publishes some per second, passes packets on

A proxy calls `Attempts.hide` when its faults begin or cease to keep clients out. While they do, the
tap watches the ports of that proxy and no others, so the connections of other proxies cause no work
here.

Invariants:
- An attempt is one SYN. Its result is that of the fault which acts when the packet is read, so the
  proxy calls `catch_up` before another fault acts.
- A retransmitted SYN belongs to the same attempt, unless its result differs: an attempt that outlasts
  the fault counts once as unanswered and once as accepted.
- A fault never fails because of the tap. If the tap cannot be opened, attempts are not visible: this
  is logged once, and `SharedTap.capability` has the reason.
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
from chaosproxy.net.kernel.descriptors import Descriptors
from chaosproxy.net.kernel.tap import Packet, PacketKind, Tap
from chaosproxy.net.placement.active_faults import Hiding
from chaosproxy.net.timer.scheduler import Clock, Scheduler
from chaosproxy.tallies import ProxyTally

__all__ = ["Attempts", "OnPacket", "SharedTap"]

OnPacket = Callable[[PacketKind, tuple[str, int], int, float], None]
"""A callback for a packet: its kind, the client's address and port, the listening port, and the time of arrival."""

_PER_SECOND = 20
"""Events per second and proxy."""
_WINDOW = 1.0
_REMEMBERED = 2048
"""Attempts per proxy whose SYNs are recognised when they are retransmitted."""
_TWICE = 0.1
"""Seconds within which a second SYN is the same packet, shown by a bridge, bond or VLAN and by its port."""
_MOST_HOSTS = 1024

logger = logging.getLogger(__name__)


class Listening(Protocol):
    """The bound sockets of a proxy."""

    @property
    def reached_at(self) -> Sequence[Address]: ...
    def is_filler(self, client: tuple[str, int]) -> bool: ...


class SharedTap:
    """The tap of a process, open while a fault hides attempts on one of its proxies."""

    def __init__(self, probed: Capability, clock: Clock, descriptors: Descriptors) -> None:
        """Create it inside a running loop."""
        self._loop = asyncio.get_running_loop()
        self._probed = probed
        self._clock = clock
        self._descriptors = descriptors
        self._tap: Tap | None = None
        self._missed = 0
        self._failure = ""
        """The reason why it could not be opened; empty if it could, or was not needed."""
        self._refused = False
        """True after it was logged that the probe found no tap."""
        self._listening: dict[Attempts, Sequence[Address]] = {}
        self._hiding: set[Attempts] = set()
        self._watched: dict[int, list[tuple[Address, Attempts]]] = {}
        """The addresses on which attempts are hidden, with their Attempts, by port."""
        self._narrowing: asyncio.Handle | None = None
        self._local: dict[str, bool] = {}
        """A cache: True for the addresses of this machine."""

    @property
    def capability(self) -> Capability:
        """The capability to see attempts; also lacking if the tap could not be opened although the probe succeeded."""
        if not self._failure:
            return self._probed
        remedy = "free descriptors or memory, then add the fault again"
        return replace(self._probed, lacking=f"the tap could not be opened ({self._failure})", remedy=remedy)

    @property
    def is_open(self) -> bool:
        """True if the tap is open."""
        return self._tap is not None

    @property
    def missed(self) -> int:
        """The number of packets that the kernel has dropped because too many were waiting to be read."""
        return self._missed + (0 if self._tap is None else self._tap.missed)

    def watch(self, attempts: Attempts, addresses: Sequence[Address], hiding: bool) -> None:
        """Pass packets to these addresses to `attempts` if `hiding`, and none otherwise."""
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
        """Read every packet that has arrived so far."""
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
        """Watch the ports of these addresses too.

        A partition adds the ports of many proxies in one turn of the loop, and attaching a program takes
        20 to 80 µs. So the first program watches the ports of all proxies, and the exact one is attached
        once, after that turn.
        """
        try:
            if self._tap is None:
                self._tap = Tap(self._clock, self._show, self._fail)
                self._descriptors.hold(1)
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
            self._descriptors.hold(-1)
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
                except Exception:  # a change of faults reads packets too, and must not fail
                    logger.exception("a packet could not be counted")
                return

    def _includes(self, bound: str, host: str) -> bool:
        """Return whether a socket bound to `bound` receives packets to `host`."""
        if bound == ("::" if ":" in host else "0.0.0.0"):
            return self._is_local(host)
        return bound.partition("%")[0] == host

    def _is_local(self, host: str) -> bool:
        """Return whether an address belongs to this machine: a tap on a router also sees forwarded packets."""
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
        """A callback for every SYN, FIN and RST to the proxy's ports while a fault hides attempts."""
        self.scheduled_at = NEVER
        self._proxy = proxy
        self._tally = tally
        self._bus = bus
        self._scheduler = scheduler
        self._tap = tap
        self._hiding: Hiding | None = None
        self._listening: Listening | None = None
        self._met: dict[tuple[tuple[str, int], int, int], tuple[Met, float]] = {}
        """The result and the time of the latest attempts, by client, port and sequence number."""
        self._window_ends = 0.0
        self._published = 0
        """The number of events in the current window."""
        self._suppressed: dict[Hiding, _Suppressed] = {}

    @property
    def capability(self) -> Capability:
        """The capability to see attempts that a fault hides."""
        return self._tap.capability

    def catch_up(self) -> None:
        """Count the attempts that have arrived so far, before the listener's reply changes."""
        self._tap.catch_up()

    def hide(self, hiding: Hiding | None, listening: Listening | None) -> None:
        """Note the fault that keeps clients from these sockets from now on; None if no fault does."""
        if listening is None:
            hiding = None
        addresses = () if listening is None else listening.reached_at
        self._tap.watch(self, [one for one in addresses if not one.is_unix], hiding is not None)
        self._hiding, self._listening = hiding, listening

    def count(self, hiding: Hiding, client: str, at: float) -> None:
        """Count a client that this fault kept out, and publish it, up to a limit per second."""
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
        """Stop watching, and publish the suppressed attempts."""
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
        """Begin a new window; publish the latest suppressed attempt per fault and result, which stands for all."""
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
    """Attempts with the same fault and result that were not published in the current window."""

    client: str
    """The client of the latest one."""
    at: float
    count: int


def _log(lacking: Capability) -> None:
    logger.warning("connection attempts are not visible: %s; %s", lacking.lacking, lacking.remedy)


def _port(address: Address) -> int:
    assert address.port is not None, "a unix socket has no packets"
    return address.port


def _can_bind(host: str) -> bool:
    if host.startswith("fe80:"):  # link-local: routers never forward it, and binding needs its zone
        return True
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            return False
    return True
