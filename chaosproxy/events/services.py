"""Events of the reactions to a fault, inferred from other events. They come some seconds after what they tell.

`at` is the time of the reaction itself, and the number in the stream is that of its telling. Reactions are never
inferred from these events, so a journal tells the same story with and without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from chaosproxy.events.base import Event, ProxyEvent

__all__ = ["CircuitClosed", "CircuitOpened", "ServiceFailedOver", "ServiceRecovered"]


@dataclass(slots=True, kw_only=True)
class ServiceFailedOver(Event):
    """Load of a service moved from one of its proxies, on which a fault acts, to another one."""

    kind: ClassVar[str] = "service_failed_over"
    is_inferred: ClassVar[bool] = True
    service: str
    from_proxy: str
    to_proxy: str
    detect_s: float | None
    """Seconds from the fault's start to the end of the first failed attempt; None if none failed."""
    after_s: float
    """Seconds from the fault's start to the first good turn at the other proxy."""
    share: float
    """The part of the load that had moved when this was told, 0 to 1."""
    faults: tuple[str, ...]
    """The faults of the window, as `proxy/fault` or `partition/id`."""


@dataclass(slots=True, kw_only=True)
class ServiceRecovered(ProxyEvent):
    """The load of a proxy is as it was before the fault."""

    kind: ClassVar[str] = "service_recovered"
    is_inferred: ClassVar[bool] = True
    service: str | None
    recovered_after_s: float
    """Seconds from the fault's end."""
    faults: tuple[str, ...]
    """The faults of the window, as `proxy/fault` or `partition/id`."""


@dataclass(slots=True, kw_only=True)
class CircuitOpened(ProxyEvent):
    """The circuit breaker of a client opened: after failures in a row it made only single attempts."""

    kind: ClassVar[str] = "circuit_opened"
    is_inferred: ClassVar[bool] = True
    host: str
    """The host of the client."""
    opened_after: int | None
    """Failures in a row; None if the number is not exact."""
    open_s: float
    """Seconds for which it stayed open between two trials."""
    trials: int
    """Trials until this was told."""
    confidence: Literal["sure", "likely"]
    faults: tuple[str, ...]
    """The faults of the window, as `proxy/fault` or `partition/id`."""


@dataclass(slots=True, kw_only=True)
class CircuitClosed(ProxyEvent):
    """A trial of a client's circuit breaker succeeded, and the load returned."""

    kind: ClassVar[str] = "circuit_closed"
    is_inferred: ClassVar[bool] = True
    host: str
    """The host of the client."""
    after_s: float
    """Seconds from its opening."""
    trials: int
    """Trials until then, the successful one included."""
    faults: tuple[str, ...]
    """The faults of the window, as `proxy/fault` or `partition/id`."""
