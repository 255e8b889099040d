"""A lease as those see it who make something under it."""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.errors import NotFound

__all__ = ["Lease", "no_lease"]


@dataclass(slots=True, eq=False)
class Lease:
    """A lease, under which faults and partitions are made that are removed when it ends."""

    id: str
    ttl: float
    """Seconds after the latest renewal at which it expires."""
    by: str
    """Its maker."""
    renewed_at: float
    """The time of the latest renewal, on the data plane's clock."""
    has_ended: bool = False
    """True once it has expired or was released: nothing can be made under it any more."""

    def check(self) -> None:
        """
        :raises NotFound: it has ended.
        """
        if self.has_ended:
            raise no_lease(self.id)


def no_lease(id: str) -> NotFound:
    """Return the error for the id of a lease that does not exist.

    It has no hint: the id is random, so that a program does not use the lease of another by mistake.
    """
    return NotFound(f"no lease is called {id[:100]!r}; it may have expired: make a new one, and renew it in time")
