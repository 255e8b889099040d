"""What the kernel loses of one direction: every fault's Loss, as one program on the socket it is read from.

A pipe that no packet fault touches has no Filter: the path of a byte knows nothing of it.
The program is put in place whole, in one call; the kernel drops it with the socket.

A peer may have gone while nothing of it came through: its end would have been sent again, a
reset is not. So whoever had a filter is asked for a few seconds afterwards whether it is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Mapping

from chaosproxy.faults.base import NEVER, Loss
from chaosproxy.net.kernel.bpf import Program, losing
from chaosproxy.net.kernel.sockopts import ask_if_alive, attach, detach, dropped, lent_socket, reset_on_exit, tcp_socket
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Filter"]

_GONE = {errno.EBADF, errno.ENOTCONN, errno.EINVAL}
"""The socket is closed: nothing arrives on it any more."""

_ASK_SECONDS = 3.0

logger = logging.getLogger(__name__)


class Filter:
    """The losses at work on one pipe."""

    __slots__ = ("_asking_until", "_before", "_scheduler", "_program", "_source", "dropped", "losses", "scheduled_at")

    def __init__(self, scheduler: Scheduler, inherited: Program | None = None) -> None:
        """`inherited`: what the socket has from the listening socket it was accepted on."""
        self._scheduler = scheduler
        self._source: asyncio.Transport | None = None
        self._program = inherited
        self._asking_until = NEVER
        """Until then the peer is asked whether it is alive; NEVER when it is not."""
        self._before = 0
        """Packets the socket had dropped when they were last counted."""
        self.losses: Mapping[object, Loss] = {}
        """Each fault's, by who placed it."""
        self.dropped = 0
        """Packets lost so far, by the kernel's own count."""
        self.scheduled_at = NEVER

    def watch(self, source: asyncio.Transport, now: float) -> None:
        """The socket is there."""
        self._source = source
        if self._program is not None and (sock := tcp_socket(source)) is not None:
            with contextlib.suppress(OSError):
                reset_on_exit(sock, True)
        self.refresh(now)

    def use(self, losses: Mapping[object, Loss], now: float) -> None:
        """Lose exactly this from now on."""
        self.losses = losses
        self.refresh(now)

    def refresh(self, now: float) -> None:
        """Put in place what the losses say now, and ask to be woken when they say something else."""
        next_change = NEVER
        for loss in self.losses.values():
            if loss.changes_at <= now:
                loss.change(now)
            next_change = min(next_change, loss.changes_at)
        drops = tuple(loss.drop for loss in self.losses.values() if loss.drop is not None)
        had_one = self._program is not None
        self._install(losing(drops) if self.losses else None)
        if had_one and self._program is None:
            self._ask(True)
            self._asking_until = now + _ASK_SECONDS
        elif self._asking_until <= now:  # also under a new filter: long before silence would end the connection
            self._ask(False)
            self._asking_until = NEVER
        self._scheduler.schedule(self, min(next_change, self._asking_until))

    def on_due(self, now: float) -> None:
        self.refresh(now)

    def on_bug(self) -> None:
        self.end()

    def count(self) -> None:
        """Take in what the kernel has dropped since it was last asked."""
        source = self._source
        if source is None or self._program is None:
            return
        sock = tcp_socket(source)
        if sock is not None:
            with contextlib.suppress(OSError):  # it is gone, and its count with it
                total = dropped(sock)
                self.dropped += total - self._before
                self._before = total

    def end(self) -> None:
        """The connection ends: nothing of its farewell is lost, and what is attached is taken off."""
        self._scheduler.schedule(self, NEVER)
        self.losses = {}
        self._install(None)
        self._source = None

    def _ask(self, on: bool) -> None:
        sock = None if self._source is None else lent_socket(self._source)
        if sock is not None:
            try:
                ask_if_alive(sock, on)
            except OSError:
                pass  # it is closing: nobody has to be asked
            finally:
                sock.detach()

    def _install(self, program: Program | None) -> None:
        if program == self._program or self._source is None:
            return
        sock = lent_socket(self._source)
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
                logger.error("a filter could not be changed, and its fault does not act: %s", error.strerror)
        finally:
            sock.detach()
