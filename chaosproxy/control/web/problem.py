"""Convert exceptions to RFC 9457 problem details, with the only table of HTTP status codes.

Every exception of a handler becomes a response of type `application/problem+json`. An exception that is
not in the table is a defect of chaosproxy: it becomes a 500, and is logged with its traceback.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from chaosproxy.errors import (
    CannotListen,
    ChaosproxyError,
    Code,
    Conflict,
    InvalidInput,
    NotFound,
    Problem,
    Unsupported,
    first_of,
)
from chaosproxy.text import escaped

__all__ = ["Refused", "http_problem", "note_begun", "problem_response", "problem_responses"]

logger = logging.getLogger(__name__)

MAX_BODY = 2**20
"""The most bytes in a body."""
MALFORMED_BODY = "the body does not have the form that the head announces; send a Content-Length or chunks"

_begun: ContextVar[list[web.StreamResponse]] = ContextVar("begun")
"""The response that the current request has begun to send; empty before."""

STATUS: dict[type[ChaosproxyError], tuple[int, str]] = {
    InvalidInput: (400, "Invalid input"),
    NotFound: (404, "Not found"),
    Unsupported: (409, "Unsupported here"),
    Conflict: (409, "Conflict"),
    CannotListen: (409, "Cannot listen"),
}
"""Status code and title of each exception."""


_HTTP_CODES: dict[int, Code] = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
"""Codes for requests that aiohttp itself refuses, by status code."""


class Refused(Exception):
    """A request that is refused for reasons of HTTP, access or policy."""

    def __init__(
        self,
        status: int,
        title: str,
        code: Code,
        detail: str,
        *,
        errors: Iterable[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def problem_response(
    status: int,
    title: str,
    code: Code,
    detail: str,
    errors: Iterable[Problem] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> web.Response:
    """Return a problem document; `errors` are the invalid fields, `more` are members of this kind of problem.

    Clients show its texts, so these are escaped.
    """
    body: dict[str, object] = {
        "type": f"urn:chaosproxy:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": escaped(detail),
    }
    if fields := [{"path": one.field, "code": one.code, "message": escaped(one.message)} for one in errors]:
        body["errors"] = fields
    body |= more or {}
    return web.Response(
        status=status, text=json.dumps(body), content_type="application/problem+json", headers=dict(headers or {})
    )


def problem_responses(index: str) -> Middleware:
    """Return a middleware that converts exceptions to problem documents; `index` is the path that a 404 names.

    If a handler fails after it has begun to send its response, no other response can follow. The connection
    is then aborted, so that the client does not regard the response as complete.
    """

    @web.middleware
    async def respond(request: web.Request, handler: Handler) -> web.StreamResponse:
        begun: list[web.StreamResponse] = []
        _begun.set(begun)
        try:
            return await handler(request)
        except Exception as error:
            if not begun:
                return _problem_of(request, error, index)
            if not isinstance(error, ConnectionError):  # a ConnectionError means that the client has left
                logger.exception("a defect: %s %s failed during its response", request.method, request.path)
            if request.transport is not None:
                request.transport.abort()
            return begun[0]

    return respond


async def note_begun(_request: web.Request, response: web.StreamResponse) -> None:
    """Note that `response` begins to be sent (aiohttp's signal `on_response_prepare`)."""
    _begun.get([]).append(response)


def _problem_of(request: web.Request, error: Exception, index: str) -> web.Response:
    match error:
        case Refused():
            return problem_response(error.status, error.title, error.code, error.detail, error.errors, error.headers)
        case ChaosproxyError():
            return problem_response(*_status_of(error), error.code, str(error), errors=first_of(error.problems))
        case web.HTTPException():
            return http_problem(request, error, index)
        case web.RequestPayloadError():
            return problem_response(400, "Malformed body", "bad-request", MALFORMED_BODY)
        case ConnectionError() if request.transport is None:
            return problem_response(400, "Client left", "bad-request", "the client left")  # and receives nothing
        case _:
            logger.error("a defect: %s %s failed", request.method, request.path, exc_info=error)
            detail = "the request failed because of a defect in chaosproxy; the log has the traceback"
            return problem_response(500, "Internal error", "internal-error", detail)


def _status_of(error: ChaosproxyError) -> tuple[int, str]:
    return next((entry for kind, entry in STATUS.items() if isinstance(error, kind)), (400, "Refused"))


def http_problem(request: web.BaseRequest, error: web.HTTPException, index: str = "") -> web.Response:
    """Return the problem document for a request that aiohttp itself refuses."""
    headers: dict[str, str] = {}
    detail = error.text or error.reason
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
        detail = f"{request.method} is not allowed on {request.path}; use {headers[hdrs.ALLOW]}"
    elif isinstance(error, web.HTTPRequestEntityTooLarge):
        detail = f"the body is larger than {MAX_BODY} bytes; send less"
    elif isinstance(error, web.HTTPExpectationFailed):
        detail = "the value of Expect is not known; send 100-continue, or remove the header field"
    elif isinstance(error, web.HTTPNotFound):
        detail = f"the path {request.path} does not exist; GET {index} lists the paths"
    title = HTTPStatus(error.status).phrase.capitalize()
    return problem_response(error.status, title, _HTTP_CODES.get(error.status, "bad-request"), detail, headers=headers)
