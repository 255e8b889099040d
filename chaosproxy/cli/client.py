"""A small client of the native REST API. It uses the standard library alone, so that commands start fast.

    Client      one running chaosproxy: `get`, `post`, `put` and `delete` of JSON, and `stream` of events
    Response    a response with its JSON
    Stream      a response that arrives piece by piece

Every failure is an error of `cli.exits` that ends the command, except the loss of a stream that has begun: its reader
decides whether to resume.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from chaosproxy.cli.exits import BadInput, CannotReach, Described
from chaosproxy.text import escaped

__all__ = ["DEFAULT_URL", "Client", "ConnectionLost", "Response", "Stream"]

DEFAULT_URL = "http://127.0.0.1:8474"
_TIMEOUT_S = 10.0
_STREAM = "text/event-stream"
_PIECE = 64 * 1024
_PAGED = {"status": ("proxies",), "nodes": ("nodes", "reach")}
"""The keys that come in pages, by the last part of the path; any other list has the name of its path."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the server."""

    status: int
    body: Any
    """Parsed JSON; None for an empty body."""


class Stream:
    """A response that arrives piece by piece."""

    def __init__(self, response: HTTPResponse, sock: socket) -> None:
        self._response = response
        self._socket = sock
        self.run = response.headers.get("Chaosproxy-Run", "")
        """Differs after a restart of the server, which numbers events from 1 again."""

    def chunks(self) -> Iterator[bytes]:
        """Yield what arrives, until the regular end of the response.

        :raises ConnectionLost: the connection ended before.
        """
        while True:
            try:
                chunk = self._response.read1(_PIECE)
            except (OSError, HTTPException) as error:
                raise ConnectionLost(getattr(error, "strerror", None) or type(error).__name__) from None
            if not chunk:
                return
            yield chunk

    def interrupt(self) -> None:
        """End `chunks` from another thread."""
        with suppress(OSError):  # it has ended already
            self._socket.shutdown(SHUT_RDWR)


class ConnectionLost(Exception):
    """The connection ended before the end of the response."""


class Client:
    """Send requests to one running chaosproxy; every failure ends the command with an error for the user."""

    def __init__(self, url: str, token: str | None) -> None:
        """
        :raises BadInput: the URL is not an http or https URL.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            message = f"--url {url!r} is not the URL of a server; use a URL such as {DEFAULT_URL}"
            raise BadInput(message, code="malformed")
        self.url = url
        self._connection: type[HTTPConnection] = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port, self._prefix = parts.hostname, port, parts.path.rstrip("/")
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def get(self, *path: str, query: Sequence[tuple[str, str]] = ()) -> Response:
        """GET the resource at `/v1/…`, with all of its pages."""
        response = self._ask("GET", path, query=query)
        body, keys = response.body, _PAGED.get(path[-1], path[-1:])
        while isinstance(body, dict) and (following := body.pop("next", None)):
            page = self._send("GET", f"{self._prefix}{following}").body
            for key in keys:
                body[key] = [*body[key], *page[key]] if isinstance(page[key], list) else {**body[key], **page[key]}
            if "next" in page:
                body["next"] = page["next"]
        return response

    def post(self, *path: str, body: Mapping[str, object]) -> Response:
        """POST to the resource at `/v1/…`."""
        return self._ask("POST", path, body)

    def put(self, *path: str, body: Mapping[str, object]) -> Response:
        """PUT the resource at `/v1/…`."""
        return self._ask("PUT", path, body)

    def delete(self, *path: str, query: Sequence[tuple[str, str]] = ()) -> Response:
        """DELETE the resource at `/v1/…`."""
        return self._ask("DELETE", path, query=query)

    def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        body: Mapping[str, object] | None = None,
        query: Sequence[tuple[str, str]] = (),
    ) -> Response:
        return self._send(method, self._target(path, query), body)

    def _target(self, path: Sequence[str], query: Sequence[tuple[str, str]]) -> str:
        target = "/".join([self._prefix, "v1", *(quote(part, safe="") for part in path)])
        return f"{target}?{urlencode(query)}" if query else target

    def _send(self, method: str, target: str, body: Mapping[str, object] | None = None) -> Response:
        """
        :raises CannotReach: nothing responds at the URL, or it is not a chaosproxy.
        :raises BadInput: the server refused the request; each problem is shown with its field.
        """
        payload = None if body is None else json.dumps(body).encode()
        headers = self._headers if payload is None else {**self._headers, "Content-Type": "application/json"}
        connection = self._connection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, target, payload, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        parsed = self._parsed(text)
        if response.status >= 400:
            raise _refusal(method, target, response.status, parsed, "Authorization" in self._headers)
        return Response(response.status, parsed)

    @contextmanager
    def stream(self, *path: str, query: Sequence[tuple[str, str]], last_id: str, silence_s: float) -> Iterator[Stream]:
        """Open the stream of events at `/v1/…`, after the event with `last_id` if that is not empty.

        A silence of `silence_s` seconds counts as the loss of the connection.

        :raises CannotReach: nothing responds at the URL, or it is not a chaosproxy.
        :raises BadInput: the server refused the request; each problem is shown with its field.
        """
        target = self._target(path, query)
        headers = {**self._headers, "Accept": _STREAM} | ({"Last-Event-ID": last_id} if last_id else {})
        connection = self._connection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            try:
                connection.request("GET", target, None, headers)
                sock = connection.sock
                response = connection.getresponse()
                text = response.read() if response.status >= 400 else b""
            except (OSError, HTTPException) as error:
                raise self._unreachable(error) from None
            if response.status >= 400:
                raise _refusal("GET", target, response.status, self._parsed(text), "Authorization" in self._headers)
            if response.headers.get_content_type() != _STREAM:
                raise self._stranger("a stream of events")
            sock.settimeout(silence_s)
            yield Stream(response, sock)
        finally:
            connection.close()

    def _unreachable(self, error: Exception) -> CannotReach:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return CannotReach(
            f"no chaosproxy responds at {self.url} ({reason});\n"
            "  start one with `chaosproxy serve CONFIG`, or choose another with --url or CHAOSPROXY_URL"
        )

    def _stranger(self, missing: str) -> CannotReach:
        message = f"the server at {self.url} is not a chaosproxy: it did not send {missing}; use another --url"
        return CannotReach(message)

    def _parsed(self, text: bytes) -> object:
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError:
            raise self._stranger("JSON") from None


def _refusal(method: str, target: str, status: int, problem: object, has_token: bool) -> BadInput:
    """Return the error for a problem document of the server (RFC 9457); `has_token` if the request had a token."""
    if not isinstance(problem, Mapping):
        return BadInput(f"the server refused {method} {target} with status {status}", code="bad-request")
    code = str(problem.get("code") or "bad-request")
    if status == 401:
        message = "does not accept this token; use another" if has_token else "requires a token; use"
        return BadInput(f"the server {message} --token, or set CHAOSPROXY_TOKEN", code=code)
    errors: list[Described] = [
        {key: escaped(str(error.get(key) or "")) for key in ("path", "code", "message")}
        for error in problem.get("errors") or ()
        if isinstance(error, Mapping)
    ]
    # The detail of a problem with fields repeats the fields, so only one of the two is shown: the fields of
    # wrong input, or of input that contradicts what runs; and the detail of other conflicts, which names the proxy.
    if status == 409 and code != "conflict":
        errors = []
    headline = "the server refused the request" if errors else problem.get("detail") or problem.get("title")
    message = str(headline or f"the server refused {method} {target} with status {status}")
    return BadInput(escaped(message), errors, code)
