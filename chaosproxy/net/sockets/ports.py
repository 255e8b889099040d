"""The bound addresses of one listener, and the sockets that listen on them or hold them.

    listening   clients are connected by the kernel
    held        the address is bound without listening: clients are refused, and no other process can take it
    lost        the address cannot be bound or listened on, although clients are not to be refused

The path of a unix socket is held by a socket with a new file, so that other programs see that it is in use.
A file is deleted only while it is the one that was bound here.

Invariants:
- `listen` does not fail. A lost address is reported through `changed`, and tried again after _FIRST seconds,
  then after twice the time before, up to _LONGEST, on the scheduler's clock. `changed` is called again with
  None when it listens.
- Every descriptor of a socket or a file is counted in `descriptors` before a method returns.
- `prepare` is called before a socket listens again, so that no client arrives without its filter.
- The addresses never change: a port that the kernel has chosen stays for the life of this object.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence

from chaosproxy.errors import CannotListen
from chaosproxy.model.address import Address
from chaosproxy.net.kernel.descriptors import Descriptors
from chaosproxy.net.sockets.binding import SocketFile, bind_again, bound_address, hold_port, start_listening
from chaosproxy.net.timer.alarm import Alarm
from chaosproxy.net.timer.scheduler import Scheduler

__all__ = ["Changed", "Ports"]

Changed = Callable[[Address, CannotListen | None], None]
"""A callback for an address that is lost, with the reason, or that listens again, with None."""

_FIRST, _LONGEST = 0.25, 8.0
"""Seconds after which a lost address is tried again: at first, and at most."""


class Ports:
    """The sockets of one listener."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        listening: bool,
        ipv6only: bool,
        scheduler: Scheduler,
        descriptors: Descriptors,
    ) -> None:
        """`sockets` are bound; they listen, or all of them hold their addresses."""
        self.addresses: list[Address] = [bound_address(sock) for sock in sockets]
        self.listening: list[socket.socket] = list(sockets) if listening else []
        """The listening sockets; always the same list."""
        self.lost: dict[Address, CannotListen] = {}
        """The addresses on which it cannot listen, with the reasons."""
        self.prepare: Callable[[socket.socket], None] = _nothing
        self.resumed: Callable[[socket.socket], None] = _nothing
        """A callback for each socket that listens after it was lost."""
        self.changed: Changed = _unchanged
        self._held: dict[Address, socket.socket] = {}
        if not listening:
            self._held = dict(zip(self.addresses, sockets, strict=True))
        self._ipv6only = ipv6only
        self._files = {one: SocketFile(one.host) for one in self.addresses if one.is_unix}
        self._scheduler = scheduler
        self._again = Alarm(scheduler, self.retry)
        self._pause = _FIRST
        self.descriptors = descriptors
        self._counted = 0
        """Descriptors that are counted there."""
        self._count()

    def stop(self) -> None:
        """Stop listening, and hold every address that can be held."""
        self._give_up()
        for sock in self.listening:
            address = bound_address(sock)
            if (holder := hold_port(sock)) is not None:
                self._held[address] = holder
        self.listening.clear()
        for address in self.addresses:
            if address not in self._held:
                with contextlib.suppress(OSError):
                    self._hold(address)
        self._count()

    def secure(self) -> None:
        """Listen on every address, or hold them as before.

        :raises CannotListen: an address is taken, or the system refuses it for another reason.
        """
        for address in self._silent():
            try:
                self._listen_on(address)
            except OSError as error:
                self.stop()
                raise CannotListen.because(address, error) from error
        self._give_up()
        self._count()

    def listen(self) -> None:
        """Listen on every address; those that the system refuses are lost, and are tried again."""
        before, self.lost = self.lost, {}
        for address in self._silent():
            try:
                self._listen_on(address)
            except OSError as error:
                reason = self.lost[address] = CannotListen.because(address, error)
                if address not in before:
                    self.changed(address, reason)
        if self.lost:
            self._again.set(self._scheduler.clock() + self._pause)
            self._pause = min(2 * self._pause, _LONGEST)
        else:
            self._give_up()
        self._count()

    def retry(self) -> None:
        """Try every lost address now, not only when its time has come."""
        before = list(self.lost)
        if before:
            known = len(self.listening)
            self.listen()
            for sock in self.listening[known:]:
                self.resumed(sock)
            for address in before:
                if address not in self.lost:
                    self.changed(address, None)

    def close(self) -> None:
        """Close every socket, and delete the files that were bound here."""
        self._give_up()
        for sock in (*self.listening, *self._held.values()):
            sock.close()
        self.listening.clear()
        self._held.clear()
        for file in self._files.values():
            file.delete()
            file.close()
        self._count()

    def _count(self) -> None:
        """Count the descriptors that are open now."""
        now = len(self.listening) + len(self._held) + sum(file.is_open for file in self._files.values())
        self.descriptors.hold(now - self._counted)
        self._counted = now

    def _silent(self) -> list[Address]:
        """Return the addresses on which nothing listens."""
        listening = {bound_address(sock) for sock in self.listening}
        return [address for address in self.addresses if address not in listening]

    def _listen_on(self, address: Address) -> None:
        """Listen on one address.

        :raises OSError: with the system's reason; a socket that was bound stays bound.
        """
        if not self._is_held(address):
            self._hold(address)
        sock = self._held[address]
        self.prepare(sock)
        start_listening(sock)
        self.listening.append(self._held.pop(address))

    def _is_held(self, address: Address) -> bool:
        """Return whether a socket holds the address; a unix socket does not if its file is gone or replaced."""
        return address in self._held and (not address.is_unix or self._files[address].exists)

    def _hold(self, address: Address) -> None:
        """Bind a socket that holds the address.

        :raises OSError: with the system's reason.
        """
        if address.is_unix:
            self._files[address].delete()
            if (replaced := self._held.pop(address, None)) is not None:
                replaced.close()
        self._held[address] = bind_again(address, self._ipv6only)
        if address.is_unix:
            self._files[address].close()
            self._files[address] = SocketFile(address.host)

    def _give_up(self) -> None:
        """Stop trying lost addresses."""
        self.lost = {}
        self._pause = _FIRST
        self._again.cancel()


def _nothing(_: socket.socket) -> None:
    """Do nothing until the listener has set a callback."""


def _unchanged(_address: Address, _reason: CannotListen | None) -> None:
    """Do nothing until the listener has set a callback."""
