"""http_headers: sets, adds or removes header fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Choice, ListOf, Not, Rule, Set, param
from chaosproxy.faults.base import Step
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.rewrite import FIELDS, FieldName, edited
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpHeaders"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHeaders(MessageFault):
    """Changes header fields; the bytes of every other line stay as they were sent.

    `set` replaces the value of a field and keeps its place and spelling; `add` appends fields;
    `remove` removes every field of that name. Fields that frame the message or belong to the
    connection are refused, since a change would break the connection rather than test the
    program. To break the connection, use `http_truncate`, `http_reset` or `corrupt`.
    """

    type: ClassVar[str] = "http_headers"
    summary: ClassVar[str] = "sets, adds or removes header fields"
    models: ClassVar[str] = "A gateway that strips a token, a stale cache, a lost trace id, a wrong content type."
    example: ClassVar[str] = "{type: http_headers, on: request, remove: [Authorization]}"

    set: Mapping[str, str] | None = param(
        FIELDS, "fields with their new values", default=None, example="{Cache-Control: no-store}"
    )
    add: Mapping[str, str] | None = param(
        FIELDS, "fields to add to those that are present", default=None, example="{X-Debug: on}"
    )
    remove: tuple[str, ...] = param(ListOf(FieldName()), "fields to remove", default=(), example="[ETag]")
    on: str = param(Choice("request", "response"), "which fields are changed", default="response", example="request")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            ("set",), "missing", "is missing, as are add and remove; add one of the three, such as remove: [ETag]",
            Not(Set("set")), Not(Set("add")), Not(Set("remove")),
        ),
    )  # fmt: skip

    def side(self) -> MessageKind:
        return "request" if self.on == "request" else "response"

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Editing(self, opening)


class _Editing(MessageStage):
    def __init__(self, settings: HttpHeaders, opening: MessageOpening) -> None:
        super().__init__(opening, settings.side())
        self._settings = settings

    def on_head(self, head: Part) -> Iterable[Step]:
        self.mark(head)
        settings = self._settings
        changed = edited(head.data, set=settings.set or {}, add=settings.add or {}, remove=settings.remove)
        return (head.with_data(changed),)
