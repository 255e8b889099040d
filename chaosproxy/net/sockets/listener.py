"""Accept new clients of one proxy, or refuse, hold or ignore them as its faults require.

A `Listener` owns the listening sockets of one proxy. `net.proxy` creates it, gets each accepted socket
through the callback `accepted`, and calls `set_reply` when faults change. The Reply to a new client is
one of these, and can change from any to any other:

    accept    the client is taken from the backlog and served
    hold      the kernel completes the handshake, and the client stays in the backlog
    refuse    the port is bound without listening: the kernel refuses with RST (ECONNREFUSED)
    silence   the SYN gets no response: a filter drops it, or the kernel does because the backlog is full

Internally, silence is `full` (keep the backlog full) without a filter, and `accept` with one, since the
filter decides which packets arrive. `net.sockets.fillers` keeps a backlog full; a filler that is accepted is closed.

`full` and `refuse` begin with the clients that wait: they are accepted, so that the proxy sees their
addresses. Thousands are accepted in slices. Meanwhile the backlog has no room, so the SYN of a new client
is dropped and sent again later, and the reply that will be `refuse` is `emptying`.

`net.sockets.ports` has the sockets, and keeps their addresses bound while the proxy refuses clients or is
disabled (`hold`).

Invariants:
- Open connections are not affected by any change.
- Its first reply is `hold`: no client is accepted before the proxy has set the reply that its faults require.
- The end of `refuse` does not fail. An address on which it cannot listen again is in `missing`, and is
  tried until it can.
- A change of the reply ends the one before, wherever it is; clients that still wait get the new reply.
- At most _BATCH clients are accepted per wake-up. If descriptors run out, accepting pauses for
  _RETRY seconds, and clients wait in the backlog.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from chaosproxy.errors import CannotListen
from chaosproxy.faults.base import Reply
from chaosproxy.model.address import Address
from chaosproxy.net.kernel.bpf import Program
from chaosproxy.net.kernel.buffers import prepare_socket
from chaosproxy.net.kernel.descriptors import Descriptors
from chaosproxy.net.kernel.sockopts import attach, detach
from chaosproxy.net.sockets.accepting import accept
from chaosproxy.net.sockets.binding import BACKLOG, bind_all, bound_address, client_of, is_dual_stack
from chaosproxy.net.sockets.fillers import Fillers
from chaosproxy.net.sockets.ports import Changed, Ports
from chaosproxy.net.timer.scheduler import Scheduler
from chaosproxy.net.timer.slices import Slices

__all__ = ["Listener"]

Accepted = Callable[[socket.socket, object], None]
"""A callback that takes over an accepted socket; the second argument is the client's address (`client_of`)."""

