"""Generate the OpenAPI 3.1 document from the table of routes and the schemas of the declarations."""

from __future__ import annotations

import re
from http import HTTPStatus

from chaosproxy import __summary__, __version__
from chaosproxy.control.v1.event_schemas import event_schemas
from chaosproxy.control.v1.lease_schemas import lease_schemas
from chaosproxy.control.v1.routes import ROUTES, SERVER_OPERATIONS, Operation
from chaosproxy.control.v1.schemas import NAME, Json, components, reference
from chaosproxy.control.web.rendering import DEFAULT_LIMIT, LARGEST_LIMIT

__all__ = ["openapi_document"]

ALWAYS_REFUSED = (400, 401, 403)
"""Status codes that any route may respond with: invalid input, a missing token, a foreign page or policy."""
_PARAMETERS: dict[str, Json] = {"how": {"enum": ["close", "reset"]}}
_IN_PATH: dict[str, Json] = {"fault": NAME}
"""Schemas of parameters of the query, and of the path, that are not any text."""
WITH_BODY_REFUSED = (413, 415)
"""Status codes that any route with a body may respond with."""

PAGING: dict[str, Json] = {
    "limit": {
        "description": "the most items of the page",
        "schema": {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": DEFAULT_LIMIT},
    },
    "after": {
        "description": "the last item of the page before: the name, or the id of a partition, lease or connection",
        "schema": {"type": "string"},
    },
}
"""The description of query parameters of pages."""


def openapi_document() -> Json:
    """Return the whole document."""
    paths: dict[str, Json] = {}
    for id, operation in ({route.handler.__name__: route for route in ROUTES} | SERVER_OPERATIONS).items():
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(id, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chaosproxy",
            "version": __version__,
            "description": f"{__summary__}.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components() | event_schemas() | lease_schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(id: str, route: Operation) -> Json:
    operation: Json = {
        "operationId": id,
        "summary": route.summary,
        "parameters": [
            *_path_parameters(route.path),
            *(_parameter(name, "query") for name in route.query),
            *route.parameters,
        ],
        "responses": {str(status): _answer(status, route) for status in route.gives} | _refusals(route),
    }
    if route.takes is not None:
        content = {"application/json": {"schema": reference(route.takes)}}
        operation["requestBody"] = {"required": route.needs_body, "content": content}
    return operation


def _answer(status: int, route: Operation) -> Json:
    answer: Json = {"description": HTTPStatus(status).phrase}
    schema = route.gives[status]
    if schema is not None:
        answer["content"] = {route.media: {"schema": reference(schema)}}
    elif status == HTTPStatus.OK:
        answer["content"] = {route.media: {"schema": {"type": "string"}}}
    if status == HTTPStatus.CREATED and route.has_location:
        location = {"schema": {"type": "string"}, "description": "the address of the new resource"}
        answer["headers"] = {"Location": location}
    return answer


def _refusals(route: Operation) -> Json:
    statuses = (*ALWAYS_REFUSED, *route.refuses, *(WITH_BODY_REFUSED if route.takes else ()))
    content = {"application/problem+json": {"schema": reference("Problem")}}
    return {str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in sorted(statuses)}


def _path_parameters(path: str) -> list[Json]:
    return [_parameter(name, "path") for name in re.findall(r"{(\w+)}", path)]


def _parameter(name: str, where: str) -> Json:
    schema = (_IN_PATH if where == "path" else _PARAMETERS).get(name, {"type": "string"})
    parameter = {"name": name, "in": where, "required": where == "path", "schema": schema}
    return parameter | (PAGING[name] if where == "query" and name in PAGING else {})
