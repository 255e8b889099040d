"""http_corrupt: bytes of bodies change, and their framing stays intact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chaosproxy.declare import Choice, Share, param
from chaosproxy.faults.base import Step
from chaosproxy.faults.noise import UNIT, Dense, Sparse, noise
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpCorrupt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCorrupt(MessageFault):
    """Changes each byte of a body with probability `rate`; heads, lengths and the lines of chunks stay correct.

    The receiver gets a well-formed message with wrong contents, which only a checksum, a
    signature or a parser of the contents can detect.
    """

    type: ClassVar[str] = "http_corrupt"
    summary: ClassVar[str] = "changes bytes of bodies; their framing stays intact"
    models: ClassVar[str] = "Bad memory or disks behind the service, a broken encoder, a middlebox that rewrites."
    example: ClassVar[str] = "{type: http_corrupt, rate: 1%}"

    rate: float = param(Share(), "probability that a byte of the body is changed", example="1%")
    unit: str = param(UNIT, "`bit` flips one bit of a byte, `byte` replaces it", default="bit", example="byte")
    on: str = param(Choice("request", "response"), "which bodies are changed", default="response", example="request")

    def side(self) -> MessageKind:
        return "request" if self.on == "request" else "response"

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Corrupting(noise(self.rate, self.unit, opening.dice), opening, self.side())


class _Corrupting(MessageStage):
    def __init__(self, changes: Dense | Sparse, opening: MessageOpening, on: MessageKind) -> None:
        super().__init__(opening, on)
        self._changes = changes

    def on_head(self, head: Part) -> Iterable[Step]:
        self.mark(head)
        return (head,)

    def on_rest(self, part: Part) -> Iterable[Step]:
        if part.kind == "body":
            data = self._changes.change(part.data)
            if data is not part.data:
                return (part.with_data(data),)
        return (part,)