_BATCH = 16
"""Accepts per wake-up (about 2 ms with the work that follows), so that a flood of clients starves no connection."""
_RETRY = 0.25
"""Seconds after which it accepts again when no descriptor was free."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_UNIX = getattr(socket, "AF_UNIX", None)
_State = Literal["accept", "hold", "emptying", "refuse", "silence", "full"]

logger = logging.getLogger(__name__)


class Listener:
    """The bound sockets of one proxy, and their reply to new clients."""

    def __init__(self, ports: Ports, accepted: Accepted, scheduler: Scheduler, ipv6only: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._accepted = accepted
        self._ports = ports
        ports.prepare = self._prepare
        ports.resumed = self._begin
        self._sockets = ports.listening
        self._reply: _State = "hold" if ports.listening else "refuse"
        self._program: Program | None = None
        """The filter on the listening sockets."""
        self.inherited: Program | None = None
        """The filter that accepted clients may have: the kernel copies it from the listening socket on connect."""
        self._queue: int | None = None
        """The queue to which the buffers of new clients are sized; None if they are not."""
        self._fillers = Fillers(ports.descriptors)
        self._full_backlogs: list[socket.socket] = []
        """The sockets whose backlogs are being emptied."""
        self._may_wait = 0
        """The most clients that can still be in these backlogs."""
        self._emptying = _Emptying(scheduler, self._empty_next)
        self._out_of_descriptors = False
        self._is_released = False
        self._retries: dict[socket.socket, asyncio.TimerHandle] = {}
        self.addresses: Sequence[Address] = ports.addresses
        """Every address, with its real port; a port that the kernel has chosen stays."""
        also = [replace(one, host="0.0.0.0") for one in self.addresses if is_dual_stack(one.host, ipv6only)]
        self.reached_at: Sequence[Address] = [*self.addresses, *also]
        """The addresses whose packets arrive at its sockets: `[::]` receives those of IPv4 too."""

    @classmethod
    async def bind(
        cls,
        address: Address,
        accepted: Accepted,
        scheduler: Scheduler,
        descriptors: Descriptors,
        *,
        changed: Changed | None = None,
        ipv6only: bool = False,
        listening: bool = True,
    ) -> Listener:
        """Listen on `address`; clients wait in the backlog until `set_reply`. Without `listening`, refuse them.

        `changed` is called when an address cannot be listened on again, and when it can.

        :raises CannotListen: with the system's reason.
        """
        sockets = await bind_all(address, ipv6only=ipv6only, listening=listening)
        ports = Ports(sockets, listening, ipv6only, scheduler, descriptors)
        if changed is not None:
            ports.changed = changed
        return cls(ports, accepted, scheduler, ipv6only)

    def set_reply(self, reply: Reply, program: Program | None = None) -> None:
        """Change the reply to new clients, and the filter for the packets of new clients.

        `silence` without a program keeps the backlog full. A unix socket has no packets: there,
        silence is `hold`. If an address cannot be bound again after `refuse`, it is `missing` until it can.
        """
        if self._is_released:
            return
        state: _State = reply
        if reply == "silence":
            state = "full" if program is None else "accept"
        if state == "refuse":
            if self._reply != "emptying":
                self._refuse()
            return
        if program != self._program:
            for sock in self._sockets:
                _filter(sock, program)
        self._program = program
        if program is not None:
            self.inherited = program
        if self._reply == "refuse":
            self._ports.listen()
        if state != self._reply:
            self._change(state)

    def size_clients(self, queue: int | None) -> None:
        """Size the buffers of new clients to the queue of the faults that act on them; None: as the system does."""
        if queue != self._queue:
            self._queue = queue
            for sock in self._sockets:
                prepare_socket(sock, queue)

    def _prepare(self, sock: socket.socket) -> None:
        """Prepare a socket that listens next, so that no client arrives without its filter and sizes."""
        if self._queue is not None:
            prepare_socket(sock, self._queue)
        _filter(sock, self._program)

    @property
    def missing(self) -> Mapping[Address, CannotListen]:
        """The addresses on which it must listen again and cannot yet, with the reasons."""
        return self._ports.lost

    @property
    def listening_on(self) -> list[Address]:
        """The addresses that it is bound to; one on which it refuses clients counts as bound."""
        return [one for one in self.addresses if one not in self.missing]

    def is_filler(self, client: tuple[str, int]) -> bool:
        """Return whether this is the address of a filler."""
        return self._fillers.include(client)

    @property
    def is_settled(self) -> bool:
        """True if the latest reply is that to every new client."""
        return not self._emptying.is_busy

    async def settled(self) -> None:
        """Return when the latest reply is that to every new client."""
        await self._emptying.settled()

    def _refuse(self) -> None:
        """Refuse clients with RST, and keep the ports bound, once those in the backlogs are accepted."""
        if not self._sockets:
            self.hold()
            return
        self._stop_accepting()
        self._reply = "emptying"
        for sock in self._sockets:
            self._empty(sock)
        self._emptying.begin()

    def hold(self) -> None:
        """Stop listening, and keep the ports bound, until the next `set_reply`."""
        if self._is_released:
            return
        self._stop_accepting()
        self._fillers.close()
        self._ports.stop()
        self._fillers.forget()  # their connections were closed with the backlogs
        self._reply, self._program, self.inherited = "refuse", None, None

    def secure(self) -> None:
        """Listen again after `hold`; clients wait in the backlog until `set_reply`.

        :raises CannotListen: the system refuses an address; the ports are kept as before.
        """
        self._ports.secure()
        self._reply = "hold"

    def release(self) -> None:
        """Stop listening, and release the ports until `restore`. Meanwhile the reply cannot be changed."""
        self.hold()
        self._ports.close()
        self._is_released = True

    def restore(self) -> None:
        """Let the next `set_reply` bind the ports again."""
        self._is_released = False

    def retry(self) -> None:
        """Try now to listen on the missing addresses."""
        self._ports.retry()

    def _change(self, state: _State) -> None:
        self._stop_accepting()
        if self._reply in ("full", "emptying"):
            self._fillers.close()
            for sock in self._sockets:
                sock.listen(BACKLOG)
        self._reply = state
        for sock in self._sockets:
            self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        """Reply on one listening socket as `_reply` says."""
        if self._reply == "full" and sock.family != _UNIX:
            self._empty(sock)
            self._emptying.begin()
        elif self._reply == "accept":
            self._start_accepting(sock)

    def _empty(self, sock: socket.socket) -> None:
        """Leave no room in the backlog, and let `_empty_next` accept the clients in it."""
        sock.listen(0)
        self._full_backlogs.append(sock)
        self._may_wait += BACKLOG

    def _empty_next(self) -> bool:
        """Accept one client of the backlogs that are being emptied; return whether there is more to do."""
        if not self._full_backlogs:
            return False
        sock = self._full_backlogs[0]
        if self._may_wait and self._accept_waiting(sock):
            self._may_wait -= 1
            return True
        self._full_backlogs.remove(sock)
        if self._reply == "full":
            self._fillers.fill(sock)
        elif not self._full_backlogs:
            self.hold()
        return bool(self._full_backlogs)

    def _accept_waiting(self, sock: socket.socket) -> bool:
        """Accept a client that waits; return False if there is none, or no descriptor is free for it."""
        try:
            client, address = sock.accept()
        except ConnectionAbortedError:  # the client left before it was accepted
            return True
        except BlockingIOError:
            self._on_empty_backlog()
            return False
        except OSError:
            return False
        self._pass_on(client, address)
        return True

    def close(self) -> None:
        """Stop listening, and release the ports."""
        self._stop_accepting()
        self._fillers.close()
        self._ports.close()

    def _start_accepting(self, sock: socket.socket) -> None:
        self._retries.pop(sock, None)
        if self._reply == "accept":
            self._loop.add_reader(sock, self._accept_batch, sock)

    def _stop_accepting(self) -> None:
        self._full_backlogs.clear()
        self._may_wait = 0
        for sock in self._sockets:
            self._loop.remove_reader(sock)
        for handle in self._retries.values():
            handle.cancel()
        self._retries.clear()

    def _accept_batch(self, sock: socket.socket) -> None:
        """Accept the clients in the backlog, at most _BATCH."""
        family = sock.family
        for _ in range(_BATCH):
            try:
                client, address = accept(sock, family)
            except (BlockingIOError, InterruptedError):
                self._on_empty_backlog()
                break
            except ConnectionAbortedError:  # the client left before it was accepted
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._back_off(sock, error)
                return
            self._pass_on(client, address)
        if self._out_of_descriptors:
            self._out_of_descriptors = False
            logger.warning("accepting again on %s", bound_address(sock))

    def _pass_on(self, client: socket.socket, address: object) -> None:
        """Pass an accepted client to the proxy, or close a filler."""
        if self._fillers.recognise(address):
            client.close()
            return
        client.setblocking(False)
        self._accepted(client, client_of(address))

    def _on_empty_backlog(self) -> None:
        """Forget the inherited filter if no client in any backlog can have it."""
        if self._program is None and len(self._sockets) == 1:
            self.inherited = None

    def _back_off(self, sock: socket.socket, error: OSError) -> None:
        if not self._out_of_descriptors:
            self._out_of_descriptors = True
            logger.error(
                "cannot accept on %s: %s; clients wait in the backlog until descriptors are free",
                bound_address(sock),
                error.strerror,
            )
        self._loop.remove_reader(sock)
        self._retries[sock] = self._loop.call_later(_RETRY, self._start_accepting, sock)


class _Emptying(Slices):
    """Empties the backlogs of a listener in slices."""

    def __init__(self, scheduler: Scheduler, empty_next: Callable[[], bool]) -> None:
        super().__init__(scheduler)
        self._empty_next = empty_next

    def _step(self) -> bool:
        return self._empty_next()


def _filter(sock: socket.socket, program: Program | None) -> None:
    """Attach a program to a listening socket; None detaches it."""
    if program is None or sock.family == _UNIX:
        detach(sock)
    else:
        attach(sock, program)
