"""The client of the demo: sends requests, gives up, backs off, fails over, and records every attempt."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from time import monotonic

from chaosproxy.demo.acts import Attempt, Outcome
from chaosproxy.demo.policy import Policy, RetryState, Role

__all__ = ["Client"]

_THINK_S = 0.01
"""Seconds between a response and the next request: at most 100 requests per second."""
_KEPT = 20_000
"""The number of attempts kept, which limits the memory of a long-running demo."""


class Client:
    """Sends one request at a time on one connection, like many small services. Probes use another connection."""

    def __init__(self, ports: Mapping[Role, int], policy: Policy) -> None:
        self.attempts: deque[Attempt] = deque(maxlen=_KEPT)
        self._ports = ports
        self._policy = policy
        self._state = RetryState(policy)
        self._open: dict[Role, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._news = asyncio.Condition()

    async def run(self) -> None:
        """Send requests until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_requests(), name="demo.client.ask")
                tasks.create_task(self._send_probes(), name="demo.client.probe")
        finally:
            for role in list(self._open):
                self._hang_up(role)

    async def next_attempt(self) -> None:
        """Wait until one more attempt has ended."""
        async with self._news:
            await self._news.wait()

    def since(self, time: float) -> list[Attempt]:
        """Return the attempts that ended after `time`, in order."""
        return [one for one in self.attempts if one.ended > time]

    async def _send_requests(self) -> None:
        while True:
            role = self._state.role
            attempt = await self._attempt(role, probe=False)
            if attempt.outcome == "responded":
                self._state.responded()
                pause = _THINK_S
            else:
                self._hang_up(role)
                pause = self._state.failed()
            await self._note(attempt)
            await asyncio.sleep(pause)

    async def _send_probes(self) -> None:
        while True:
            await asyncio.sleep(self._policy.probe_every)
            if self._state.role == "primary":
                continue
            attempt = await self._attempt("primary", probe=True)
            if attempt.outcome == "responded":
                self._state.primary_is_back()
            else:
                self._hang_up("primary")
            await self._note(attempt)

    async def _note(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        async with self._news:
            self._news.notify_all()

    async def _attempt(self, role: Role, probe: bool) -> Attempt:
        started = monotonic()  # uvloop's own clock advances in whole milliseconds
        outcome: Outcome
        try:
            async with asyncio.timeout(self._policy.timeout):
                outcome = await self._ask(role)
        except TimeoutError:
            outcome = "gave up"
        except ConnectionRefusedError:
            outcome = "refused"
        except ConnectionError:
            outcome = "reset"
        return Attempt(role, started, monotonic() - started, outcome, probe)

    async def _ask(self, role: Role) -> Outcome:
        if role not in self._open:
            self._open[role] = await asyncio.open_connection("127.0.0.1", self._ports[role])
        reader, writer = self._open[role]
        if writer.transport.is_closing():  # it ended between two requests, and uvloop does not allow writing to it
            if (broken := reader.exception()) is not None:
                raise broken
            return "closed"
        writer.write(b"GET greeting\n")
        return "responded" if (await reader.readline()).startswith(b"VALUE ") else "closed"

    def _hang_up(self, role: Role) -> None:
        if role in self._open:
            _, writer = self._open.pop(role)
            writer.transport.abort()
