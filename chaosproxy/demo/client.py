"""The demo's client: asks without end, gives up, backs off, fails over, and keeps count."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from time import monotonic

from chaosproxy.demo.acts import Attempt, Outcome
from chaosproxy.demo.policy import Policy, RetryState, Role

__all__ = ["Client"]

_THINK_S = 0.01
"""The pause between a reply and the next question: 100 a second at most."""
_KEPT = 20_000
"""Attempts remembered, so that a demo left running does not grow."""


class Client:
    """One question at a time on one connection, as many small services ask; probes go beside it."""

    def __init__(self, ports: Mapping[Role, int], policy: Policy) -> None:
        self.attempts: deque[Attempt] = deque(maxlen=_KEPT)
        self._ports = ports
        self._policy = policy
        self._state = RetryState(policy)
        self._open: dict[Role, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._news = asyncio.Condition()

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask_on_and_on(), name="demo.client.ask")
                tasks.create_task(self._probe_now_and_then(), name="demo.client.probe")
        finally:
            for role in list(self._open):
                self._hang_up(role)

    async def next_attempt(self) -> None:
        """Wait until one more attempt has ended."""
        async with self._news:
            await self._news.wait()

    def since(self, time: float) -> list[Attempt]:
        """The attempts that ended after `time`, in order."""
        return [one for one in self.attempts if one.ended > time]

    async def _ask_on_and_on(self) -> None:
        while True:
            role = self._state.role
            attempt = await self._attempt(role, probe=False)
            if attempt.outcome == "replied":
                self._state.replied()
                pause = _THINK_S
            else:
                self._hang_up(role)
                pause = self._state.failed()
            await self._note(attempt)
            await asyncio.sleep(pause)

    async def _probe_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._policy.probe_every)
            if self._state.role == "primary":
                continue
            attempt = await self._attempt("primary", probe=True)
            if attempt.outcome == "replied":
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
        if writer.transport.is_closing():  # it ended between two questions, and uvloop forbids to write to it now
            if (broken := reader.exception()) is not None:
                raise broken
            return "closed"
        writer.write(b"GET greeting\n")
        return "replied" if (await reader.readline()).startswith(b"VALUE ") else "closed"

    def _hang_up(self, role: Role) -> None:
        if role in self._open:
            _, writer = self._open.pop(role)
            writer.transport.abort()
