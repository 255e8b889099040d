"""Accepting: listening sockets, drained in batches, that back off when descriptors run out.

What a new client meets is a Reply, and the listener goes from any to any other:

    accept    taken from the backlog and served
    hold      connected by the kernel, left in the backlog
    refuse    the port is bound and nobody listens: ECONNREFUSED
    silence   the SYN is not answered: lost by a filter, or turned away by a backlog kept full
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import Literal

from chaosproxy.faults.base import Reply
from chaosproxy.model.address import Address
from chaosproxy.net.kernel.bpf import Program
from chaosproxy.net.kernel.sockopts import attach, detach
from chaosproxy.net.sockets.binding import BACKLOG, bind_all, bound_address, hold_port

__all__ = ["Listener"]

Accepted = Callable[[socket.socket, object], None]
"""Takes over an accepted socket and its client's address, as the socket module gives it."""

_BATCH = 64
"""Accepts per wake-up, so that a flood of clients does not starve open connections."""
_RETRY = 0.25
"""Seconds to leave clients in the backlog when no descriptor is free."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_UNIX = getattr(socket, "AF_UNIX", None)
_State = Literal["accept", "hold", "refuse", "silence", "full"]

logger = logging.getLogger(__name__)


class Listener:
    """The bound sockets of one proxy, and what a new client meets there."""

    def __init__(self, sockets: list[socket.socket], accepted: Accepted) -> None:
        self._loop = asyncio.get_running_loop()
        self._accepted = accepted
        self._sockets = sockets
        self._reply: _State = "accept"
        self._program: Program | None = None
        """The filter on the listening sockets."""
        self.inherited: Program | None = None
        """A filter that clients in the backlog may have: the kernel gives them the one of the listening socket."""
        self._fillers: list[socket.socket] = []
        """Connections of our own that keep a backlog full."""
        self._ours: set[object] = set()
        """Where those come from that still stand in a backlog: they are no clients."""
        self._starved = False
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}
        self.addresses: list[Address] = [bound_address(sock) for sock in sockets]
        for sock in sockets:
            self._watch(sock)

    @classmethod
    async def bind(cls, address: Address, accepted: Accepted) -> Listener:
        """Listen on `address`.

        :raises CannotListen: with the system's reason.
        """
        return cls(await bind_all(address), accepted)

    def meet(self, reply: Reply, program: Program | None = None) -> None:
        """New clients meet this from now on; with a program the kernel decides about their packets.

        `silence` without a program is kept by a backlog that is full. A unix socket has no
        packets: there silence is `hold`.

        :raises OSError: somebody else has taken a port that could not be held.
        """
        state: _State = reply
        if reply == "silence":
            state = "full" if program is None else "accept"
        if state == "refuse":
            self._refuse()
            return
        if self._reply == "refuse":
            self._listen_again(program)
        elif program != self._program:
            for sock in self._sockets:
                _filter(sock, program)
        self._program = program
        if program is not None:
            self.inherited = program
        if state != self._reply:
            self._change(state)

    def is_filler(self, client: tuple[str, int]) -> bool:
        """Whether that is the address of a connection of ours that keeps a backlog full."""
        return any(isinstance(one, tuple) and one[:2] == client for one in self._ours)

    def _refuse(self) -> None:
        """Close the listening sockets; the ports stay ours."""
        if self._reply == "refuse":
            return
        for sock in self._sockets:
            self._empty(sock)
        self._unwatch_all()
        self._withdraw()
        held = [hold_port(sock) for sock in self._sockets]
        self._sockets = [sock for sock in held if sock is not None]
        self._ours.clear()  # closed with their backlogs
        self._reply, self._program, self.inherited = "refuse", None, None

    def _listen_again(self, program: Program | None) -> None:
        held = {bound_address(sock): sock for sock in self._sockets}
        self._sockets = []
        for address in self.addresses:
            sock = held[address] if address in held else _bind_again(address)
            _filter(sock, program)  # before it listens: no client slips through
            sock.listen(BACKLOG)
            self._sockets.append(sock)

    def _change(self, state: _State) -> None:
        self._unwatch_all()
        if self._reply == "full":
            self._withdraw()
            for sock in self._sockets:
                sock.listen(BACKLOG)
        self._reply = state
        if state == "full":
            for sock in self._sockets:
                if sock.family != _UNIX:
                    self._fill(sock)
        elif state == "accept":
            for sock in self._sockets:
                self._watch(sock)

    def _fill(self, sock: socket.socket) -> None:
        """Let the backlog be full: then Linux drops SYNs (tcp_conn_request), as if nobody were there.

        A backlog of 0 has room for one, and that one is ours; if a client is quicker, it finds
        itself connected and waits.
        """
        self._drain(sock)
        sock.listen(0)
        filler = socket.socket(sock.family, socket.SOCK_STREAM)
        filler.setblocking(False)
        filler.connect_ex(_reachable(sock.getsockname()))
        self._fillers.append(filler)
        self._ours.add(filler.getsockname())

    def _withdraw(self) -> None:
        """Keep no backlog full any longer; what of ours stands in one is known when it is accepted."""
        for filler in self._fillers:
            try:
                filler.getpeername()
            except OSError:  # a client was quicker: it never got in
                self._ours.discard(filler.getsockname())
            filler.close()
        self._fillers.clear()

    def close(self) -> None:
        """Take no more clients and give the ports back."""
        self._unwatch_all()
        self._withdraw()
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        for address in self.addresses:
            if address.is_unix and os.path.exists(address.host):
                os.unlink(address.host)

    def _watch(self, sock: socket.socket) -> None:
        self._retries.pop(sock, None)
        if self._reply == "accept":
            self._loop.add_reader(sock, self._drain, sock)

    def _unwatch_all(self) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock)
        for handle in self._retries.values():
            handle.cancel()
        self._retries.clear()

    def _drain(self, sock: socket.socket) -> None:
        for _ in range(_BATCH if self._reply == "accept" else BACKLOG):
            try:
                client, address = sock.accept()
            except (BlockingIOError, InterruptedError):
                self._emptied(sock)
                break
            except ConnectionAbortedError:  # gone before we took it
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._back_off(sock, error)
                return
            self._hand_over(client, address)
        if self._starved:
            self._starved = False
            logger.warning("accepting again on %s", bound_address(sock))

    def _hand_over(self, client: socket.socket, address: object) -> None:
        if self._ours and address in self._ours:
            self._ours.discard(address)
            client.close()
            return
        client.setblocking(False)
        self._accepted(client, address)

    def _empty(self, sock: socket.socket) -> None:
        """Accept all clients in the backlog before the kernel resets them: it would not say who they are."""
        for _ in range(BACKLOG):
            try:
                client, address = sock.accept()
            except OSError:  # none is left, or no descriptor is free
                return
            self._hand_over(client, address)

    def _emptied(self, sock: socket.socket) -> None:
        """Nobody is left in its backlog; where it is the only one, the next client has the filter of now, or none."""
        if self._program is None and len(self._sockets) == 1:
            self.inherited = None

    def _back_off(self, sock: socket.socket, error: OSError) -> None:
        if not self._starved:
            self._starved = True
            logger.error(
                "cannot accept on %s: %s; clients wait in the backlog until descriptors are free",
                bound_address(sock),
                error.strerror,
            )
        self._loop.remove_reader(sock)
        self._retries[sock] = self._loop.call_later(_RETRY, self._watch, sock)


def _filter(sock: socket.socket, program: Program | None) -> None:
    """Attach a program to a listening socket, or take it off."""
    if program is None or sock.family == _UNIX:
        detach(sock)
    else:
        attach(sock, program)


def _reachable(name: tuple[object, ...]) -> tuple[object, ...]:
    """Where to connect to reach a listening socket of our own; one that is bound to every interface is on loopback."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return (loopback.get(str(name[0]), name[0]), *name[1:])


def _bind_again(address: Address) -> socket.socket:
    if address.is_unix:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(address.host):
            os.unlink(address.host)
        sock.bind(address.host)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
    sock.setblocking(False)
    return sock
