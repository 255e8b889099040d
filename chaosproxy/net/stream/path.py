"""The path of a connection through the proxies of this process, and its end where it returns to one.

A connection knows by which other connection its client was dialled (`came_from`), if that is one of this process.
A path through several proxies is legal. A path that returns to a proxy would never end: its connections from that
proxy on are reset, and the client that returns is not served.
"""

from __future__ import annotations

import logging

from chaosproxy.net.sockets.dial import DialError
from chaosproxy.net.stream.connection import Connection

__all__ = ["LOG_AGAIN", "LoopLog", "end_loop", "loop_to"]

LOG_AGAIN = 60.0
"""Seconds after which a loop that still exists is logged again."""

logger = logging.getLogger(__name__)


def loop_to(owner: object, sender: Connection | None) -> list[Connection]:
    """Return the connections from `owner` to `sender`, in order; none if the path has not passed `owner`."""
    path: list[Connection] = []
    while sender is not None:
        path.append(sender)
        if sender.owner is owner:
            return path[::-1]
        sender = sender.came_from
    return []


def end_loop(loop: list[Connection], log: LoopLog) -> None:
    """Reset connections whose path returns to the proxy of the first one."""
    names = [one.owner.name for one in loop]
    reason = f"the upstream of {names[0]} leads back to {names[0]}: {' -> '.join([*names, names[0]])}"
    now = loop[0].scheduler.clock()
    log.write(reason, now)
    for one in loop:
        error = DialError(one.owner.upstream, reason, "operator", "reset", "upstream-loop")
        one.fail_dial(error, now - one.accepted_at)


class LoopLog:
    """Writes each loop to the log, at most once per LOG_AGAIN seconds."""

    def __init__(self) -> None:
        self._written: dict[str, float] = {}

    def write(self, reason: str, now: float) -> None:
        """Write a loop to the log, unless it was written a short time ago."""
        if now - self._written.get(reason, float("-inf")) >= LOG_AGAIN:
            self._written = {one: at for one, at in self._written.items() if now - at < LOG_AGAIN}
            self._written[reason] = now
            logger.warning("%s; its connections are reset; give it another upstream", reason)
