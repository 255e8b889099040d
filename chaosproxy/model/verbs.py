"""The faults that crash or pause a proxy's server, or a whole node."""

from __future__ import annotations

from typing import Literal

from chaosproxy.faults.pause import Pause
from chaosproxy.faults.refuse import Refuse
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.placement import Placement

__all__ = ["Verb", "verb_fault"]

Verb = Literal["crash", "pause"]


def verb_fault(verb: Verb, lasts: float | None, node: str | None = None, name: str | None = None) -> FaultSpec:
    """Return the fault that crashes or pauses a proxy's server, or a whole node, for `lasts` seconds or until healed.

    A crash resets open connections and refuses new ones. A pause holds everything, and releases it at the end. The name
    of the fault of a node shows the node's state; that of another is `name`, or the verb.
    """
    settings = Refuse(existing="reset") if verb == "crash" else Pause()
    named = f"{verb}:{node}" if node is not None else name or verb
    return FaultSpec(name=named, settings=settings, placement=Placement(direction="both", ttl=lasts))
