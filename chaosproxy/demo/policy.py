"""How the demo's client bears failures: time-out, exponential back-off, failover. Pure.

The policy waits for nothing and knows no sockets: it is told how each attempt ended, and
says whom to ask next, and after how long. While the replica answers, the primary is probed
beside it, so that coming back costs no reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Policy", "RetryState", "Role"]

Role = Literal["primary", "replica"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The client's settings; times in seconds."""

    timeout: float = 0.5
    """How long an attempt may take, connecting included."""
    first_backoff: float = 0.05
    """The pause after the first of a row of failures."""
    factor: float = 2.0
    """By how much each further failure lengthens the pause."""
    longest_backoff: float = 0.8
    failures_to_fail_over: int = 3
    """After so many failures in a row the replica is asked instead."""
    probe_every: float = 0.3
    """How often the primary is tried again while the replica answers."""


class RetryState:
    """Where one client stands: whom it asks, and how many failures in a row it has seen."""

    def __init__(self, policy: Policy) -> None:
        self.role: Role = "primary"
        self._policy = policy
        self._failures = 0

    def replied(self) -> None:
        """The row of failures ends."""
        self._failures = 0

    def failed(self) -> float:
        """One more failure in the row: fails over if it was one too many; answers how long to wait, in seconds."""
        policy = self._policy
        self._failures += 1
        if self.role == "primary" and self._failures >= policy.failures_to_fail_over:
            self.role, self._failures = "replica", 0
            return 0.0
        return min(policy.first_backoff * policy.factor ** (self._failures - 1), policy.longest_backoff)

    def primary_is_back(self) -> None:
        """A probe was answered: the primary is asked again."""
        self.role, self._failures = "primary", 0
