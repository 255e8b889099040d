"""Retries of failed work in a window: how many, after which gaps, with which effects.

Definition: a retry is a turn that begins with the bytes of a failed one (`TurnRepeated`). A repeated handshake is a
reconnect: see `chains`. The law of the gaps is that of `backoff`.

Assumptions, each against a false claim:
- A client may begin new work with the same bytes as the old. `pieces` splits such chains. If it cannot, the
  number of attempts and the amplification are not claimed.
- A client that sends the same bytes all the time also does after a failure. Gaps, or times from one start to the next,
  as in the baseline are its own rhythm. Without a bound on the attempts, and without a baseline, equal gaps are none.
- Attempts are at their most if two pieces of work or more ended after as many, none had more, and nothing followed for
  3 × the longest gap while the host was alive.
- Over TCP, turns that are not repeated may have been repeated with other bytes, so nothing follows from their absence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chaosproxy.reaction.backoff import Backoff, backoff_of
from chaosproxy.reaction.chains import Chain, chains_of, given_up_after
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.herd import Herd, herd_of
from chaosproxy.reaction.pieces import AT_ONCE_S, pieces_of
from chaosproxy.reaction.refused import refused_backoff
from chaosproxy.reaction.rhythm import is_rhythm
from chaosproxy.reaction.turns import span_of, turns_in
from chaosproxy.reaction.window import Window, unfaulted_before

__all__ = ["Retries", "retries_of"]

_FEWEST = 3
"""Chains that ended after the same number of attempts, and show that they are whole."""
_SKIPPED = 8
"""Gaps that may precede the first whole piece of work."""
_CLEAR = 20
"""Complete pieces of work for each chain that is not clear."""
_SHORTEST_S = 0.5
"""Seconds of silence, at least, after which a client has given up its work."""


@dataclass(frozen=True, slots=True)
class Retries:
    """The repetitions of work that failed on one proxy in one window."""

    retries: int
    reconnects: int
    amplification: float | None
    """Attempts per piece of work, divided by the same in the baseline; None if it is not known."""
    backoff: Backoff | None
    """The law of the gaps between retries; None if none is claimed."""
    reconnect_backoff: Backoff | None
    """The law of the gaps between reconnects, or between attempts to connect that were refused."""
    attempts_max: int | None
    """The most attempts for a piece of work, with the first; None if it is not known."""
    surrendered: int
    """Pieces of work that ended after as many."""
    double_effects: int
    """Retries of turns that the server had answered."""
    herd: Herd | None


def retries_of(proxy: ProxyFacts, window: Window, facts: Facts, closed_late_s: float | None = None) -> Retries:
    """Return what clients repeated after failures on a proxy in a window; `closed_late_s` as in `GaveUp`."""
    chains = chains_of(proxy, window, facts)
    if closed_late_s is not None:
        chains = given_up_after(chains, closed_late_s)
    work = [chain for chain in chains if not chain.is_reconnect]
    again = [chain for chain in chains if chain.is_reconnect]
    found = _Found.of(work, proxy, window, facts)
    backoff = found.backoff
    if closed_late_s is not None and backoff is not None:  # time-outs that grow look the same
        backoff = replace(backoff, confidence="likely")
    return Retries(
        retries=sum(len(chain.turns) - 1 for chain in work),
        reconnects=sum(len(chain.turns) - 1 for chain in again),
        amplification=_amplification(found, proxy, window, facts),
        backoff=backoff,
        reconnect_backoff=_Found.of(again, proxy, window, facts).backoff or refused_backoff(proxy, window, facts),
        attempts_max=found.attempts,
        surrendered=found.surrendered,
        double_effects=0 if found.is_rhythm else _double_effects(work, facts),
        herd=herd_of(chains),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """The findings from the chains of one sort."""

    backoff: Backoff | None
    attempts: int | None
    surrendered: int
    retried: float | None
    """The share of the repetitions that are not new work; None if it is not known."""
    is_rhythm: bool = False
    """True if the client may send the same bytes all the time, as a poll does: then nothing may be a retry."""

    @classmethod
    def of(cls, chains: Sequence[Chain], proxy: ProxyFacts, window: Window, facts: Facts) -> _Found:
        sequences: list[list[float]] = []
        complete: Counter[int] = Counter()
        most, extra, gaps_seen = 1, 0, 0
        last_seen = facts.last_seen()
        unclear: list[int] = []
        for chain in chains:
            gaps = chain.gaps
            if not gaps and chain.is_clear:
                continue
            pieces = _pieces(chain) if chain.is_clear else None
            if pieces is None:
                unclear.append(len(chain.turns))
                sequences.append(_begin(gaps))
                continue
            sequences += pieces
            ends = [len(piece) + 1 for piece in pieces[:-1]]
            if _is_over(chain, last_seen):
                ends.append(len(pieces[-1]) + 1)
            complete.update(ends)
            most = max(most, *(len(piece) + 1 for piece in pieces))
            extra += sum(map(len, pieces))
            gaps_seen += len(gaps)
        # A few chains that may be mixed up do no harm, if none of them has more attempts than the others.
        is_known = len(unclear) * _CLEAR <= sum(complete.values()) and max(unclear, default=0) <= most
        attempts = most if is_known and most > 1 and complete[most] > 1 else None
        backoff = backoff_of(sequences, not unclear)
        if backoff is None and unclear:
            backoff = _whole_with_jitter(chains, last_seen)
        if backoff is not None and attempts is None and is_rhythm(backoff, chains, proxy, window, facts):
            return cls(None, None, 0, None, is_rhythm=True)
        retried = extra / gaps_seen if gaps_seen else 0.0
        return cls(backoff, attempts, complete[most] if attempts else 0, retried if is_known else None)


def _pieces(chain: Chain) -> list[list[float]] | None:
    """Return the gaps of each piece of work. Reconnects may begin within one, whose first attempt was no handshake."""
    gaps = chain.gaps
    for skipped in range(_SKIPPED + 1 if chain.is_reconnect else 1):
        pieces = pieces_of(gaps[skipped:])
        if pieces is not None and (skipped == 0 or len(pieces) > 1):
            return pieces
    return None


def _begin(gaps: Sequence[float]) -> list[float]:
    """Return the gaps before the first one that is shorter than the one before, which may be a pause between work."""
    for index in range(1, len(gaps)):
        if gaps[index] < 0.85 * gaps[index - 1] - AT_ONCE_S:
            return list(gaps[: index - 1])
    return list(gaps)


def _whole_with_jitter(chains: Sequence[Chain], last_seen: Mapping[str, float]) -> Backoff | None:
    """Return the law of chains whose gaps differ by jitter alone: the longest end after equal numbers of attempts."""
    clear = [chain for chain in chains if chain.is_clear and len(chain.turns) > 1]
    ends = Counter(len(chain.turns) for chain in clear if _is_over(chain, last_seen))
    longest = max((len(chain.turns) for chain in clear), default=0)
    if len(clear) < len([chain for chain in chains if len(chain.turns) > 1]) or ends[longest] < _FEWEST:
        return None
    return backoff_of([chain.gaps for chain in clear], are_whole=True)


def _is_over(chain: Chain, last_seen: Mapping[str, float]) -> bool:
    """Return whether nothing followed the last failure of a chain for long, while its host was alive."""
    last = chain.turns[-1].failure
    if last is None:
        return False
    return last.at + max(3 * max(chain.gaps, default=0.0), _SHORTEST_S) < last_seen.get(chain.host, 0.0)


def _amplification(found: _Found, proxy: ProxyFacts, window: Window, facts: Facts) -> float | None:
    if found.retried is None or (found.retried == 0 and proxy.protocol != "http"):
        return None
    extra = found.retried * sum(window.has(one.at) for one in proxy.repeated)
    turns = turns_in(proxy, (span_of(window, facts),))
    attempts = turns.answered + turns.failed + turns.open
    if attempts <= extra:
        return None
    spans = unfaulted_before(window, proxy.name, facts)
    before = turns_in(proxy, spans)
    repeated = sum(any(begin <= one.at < end for begin, end in spans) for one in proxy.repeated)
    usual = (before.answered + before.failed) / max(1, before.answered + before.failed - repeated) or 1.0
    return attempts / (attempts - extra) / usual


def _double_effects(chains: Sequence[Chain], facts: Facts) -> int:
    late = {(one.proxy, one.connection, one.turn) for proxy in facts.proxies.values() for one in proxy.late}
    return sum(
        (before.failure is not None and before.failure.answer_arrived) or before.turn in late
        for chain in chains
        for before in chain.turns[:-1]
    )
