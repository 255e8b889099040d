"""http_abort: chaosproxy responds in place of the server."""

from __future__ import annotations

import http
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from chaosproxy.declare import Duration, Given, Is, Rule, TextOrJson, Whole, param
from chaosproxy.faults.base import Step
from chaosproxy.http.exchange import Exchange, InjectedResponse
from chaosproxy.http.head import RequestHead, values
from chaosproxy.http.part import Part
from chaosproxy.http.rewrite import FIELDS
from chaosproxy.http.stage import MessageFault, MessageOpening, MessageStage

__all__ = ["HttpAbort", "injected_response"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAbort(MessageFault):
    """Responds to the request in place of the server, which never gets it; the connection stays open.

    The response is sent as soon as the request's head is complete, but after the responses to
    earlier requests; the rest of the request is dropped. If the client waits for permission to
    send its body (`Expect: 100-continue`), the connection is closed after the response, because
    the body may or may not follow (RFC 9110 §10.1.1).
    """

    type: ClassVar[str] = "http_abort"
    summary: ClassVar[str] = "responds with an error in place of the server"
    models: ClassVar[str] = "An overloaded or broken server, a gateway without a backend, a rate limit."
    example: ClassVar[str] = "{type: http_abort, status: 503, retry_after: 2s, probability: 20%}"

    status: int = param(Whole(minimum=200, maximum=599), "status of the response", default=503, example="429")
    headers: Mapping[str, str] | None = param(
        FIELDS, "header fields of the response", default=None, example="{Cache-Control: no-store}"
    )
    body: Any = param(  # Any: text or JSON
        TextOrJson(), "body of the response: text, or a mapping or list sent as JSON", default=None, example="{}"
    )
    retry_after: float | None = param(
        Duration(), "value of the field Retry-After, rounded up to whole seconds", default=None, example="2s"
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            ("body",), "invalid-together", "not supported with this status, which has no body; remove it",
            Is("status", 204, 304), Given("body"),
        ),
    )  # fmt: skip

    def open_stage(self, opening: MessageOpening) -> MessageStage:
        return _Responding(self, opening)


class _Responding(MessageStage):
    def __init__(self, settings: HttpAbort, opening: MessageOpening) -> None:
        super().__init__(opening, "request")
        self._settings = settings

    def on_head(self, head: Part) -> Iterable[Step]:
        settings = self._settings
        fields = dict(settings.headers or {})
        if settings.retry_after is not None:
            fields["Retry-After"] = str(math.ceil(settings.retry_after))
        response = injected_response(head.exchange, settings.status, fields, settings.body, self.name, head.due)
        self.conversation.inject(head.exchange, response)
        return ()

    def on_rest(self, part: Part) -> Iterable[Step]:
        return ()


def injected_response(
    exchange: Exchange, status: int, fields: Mapping[str, str], body: object, fault: str, due: float
) -> InjectedResponse:
    """Return the response that a fault sends to a request."""
    text = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    request = exchange.request
    close = request is None or not _goes_on(request)
    given = {name.lower() for name in fields}
    lines = [f"HTTP/1.1 {status} {_reason(status)}", *(f"{name}: {value}" for name, value in fields.items())]
    if text and "content-type" not in given:
        lines.append(f"Content-Type: {kind}")
    if status not in (204, 304):
        lines.append(f"Content-Length: {len(text)}")
    if close:
        lines.append("Connection: close")
    elif request is not None and request.version == "1.0":
        lines.append("Connection: keep-alive")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    data = head if exchange.method == "HEAD" else head + text
    return InjectedResponse(status, data, fault, due, close, request is None or not values(request.fields, "expect"))


def _goes_on(request: RequestHead) -> bool:
    """Return True if the connection can carry another request after this one (RFC 9112 §9.3)."""
    options = {one.strip().lower() for one in ",".join(values(request.fields, "connection")).split(",")}
    if values(request.fields, "expect") or request.method == "CONNECT" or "upgrade" in options:
        return False
    return "keep-alive" in options if request.version == "1.0" else "close" not in options


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Injected"
