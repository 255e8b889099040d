"""The lines of a journal that still hold: what exists and acts, for the begin of the next file. Pure."""

from __future__ import annotations

from chaosproxy.events import (
    Event,
    FaultAdded,
    FaultChanged,
    FaultExpired,
    FaultRemoved,
    PartitionAdded,
    PartitionExpired,
    PartitionFlapped,
    PartitionRemoved,
    ProxyAdded,
    ProxyChanged,
    ProxyRemoved,
)

__all__ = ["State"]

_Lines = list[tuple[float, bytes]]


class State:
    """Keeps the lines about each proxy, fault and partition that exists: its addition, and its latest change."""

    def __init__(self) -> None:
        self._proxies: dict[str, _Lines] = {}
        self._faults: dict[tuple[str, str], _Lines] = {}
        self._partitions: dict[str, _Lines] = {}

    def follow(self, event: Event, line: bytes) -> None:
        """Take the next event, and its line."""
        match event:
            case ProxyAdded():
                self._proxies[event.proxy] = [(event.at, line)]
            case FaultAdded():
                self._faults[event.proxy, event.fault] = [(event.at, line)]
            case PartitionAdded():
                self._partitions[event.partition] = [(event.at, line)]
            case ProxyChanged():
                _change(self._proxies.get(event.proxy), event, line)
            case FaultChanged():
                _change(self._faults.get((event.proxy, event.fault)), event, line)
            case PartitionFlapped():
                _change(self._partitions.get(event.partition), event, line)
            case ProxyRemoved():
                self._proxies.pop(event.proxy, None)
                for place in [one for one in self._faults if one[0] == event.proxy]:
                    del self._faults[place]
            case FaultRemoved() | FaultExpired():
                self._faults.pop((event.proxy, event.fault), None)
            case PartitionRemoved() | PartitionExpired():
                self._partitions.pop(event.partition, None)

    def lines(self) -> list[bytes]:
        """Return the lines in the order of their events."""
        kept = [*self._proxies.values(), *self._faults.values(), *self._partitions.values()]
        # Sorting is stable: a proxy stays before its faults where both were added at the same time.
        return [line for _, line in sorted((one for lines in kept for one in lines), key=lambda one: one[0])]


def _change(lines: _Lines | None, event: Event, line: bytes) -> None:
    if lines is not None:
        lines[1:] = [(event.at, line)]
