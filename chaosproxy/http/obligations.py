"""What faults have begun on one connection, and owe it whether or not they are still there.

Exchanges are told by their numbers, which rise: from one of them on nothing is answered, or
nothing reaches the server; at one of them the connection ends.
"""

from __future__ import annotations

from chaosproxy.faults.base import NEVER

__all__ = ["NO_EXCHANGE", "Obligations"]

NO_EXCHANGE = 2**62
"""A number that none reaches."""


class Obligations:
    """An answer that never comes, requests that are lost, an end: each with the fault by which that is so."""

    __slots__ = ("broken_at", "broken_by", "ended_by", "ends_at", "lost_from", "silenced_by", "silent_from")

    def __init__(self) -> None:
        self.silent_from = NO_EXCHANGE
        """Nothing is answered from this exchange on."""
        self.silenced_by = ""
        self.lost_from = NO_EXCHANGE
        """Requests are lost from this exchange on."""
        self.broken_at = NO_EXCHANGE
        """The connection is closed when it is this exchange's turn to be answered: its request cannot be framed."""
        self.broken_by = ""
        self.ends_at = NEVER
        """When the connection is to be closed."""
        self.ended_by = ""

    @property
    def is_silent(self) -> bool:
        """Something was lost: nothing more is answered."""
        return self.silent_from < NO_EXCHANGE

    @property
    def is_broken(self) -> bool:
        """The client has sent what cannot be framed; it ends with the answers to what came before."""
        return self.broken_at < NO_EXCHANGE

    @property
    def loses_requests(self) -> bool:
        """No request that comes now reaches the server."""
        return self.is_broken or self.lost_from < NO_EXCHANGE

    @property
    def is_something(self) -> bool:
        """There is something left to do."""
        return self.is_silent or self.ends_at < NEVER or self.loses_requests
