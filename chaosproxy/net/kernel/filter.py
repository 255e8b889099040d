"""Packet loss in one direction: the Losses of all faults, as one program on the socket that a pipe is read from.

A pipe has a Filter only after a packet fault has acted on it. One call attaches the whole program;
the kernel removes it with the socket.

A peer may end its connection while the filter drops its packets. TCP retransmits a FIN, but not a
RST. So after a loss is removed, keepalive probes are sent for a few seconds: a peer that has reset
the connection responds with another RST. No probe is sent while every packet is dropped: no response
would arrive, and the kernel would end the connection after some probes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Mapping
from typing import Protocol

from chaosproxy.faults.base import NEVER, Loss
from chaosproxy.net.kernel.bpf import Program, losing
from chaosproxy.net.kernel.sockopts import (
    attach,
    borrow_socket,
    detach,
    dropped,
    reset_on_exit,
    set_keepalive,
    tcp_socket,
)
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Filter", "Named"]

_GONE = {errno.EBADF, errno.ENOTCONN, errno.EINVAL}
"""Errors of a socket that is closed: nothing arrives on it any more."""

_KEEPALIVE_SECONDS = 3.0

logger = logging.getLogger(__name__)


class Named(Protocol):
    """A fault, as its filter sees it."""

    @property
    def name(self) -> str: ...


class Filter:
    """The losses at work on one pipe."""

    __slots__ = (
        "_before", "_keepalive_until", "_program", "_scheduler", "_source", "dropped", "losses", "scheduled_at",
    )  # fmt: skip

    def __init__(self, scheduler: Scheduler, inherited: Program | None = None) -> None:
        """`inherited` is the program that an accepted socket has from its listening socket."""
        self._scheduler = scheduler
        self._source: asyncio.Transport | None = None
        self._program = inherited
        self._keepalive_until = NEVER
        """The time at which keepalive probes end; NEVER if none are sent."""
        self._before = 0
        """Packets that the socket had dropped when they were last counted."""
        self.losses: Mapping[Named, Loss] = {}
        """The Loss of each fault, by the fault."""
        self.dropped = 0
        """Packets dropped so far, as counted by the kernel."""
        self.scheduled_at = NEVER

    def attach_to(self, source: asyncio.Transport, now: float) -> None:
        """Filter the packets of this socket, which is connected now."""
        self._source = source
        if self._program is not None and (sock := tcp_socket(source)) is not None:
            with contextlib.suppress(OSError):
                reset_on_exit(sock, True)
        self.refresh(now)

    @property
    def faults(self) -> list[str]:
        """The names of the faults whose losses are at work."""
        return [fault.name for fault in self.losses]

    def set_losses(self, losses: Mapping[Named, Loss], now: float) -> None:
        """Replace the losses. If one is gone, ask the peer whether it is still there, even if others stay."""
        has_fewer = any(fault not in losses for fault in self.losses)
        self.losses = losses
        self.refresh(now)
        if has_fewer and self._program is not None and not self._drops_all:
            self._ask_for_signs_of_life(now)
            self._scheduler.schedule(self, min(self.scheduled_at, self._keepalive_until))

    def refresh(self, now: float) -> None:
        """Attach the program for the losses at this time, and schedule the next call for when it changes."""
        next_change = NEVER
        for loss in self.losses.values():
            if loss.changes_at <= now:
                loss.change(now)
            next_change = min(next_change, loss.changes_at)
        drops = tuple(loss.drop for loss in self.losses.values() if loss.drop is not None)
        had_one = self._program is not None
        self._install(losing(drops) if self.losses else None)
        if had_one and self._program is None:
            self._ask_for_signs_of_life(now)
        elif self._keepalive_until <= now or (self._drops_all and self._keepalive_until < NEVER):
            self._send_keepalives(False)
            self._keepalive_until = NEVER
        self._scheduler.schedule(self, min(next_change, self._keepalive_until))

    @property
    def _drops_all(self) -> bool:
        """True if no packet that carries an answer to a probe arrives."""
        drops = (loss.drop for loss in self.losses.values())
        return any(drop is not None and drop.share >= 1 and not drop.spare_acks for drop in drops)

    def on_due(self, now: float) -> None:
        self.refresh(now)

    def on_bug(self) -> None:
        self.end()

    def count(self) -> None:
        """Add the packets that the kernel has dropped since the last count."""
        source = self._source
        if source is None or self._program is None:
            return
        sock = tcp_socket(source)
        if sock is not None:
            with contextlib.suppress(OSError):  # the socket is closed, and its count is lost
                total = dropped(sock)
                self.dropped += total - self._before
                self._before = total

    def end(self) -> None:
        """Detach the program before the connection ends, so that its last packets are not dropped."""
        self._scheduler.schedule(self, NEVER)
        self.losses = {}
        self._install(None)
        self._source = None

    def _ask_for_signs_of_life(self, now: float) -> None:
        self._send_keepalives(True)
        self._keepalive_until = now + _KEEPALIVE_SECONDS

    def _send_keepalives(self, on: bool) -> None:
        sock = None if self._source is None else borrow_socket(self._source)
        if sock is not None:
            try:
                set_keepalive(sock, on)
            except OSError:
                pass  # the socket is closing: a probe is not needed
            finally:
                sock.detach()

    def _install(self, program: Program | None) -> None:
        if program == self._program or self._source is None:
            return
        sock = borrow_socket(self._source)
        if sock is None:
            return
        try:
            total = dropped(sock)
            if self._program is not None:
                self.dropped += total - self._before
            self._before = total
            if program is None:
                detach(sock)
            else:
                attach(sock, program)
            reset_on_exit(sock, program is not None)
            self._program = program
        except OSError as error:
            if error.errno not in _GONE:
                logger.error("cannot change the filter of a socket, so its faults do not act: %s", error.strerror)
        finally:
            sock.detach()
