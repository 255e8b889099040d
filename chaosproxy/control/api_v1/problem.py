"""Errors as answers: RFC 9457 problem details, and the one table of HTTP status codes.

Whatever a handler raises becomes `application/problem+json` here; only a defect of ours
becomes a 500, and it is logged with its traceback.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from chaosproxy.errors import (
    CannotListen,
    ChaosproxyError,
    Code,
    Conflict,
    InvalidInput,
    NotFound,
    Problem,
    Unsupported,
)

__all__ = ["Refused", "answer_problems", "problem_response"]

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATUS: dict[type[ChaosproxyError], tuple[int, str]] = {
    InvalidInput: (400, "Invalid input"),
    NotFound: (404, "Not found"),
    Unsupported: (409, "Unsupported here"),
    Conflict: (409, "Conflict"),
    CannotListen: (409, "Cannot listen"),
}


_HTTP_CODES: dict[int, Code] = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
"""Codes of the requests that aiohttp itself refuses."""


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
) -> web.Response:
    """An answer that says what is wrong; `errors` names the fields."""
    body: dict[str, object] = {
        "type": "urn:chaosproxy:problem:" + title.lower().replace(" ", "-"),
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if fields := [{"path": one.field, "code": one.code, "message": one.message} for one in errors]:
        body["errors"] = fields
    return web.Response(
        status=status, text=json.dumps(body), content_type="application/problem+json", headers=dict(headers or {})
    )


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into a problem document."""
    try:
        return await handler(request)
    except Refused as refused:
        return problem_response(
            refused.status, refused.title, refused.code, refused.detail, refused.errors, refused.headers
        )
    except InvalidInput as invalid:
        return problem_response(*STATUS[InvalidInput], invalid.code, str(invalid), errors=invalid.problems)
    except ChaosproxyError as error:
        return problem_response(*_status_of(error), error.code, str(error))
    except web.HTTPException as error:
        return _http_problem(request, error)
    except Exception:
        logger.exception("a defect: %s %s failed", request.method, request.path)
        detail = "a defect of chaosproxy; its log has the traceback"
        return problem_response(500, "Internal error", "internal-error", detail)


def _status_of(error: ChaosproxyError) -> tuple[int, str]:
    return next((entry for kind, entry in STATUS.items() if isinstance(error, kind)), (400, "Refused"))


def _http_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses, in our form."""
    headers: dict[str, str] = {}
    detail = error.text or error.reason
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
        detail = f"{request.method} is not possible on {request.path}; use {headers[hdrs.ALLOW]}"
    elif isinstance(error, web.HTTPRequestEntityTooLarge):
        detail = f"the body is larger than {request.client_max_size} bytes; send less"
    elif isinstance(error, web.HTTPNotFound):
        detail = f"there is nothing at {request.path}; GET /v1/openapi.json lists what there is"
    title = HTTPStatus(error.status).phrase.capitalize()
    return problem_response(error.status, title, _HTTP_CODES.get(error.status, "bad-request"), detail, headers=headers)
