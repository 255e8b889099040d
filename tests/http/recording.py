"""A conversation that knows which events have happened, which arrows they took, and which effects were taken."""

from __future__ import annotations

from enum import Enum

from chaosproxy.http.context import HttpContext
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.effects import Effect
from chaosproxy.http.states import INTAKE, LOSSES, REQUESTS, RESPONSES, SENDERS, Event, States, Table

__all__ = ["MACHINES", "Arrow", "RecordedConversation", "RecordedStates", "arrows_of"]

MACHINES: dict[str, Table[Enum]] = {
    "requests": REQUESTS,  # type: ignore[dict-item]  # a table of one enum is one of Enum, as long as nobody writes it
    "responses": RESPONSES,  # type: ignore[dict-item]
    "losses": LOSSES,  # type: ignore[dict-item]
    "senders": SENDERS,  # type: ignore[dict-item]
    "intake": INTAKE,  # type: ignore[dict-item]
}
"""The table of each machine, by the name of its attribute."""

Arrow = tuple[Enum, Event, Enum]


def arrows_of(table: Table[Enum]) -> list[Arrow]:
    """Every arrow of a table, in its order."""
    return [(state, event, after) for state, row in table.items() for event, after in row.items()]


class RecordedStates(States):
    """Knows every event that has happened, and every arrow."""

    __slots__ = ("arrows", "events")

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.arrows: list[Arrow] = []

    def on(self, event: Event) -> None:
        before = {name: getattr(self, name) for name in MACHINES}
        super().on(event)
        self.events.append(event)
        for name, table in MACHINES.items():
            if event in table[before[name]]:
                self.arrows.append((before[name], event, getattr(self, name)))


class RecordedConversation(Conversation):
    """Knows every effect that was taken."""

    __slots__ = ("taken",)

    def __init__(self, context: HttpContext) -> None:
        super().__init__(context)
        self.states: RecordedStates = RecordedStates()
        self.taken: list[Effect] = []

    def next_effect(self) -> Effect | None:
        effect = super().next_effect()
        if effect is not None:
            self.taken.append(effect)
        return effect
