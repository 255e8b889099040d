"""Decide whether a soak has passed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Findings", "Sample", "Wait", "judge", "waits_of"]

SLOW = 0.1
"""The longest wait on another proxy and of /healthz, in seconds."""
NOISE = 0.02
"""A round trip to the backend without the proxy that takes longer shows that the machine was busy."""


@dataclass(frozen=True, slots=True)
class Wait:
    """One look of the sentinel: seconds of round trips, with two without the proxy before and after."""

    before: float
    proxied: float
    health: float
    after: float

    @property
    def is_quiet(self) -> bool:
        """True if the machine was not busy with something else, so that the measurement counts."""
        return max(self.before, self.after) < NOISE


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
    """Connections on which a lossless fault has lost or changed a byte."""
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
    exit_code: int | None = None


def waits_of(lines: Sequence[str]) -> list[Wait]:
    """Return the looks that the sentinel has printed."""
    return [Wait(*map(float, line.split())) for line in lines if line]


def judge(found: Findings) -> list[str]:
    """Return the broken promises, in words; none if the soak has passed."""
    broken = [*found.damaged]
    quiet = [one for one in found.waits if one.is_quiet]
    for what, seconds in (("a round trip on an untouched proxy", [one.proxied for one in quiet]),
                          ("/healthz", [one.health for one in quiet])):  # fmt: skip
        if not seconds:
            broken.append(f"{what} was never measured on a quiet machine ({len(found.waits)} looks)")
        elif max(seconds) > SLOW:
            count = sum(one > SLOW for one in seconds)
            broken.append(f"{what} took {max(seconds) * 1e3:.0f} ms ({count} of {len(seconds)} above {SLOW * 1e3:.0f})")
    if found.settled.descriptors > found.idle.descriptors + 5:
        broken.append(f"{found.settled.descriptors} open descriptors after the load, {found.idle.descriptors} before")
    third = len(found.samples) // 3
    if third:
        early = max(one.resident for one in found.samples[third : 2 * third])
        late = max(one.resident for one in found.samples[2 * third :])
        if late > early * 1.3 + 30e6:
            broken.append(f"resident memory grew from {early / 1e6:.0f} to {late / 1e6:.0f} MB in the last third")
    if "Traceback" in found.log:
        broken.append("the log has a traceback:\n" + found.log[found.log.index("Traceback") :][:3000])
    if found.exit_code != 0:
        broken.append(f"the server ended with code {found.exit_code}")
    for what, count in (("no byte was checked", found.checked_bytes), ("no fault was changed", found.changes),
                        ("no abusive client connected", found.abused)):  # fmt: skip
        if not count:
            broken.append(what)
    return broken
