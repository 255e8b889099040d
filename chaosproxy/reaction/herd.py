"""Herds: attempts of several connections that come together again and again.

Definition: moments of `_TOGETHER_S` with attempts of three connections or more, at least three times. They have most
of the attempts, and five times their own length lies between them. Steady traffic of many clients is thus no herd.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaosproxy.reaction.chains import Chain

__all__ = ["Herd", "herd_of"]

_TOGETHER_S = 0.05
"""Seconds within which attempts come together."""
_HERD = 3
"""Connections of a herd, and the number of times that it must come."""


@dataclass(frozen=True, slots=True)
class Herd:
    """Attempts of several connections that come together again and again."""

    times: int
    most: int
    """The most connections at a time."""


def herd_of(chains: Sequence[Chain]) -> Herd | None:
    """Return the herd of attempts: most attempts are in short moments of several connections, far apart."""
    moments = list(_moments(chains))
    herds = [connections for _, connections in moments if connections >= _HERD]
    starts = [at for at, connections in moments if connections >= _HERD]
    if len(herds) < _HERD or 2 * sum(herds) < sum(connections for _, connections in moments):
        return None
    apart = (starts[-1] - starts[0]) / (len(starts) - 1)
    return Herd(len(herds), max(herds)) if apart >= 5 * _TOGETHER_S else None


def _moments(chains: Sequence[Chain]) -> Iterator[tuple[float, int]]:
    """Yield the begin of each moment of attempts, and the number of their connections."""
    attempts = sorted(
        (one.repeated.at, one.turn[:2]) for chain in chains for one in chain.turns if one.repeated is not None
    )
    begin, connections = 0.0, set[tuple[str, int]]()
    for at, connection in attempts:
        if connections and at > begin + _TOGETHER_S:
            yield begin, len(connections)
            connections = set()
        if not connections:
            begin = at
        connections.add(connection)
    if connections:
        yield begin, len(connections)
