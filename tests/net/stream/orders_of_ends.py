"""Run each order in which two sides can end, and write the reports of the ending into docs/endings.md.

    python -m tests.net.stream.orders_of_ends
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chaosproxy.events import ClientEnded, ConnectionClosed, PeerEnded, ServerEnded
from chaosproxy.faults.base import Fault
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.reset import Reset
from chaosproxy.faults.slow_close import SlowClose
from chaosproxy.faults.stall import Stall
from chaosproxy.tallies import Side
from tests.net.stream.scene import Line, Scene
from tests.net.stream.virtual import Flavour, Peer

__all__ = ["FAULTS", "HOWS", "PAGE", "THENS", "Told", "page", "play"]

PAGE = Path(__file__).parents[3] / "docs" / "endings.md"
BEGIN, END = "<!-- the orders of ends: python -m tests.net.stream.orders_of_ends -->", "<!-- end of the orders -->"

End = Literal["fin", "reset"]
HOWS: tuple[End, ...] = ("fin", "reset")
THENS: tuple[End | None, ...] = (None, "fin", "reset")
FIRST_AT, THEN_AT, HEALED_AT, SEEN_UNTIL = 1.0, 2.0, 10.0, 20.0

FAULTS: dict[str, tuple[Fault | None, str]] = {
    "none": (None, "No fault"),
    "stall": (Stall(), "`stall` in both directions, healed at 10 s"),
    "latency": (Latency(delay=5.0), "`latency` of 5 s in both directions"),
    "slow_close": (SlowClose(delay=5.0), "`slow_close` of 5 s in both directions"),
    "reset": (Reset(delay=3.0), "`reset` at 3 s"),
}
"""The faults of the tables, by name, with their headings."""


@dataclass(frozen=True)
class Told:
    """All events of one connection."""

    ended: tuple[PeerEnded, ...]
    closed: ConnectionClosed | None
    """None while the connection is open."""

    def of(self, side: Side) -> str:
        """Describe when the end of one side was published, and the fault that held it."""
        kind = ClientEnded if side == "client" else ServerEnded
        found = [f"{one.how} at {one.after_s:g} s" + _holder(one) for one in self.ended if isinstance(one, kind)]
        return "; ".join(found) or "-"

    def closing(self, begun: float) -> tuple[str, str, str, str]:
        """Describe the connection's close: its time since `begun`, its cause, first and detail."""
        closed = self.closed
        if closed is None:
            return "still open", "-", "-", "-"
        return f"{closed.at - begun:g} s", closed.cause, closed.first or "null", closed.detail


def _holder(event: PeerEnded) -> str:
    return f", held by {event.held_by}" if event.held_by else ""


def play(fault: str, first: Side, how: End, then: End | None, flavour: Flavour = "uvloop") -> tuple[Told, float]:
    """End one side at 1 s, and the other at 2 s unless `then` is None; return the events and the time of accept."""
    with Scene(flavour) as scene:
        line = scene.open()
        begun = line.connection.accepted_at
        settings = FAULTS[fault][0]
        if settings is not None:
            scene.put(fault, settings)
        one, other = _sides(line, first)
        scene.advance(FIRST_AT)
        _end(one, how)
        scene.advance(THEN_AT - FIRST_AT)
        if then is not None:
            _end(other, then)
        scene.advance(HEALED_AT - THEN_AT)
        scene.heal()
        scene.advance(SEEN_UNTIL - HEALED_AT)
        events = line.events()
        ended = tuple(event for event in events if isinstance(event, PeerEnded))
        closed = next((event for event in events if isinstance(event, ConnectionClosed)), None)
        return Told(ended, closed), begun


def _sides(line: Line, first: Side) -> tuple[Peer, Peer]:
    return (line.client, line.server) if first == "client" else (line.server, line.client)


def _end(peer: Peer, how: End) -> None:
    if how == "fin":
        peer.finish()
    else:
        peer.reset()


def table(fault: str) -> str:
    """Return the orders under one fault in which the client ends first, as a table."""
    lines = [
        "| client, at 1 s | server, at 2 s | `client_ended` | `server_ended` | closed | `cause` | `first` | `detail` |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for how in HOWS:
        for then in THENS:
            told, begun = play(fault, "client", how, then)
            cells = (how, then or "nothing", told.of("client"), told.of("server"), *told.closing(begun))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> str:
    """Return all tables, each below its fault."""
    return "\n\n".join(f"**{caption}**\n\n{table(fault)}" for fault, (_, caption) in FAULTS.items())


def page() -> str:
    """Return docs/endings.md with tables from a new run."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
