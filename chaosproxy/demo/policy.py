"""How the client of the demo handles failures: timeout, exponential back-off, failover. Pure.

The policy never waits and has no sockets. It receives the outcome of each attempt, and decides which
server gets the next request, and when. While the replica serves requests, probes test the primary on
another connection, so returning to it loses no request.
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
    """The longest time of an attempt, including connecting."""
    first_backoff: float = 0.05
    """The pause after the first failure."""
    factor: float = 2.0
    """Each further failure multiplies the pause by this factor."""
    longest_backoff: float = 0.8
    failures_to_fail_over: int = 6
    """The number of consecutive failures after which requests go to the replica."""
    probe_every: float = 0.3
    """Seconds between probes of the primary while requests go to the replica."""


class RetryState:
    """The state of one client: the server it uses, and its number of consecutive failures."""

    def __init__(self, policy: Policy) -> None:
        self.role: Role = "primary"
        self._policy = policy
        self._failures = 0

    def responded(self) -> None:
        """Record a response: reset the number of failures."""
        self._failures = 0

    def failed(self) -> float:
        """Record a failure, and fail over after too many; return the seconds to wait before the next attempt."""
        policy = self._policy
        self._failures += 1
        if self.role == "primary" and self._failures >= policy.failures_to_fail_over:
            self.role, self._failures = "replica", 0
            return 0.0
        return min(policy.first_backoff * policy.factor ** (self._failures - 1), policy.longest_backoff)

    def primary_is_back(self) -> None:
        """Record a response to a probe: return to the primary."""
        self.role, self._failures = "primary", 0
