"""One exchange, framed for real and given to a message fault's stage part by part."""

from __future__ import annotations

import random
from collections.abc import Iterable

from chaosproxy.faults.base import Close, Reset, Send, Step
from chaosproxy.http.context import HttpContext, HttpSettings
from chaosproxy.http.conversation import Conversation
from chaosproxy.http.exchange import Exchange
from chaosproxy.http.part import MessageKind, Part
from chaosproxy.http.requests import Requests
from chaosproxy.http.responses import Responses
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage
from chaosproxy.tallies import ProxyTally
from tests.faults.playing import shown

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
OK = b"HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 10\r\n\r\nabcdefghij"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n6\r\nefghij\r\n0\r\nX-T: 1\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nabcdefghij"


class Talk:
    """A connection whose requests are given to one stage, or whose answers are."""

    def __init__(
        self,
        fault: MessageFault,
        *,
        seed: int = 0,
        hold_limit: int = 2**20,
        since: float = 0.0,
        on: MessageKind | None = None,
    ) -> None:
        self.conversation = Conversation(HttpContext(ProxyTally(), lambda reason: None))
        self.conversation.context.configure(HttpSettings(hold_limit=hold_limit), ())
        self.on: MessageKind = on or fault.side() or "response"
        self.requests, self.responses = Requests(self.conversation), Responses(self.conversation)
        self.asked: list[int] = []
        """The exchanges that the stage has asked about."""
        self.touches = True
        self._seed, self._since = seed, since
        self.stage = self.open(fault)

    def open(self, fault: MessageFault, now: float = 0.0) -> MessageStage:
        opening = MessageOpening(
            lambda: random.Random(self._seed), now, fault.common(), self.conversation, "it", self.on, self._since,
            self._choose,
        )  # fmt: skip
        return fault.open_stage(opening)

    def change(self, fault: MessageFault, now: float = 0.0) -> list[Step]:
        """Other settings; answers what the old stage lets go."""
        old, self.stage = self.stage, self.open(fault, now)
        self.stage.take_over(old)
        return [*old.let_go()]

    def _choose(self, exchange: Exchange) -> bool:
        self.asked.append(exchange.number)
        return self.touches

    def client(self, data: bytes, now: float = 0.0) -> list[Step]:
        """What becomes of what the client sends."""
        return self.show(self.requests.frame(data, now), "request")

    def server(self, data: bytes, now: float = 0.0) -> list[Step]:
        """And of what the server sends."""
        return self.show(self.responses.frame(data, now), "response")

    def show(self, steps: Iterable[Step], on: MessageKind) -> list[Step]:
        return shown(self.stage, steps) if on == self.on else [*steps]


def answered(fault: MessageFault, raw: bytes = OK, now: float = 0.0) -> list[Step]:
    """What a fault makes of an answer that comes in one piece."""
    talk = Talk(fault)
    talk.client(GET)
    return talk.server(raw, now)


def told(steps: Iterable[Step]) -> list[tuple[float, bytes | str]]:
    """Each step's time, and its bytes or its kind."""
    return [(round(step.due, 9), step.data if isinstance(step, Send) else type(step).__name__) for step in steps]


def content(steps: Iterable[Step]) -> bytes:
    return b"".join(step.data for step in steps if isinstance(step, Send))


def ends(steps: Iterable[Step]) -> list[str]:
    return [type(step).__name__ for step in steps if isinstance(step, Close | Reset)]


def parts(steps: Iterable[Step]) -> list[Part]:
    return [step for step in steps if isinstance(step, Part)]
