"""Decide whether a soak has passed. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

__all__ = ["SLOW", "Findings", "Sample", "Wait", "judge", "waits_of"]

SLOW = 0.1
"""The longest wait on another proxy and of /healthz, in seconds."""
BEHIND_A_FLOOD = 1.0
"""The longest wait of /healthz itself: it stands in the same queue as the clients that flood the control port."""
RARE = 0.01
"""The share of its waits that may be longer than SLOW; one may be in any case."""
SLOW_MEDIAN = 0.05
"""The longest median of ten waits on another proxy; that of /healthz, behind a flood, is SLOW."""
NOISE = 0.02
"""A round trip to the backend without the proxy that takes longer shows that the machine was busy."""
FEWEST_LOOKS = 10
LEAST_SHARE = 0.2
"""The least share of looks on a quiet machine; with fewer, nothing is known."""
HEARTBEAT = 0.05
"""The server reports CPU time of a stall together with that of at most this time before."""
UNREAD = 8192
"""Twice the pipe of the log: so many unread bytes show that the log's thread had to wait."""

_STALL = re.compile(r"loop_stalled seconds=([0-9.]+) cpu_s=([0-9.]+) (.*)")


@dataclass(frozen=True, slots=True)
class Wait:
    """One look of the sentinel: seconds of round trips, with two without the proxy before and after.

    `…_queued` is the time in which threads that take part were ready, but waited for a processor. `…_stolen` is the
    time in which the host of this virtual machine had taken a processor away.
    """

    before: float
    proxied: float
    proxied_queued: float
    proxied_stolen: float
    health: float
    health_queued: float
    health_stolen: float
    after: float
    major_faults: float = 0.0
    """Pages of the server's program that were read from the disk meanwhile."""

    @property
    def is_quiet(self) -> bool:
        """True if the machine was busy with nothing else and kept the program in memory: the measurement counts."""
        return max(self.before, self.after) < NOISE and not self.major_faults

    @property
    def by_proxy(self) -> float:
        """Seconds of the round trip through the proxy that are due to the server."""
        return max(0.0, self.proxied - self.proxied_queued - self.proxied_stolen)

    @property
    def by_health(self) -> float:
        """Seconds of GET /healthz that are due to the server."""
        return max(0.0, self.health - self.health_queued - self.health_stolen)


@dataclass(frozen=True, slots=True)
class Sample:
    """The resources of the server at one time."""

    descriptors: int
    resident: int


@dataclass(slots=True)
class Findings:
    """The measurements of a soak."""

    waits: list[Wait] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """Connections on which a lossless fault has lost or changed a byte, and whatever else failed."""
    idle: Sample = Sample(0, 0)
    """Before the load."""
    samples: list[Sample] = field(default_factory=list)
    """During the load."""
    settled: Sample = Sample(0, 0)
    """After the load has ended."""
    checked_bytes: int = 0
    changes: int = 0
    abused: int = 0
    log: str = ""
    most_unread: int = 0
    """The most bytes of the log that waited for a reader."""
    exit_code: int | None = None
    slowness: float = 1.0
    """How many times as long as on the machine of the promise this one takes for the same work; at least 1."""

    @property
    def quiet(self) -> list[Wait]:
        """The looks that count."""
        return [one for one in self.waits if one.is_quiet]


def waits_of(lines: Sequence[str]) -> list[Wait]:
    """Return the looks that the sentinel has printed."""
    return [Wait(*map(float, line.split())) for line in lines if line]


def judge(found: Findings) -> list[str]:
    """Return the broken promises, in words; none if the soak has passed."""
    broken = [*found.damaged, *_slow(found), *_held(found.log), *_grown(found)]
    if "Traceback" in found.log:
        broken.append("the log has a traceback:\n" + found.log[found.log.index("Traceback") :][:3000])
    if found.exit_code != 0:
        broken.append(f"the server ended with code {found.exit_code}")
    if found.most_unread < UNREAD:
        broken.append(f"the log was always read in time ({found.most_unread} bytes waited)")
    for what, count in (("no byte was checked", found.checked_bytes), ("no fault was changed", found.changes),
                        ("no abusive client connected", found.abused)):  # fmt: skip
        if not count:
            broken.append(what)
    return broken


def _slow(found: Findings) -> list[str]:
    quiet = found.quiet
    if len(quiet) < max(FEWEST_LOOKS, LEAST_SHARE * len(found.waits)):
        return [f"the machine was too busy to judge waits: {len(quiet)} of {len(found.waits)} looks count"]
    broken = []
    # The load leaves no processor idle, so each wait grows with the time that a processor takes.
    proxied = [one.by_proxy / found.slowness for one in quiet]
    health = [one.by_health / found.slowness for one in quiet]
    for what, seconds, most, rare, median_of_ten in (
        ("a round trip on an untouched proxy", proxied, SLOW, 0.0, SLOW_MEDIAN),
        ("/healthz", health, BEHIND_A_FLOOD, RARE, SLOW),
    ):
        count = sum(one > SLOW for one in seconds)
        if max(seconds) > most or count > (max(1.0, rare * len(seconds)) if rare else 0):
            broken.append(f"{what} took {max(seconds) * 1e3:.0f} ms ({count} of {len(seconds)} above {SLOW * 1e3:.0f})")
        longest = max(median(seconds[at : at + 10]) for at in range(len(seconds) - 9))
        if longest > median_of_ten:
            broken.append(f"{what} took {longest * 1e3:.0f} ms at the median of ten")
    return broken


def _held(log: str) -> list[str]:
    """Return the stalls that the server reports itself and that no other process can have caused: it used the CPU."""
    return [
        f"the loop was held for {seconds} s, of which {cpu} s of CPU time: {holder}"
        for seconds, cpu, holder in _STALL.findall(log)
        if float(cpu) > SLOW + HEARTBEAT
    ]


def _grown(found: Findings) -> list[str]:
    broken = []
    if found.settled.descriptors > found.idle.descriptors + 5:
        broken.append(f"{found.settled.descriptors} open descriptors after the load, {found.idle.descriptors} before")
    third = len(found.samples) // 3
    if third:
        early = max(one.resident for one in found.samples[third : 2 * third])
        late = max(one.resident for one in found.samples[2 * third :])
        if late > early * 1.3 + 30e6:
            broken.append(f"resident memory grew from {early / 1e6:.0f} to {late / 1e6:.0f} MB in the last third")
    return broken
