"""Copies of requests, each sent on a separate connection; their responses are read and discarded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from chaosproxy.http.context import HttpContext
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses
from chaosproxy.net.kernel.descriptors import Descriptors
from chaosproxy.net.sockets.dial import DialError
from chaosproxy.tallies import ProxyTally
from chaosproxy.tasks import TaskOwner

__all__ = ["Copies"]

_TIMEOUT = 30.0
"""The time limit for the response to a copy, in seconds."""
_MOST = 1000
"""The maximum number of copies under way; further ones are not sent."""

logger = logging.getLogger(__name__)


class Copies:
    """The copies of one proxy that are under way."""

    def __init__(
        self,
        name: str,
        tasks: TaskOwner,
        dial: Callable[[Callable[[], asyncio.Protocol], object], Awaitable[None]],
        descriptors: Descriptors,
    ) -> None:
        """Take `dial`, which connects to the proxy's upstream for a connection, or raises DialError."""
        self._name = name
        self._tasks = tasks
        self._connect = dial
        self._descriptors = descriptors
        self._open: set[_Copy] = set()
        """Strong references, kept until each connection is gone: see net.stream.connection."""
        self._count = 0
        self._is_full = False

    def send(self, request: bytes, sender: object) -> None:
        """Send a request of the connection `sender` to the upstream on a separate connection.

        It is not sent if too many copies are under way, or if descriptors are scarce: connections come first.
        """
        if len(self._open) >= _MOST or self._descriptors.free <= self._descriptors.scarce:
            if not self._is_full:
                why = f"{_MOST} are under way" if len(self._open) >= _MOST else "descriptors are scarce"
                logger.warning("%s: further copies of requests are not sent for now: %s", self._name, why)
            self._is_full = True
            return
        self._is_full = False
        self._count += 1
        copy = _Copy(request, self._forget)
        self._open.add(copy)
        self._descriptors.free -= 1
        self._tasks.start(self._dial(copy, sender), f"copy-{self._count}")

    async def _dial(self, copy: _Copy, sender: object) -> None:
        try:
            await self._connect(lambda: copy, sender)
        except DialError as error:
            copy.drop()
            logger.warning("a copy of a request did not reach %s: %s", error.upstream, error.reason)
        except BaseException:
            copy.drop()
            raise

    def _forget(self, copy: _Copy) -> None:
        if copy in self._open:
            self._open.remove(copy)
            self._descriptors.free += 1

    def close(self) -> None:
        """Abort the copies under way."""
        for copy in list(self._open):
            copy.give_up()


class _Copy(asyncio.Protocol):
    """The protocol of one copy: it writes the request, and reads until the response is complete."""

    def __init__(self, request: bytes, gone: Callable[[_Copy], None]) -> None:
        self._request = request
        self._gone = gone
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._conversation = Conversation(HttpContext(ProxyTally(), lambda reason: None))
        self._responses = Responses(self._conversation)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's transports have the methods, not the class
        self._transport = made
        self._timer = asyncio.get_running_loop().call_later(_TIMEOUT, self.give_up)
        Requests(self._conversation).account(self._request, 0.0)
        made.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._responses.account(data, 0.0)
        if not self._conversation.outstanding and self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._forget()

    def drop(self) -> None:
        """Forget the copy, whose dial has failed, and end the socket of a dial that failed as it succeeded."""
        self.give_up()
        self._transport = None  # uvloop may have closed it without calling `connection_lost`
        self._forget()

    def give_up(self) -> None:
        """Abort the connection, without waiting for the response."""
        if self._transport is not None:
            self._transport.abort()

    def _forget(self) -> None:
        self._gone(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
