"""The shape of a conversation, which decides which claims can be made about it (`events.Shape`). Pure."""

from __future__ import annotations

from chaosproxy.events import Shape

__all__ = ["TurnShape"]


class TurnShape:
    """The shape of the conversation on one connection, updated as it goes."""

    __slots__ = ("_looked_at", "_pushes", "_was_still", "is_server_first", "repeats")

    def __init__(self) -> None:
        self.repeats = 0
        """How often the client has sent again after a pause in an open turn."""
        self.is_server_first = False
        """True once the server has spoken before the client."""
        self._pushes = 0
        """How often the server was seen to send without having been asked."""
        self._looked_at = (0, 0)
        self._was_still = False

    def look(self, turns: int, is_open: bool, bytes_downstream: int) -> None:
        """Look at the connection once a second, to notice a server that speaks unasked.

        `is_open` is whether the latest turn is, or the client has not begun one.
        """
        seen = turns, bytes_downstream
        is_still = not is_open and seen == self._looked_at
        if self._was_still and bytes_downstream != self._looked_at[1]:
            # Bytes after a second of silence: unasked if no turn has opened since, or if one has no answer, so that
            # they came before it. A consumer of a queue confirms each message like that.
            if turns - self._looked_at[0] == is_open:
                self._pushes += 1
        self._was_still, self._looked_at = is_still, seen

    def of(self, is_answered: bool) -> Shape:
        """Return the shape so far; `is_answered` is whether a turn was answered."""
        if self.repeats:
            return "pipelined" if is_answered else "one-way"
        if self._pushes:
            return "push"
        if self.is_server_first:
            return "server-first"
        return "turns" if is_answered else ""
