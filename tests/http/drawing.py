"""The tables of states as Markdown, with a picture of each.

    python -m tests.http.drawing     write them into docs/http-internals.md, between the marks
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from chaosproxy.http import exchange
from chaosproxy.http.states import EFFECTS, Event, Requesting, Responding
from tests.http.recording import MACHINES, Arrow, arrows_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "http-internals.md"
BEGIN, END = "<!-- drawn from the tables in chaosproxy/http: begin -->\n", "<!-- end -->\n"


def drawn() -> str:
    """Return all tables and pictures."""
    parts = []
    for name, table in MACHINES.items():
        first = next(iter(table))
        about = f"### {name.upper()}\n\n{type(first).__doc__}\n"
        parts.append(f"{about}\n{_states(table)}\n{_picture(arrows_of(table))}")
    parts.append(f"### Events\n\n{_events()}")
    arrows = [(state, sign, to) for state, row in exchange.TRANSITIONS.items() for sign, to in row.items()]
    parts.append(f"### One exchange\n\n{exchange.State.__doc__}\n\n{_picture(arrows)}")
    return "\n".join(parts)


def _states(table: Iterable[Enum]) -> str:
    rows = []
    for state in table:
        if isinstance(state, Requesting | Responding):
            rows.append(f"| `{state.name}` | {state.treatment.value} | {state.meaning} |")
        else:
            rows.append(f"| `{state.name}` | {state.value} |")
    is_wide = isinstance(next(iter(table)), Requesting | Responding)
    head = "| state | bytes are | meaning |\n|---|---|---|\n" if is_wide else "| state | meaning |\n|---|---|\n"
    return head + "\n".join(rows) + "\n"


def _picture(arrows: Iterable[Arrow | tuple[Enum, Enum, Enum]]) -> str:
    arrows = [*arrows]
    lines = [f"    [*] --> {arrows[0][0].name}"]
    lines += [f"    {state.name} --> {after.name}: {event.name}" for state, event, after in arrows]
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n"


def _events() -> str:
    rows = [
        f"| `{event.name}` | {event.value} | {f'`{type(EFFECTS[event]).__name__}`' if event in EFFECTS else ''} |"
        for event in Event
    ]
    return "| event | it happens when | effect |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def replaced(text: str) -> str:
    """Return the document with the tables as they are now between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + drawn() + "\n" + END + after


if __name__ == "__main__":
    DOCUMENT.write_text(replaced(DOCUMENT.read_text()))
