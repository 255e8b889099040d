"""A small synchronous bus."""

from __future__ import annotations

import logging
from collections.abc import Callable

from chaosproxy.events.base import Event

__all__ = ["Bus"]

logger = logging.getLogger(__name__)


class Bus:
    """Publishes each event to every subscriber at once."""

    def __init__(self) -> None:
        self._subscribers: tuple[Callable[[Event], None], ...] = ()

    def subscribe(self, subscriber: Callable[[Event], None]) -> Callable[[], None]:
        """Call `subscriber` with every event from now on; return a function that ends this."""
        self._subscribers += (subscriber,)

        def end() -> None:
            self._subscribers = tuple(one for one in self._subscribers if one is not subscriber)

        return end

    def publish(self, event: Event) -> None:
        """Call every subscriber with `event`."""
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:  # a subscriber's defect must not end a connection
                logger.exception("a subscriber failed on %s", event.kind)
