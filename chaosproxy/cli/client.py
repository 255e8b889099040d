"""A small client of the native REST API, on the standard library alone so that commands start fast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from chaosproxy.cli.exits import BadInput, CannotReach

__all__ = ["DEFAULT_URL", "Answer", "Client"]

DEFAULT_URL = "http://127.0.0.1:8474"
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: Any
    """Parsed JSON; None where there was none."""


class Client:
    """Speaks to one running chaosproxy; every failure ends the command with words for the user."""

    def __init__(self, url: str, token: str | None) -> None:
        """
        :raises BadInput: the URL is not one of http or https.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise BadInput(f"--url {url!r} is not a server's address; give one such as {DEFAULT_URL}")
        self.url = url
        self._connection: type[HTTPConnection] = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port, self._prefix = parts.hostname, port, parts.path.rstrip("/")
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def get(self, *path: str) -> Answer:
        """GET the resource at `/v1/…`."""
        return self._ask("GET", path)

    def delete(self, *path: str) -> Answer:
        """DELETE the resource at `/v1/…`."""
        return self._ask("DELETE", path)

    def post(self, *path: str, body: Mapping[str, object]) -> Answer:
        """POST to the resource at `/v1/…`."""
        return self._ask("POST", path, body)

    def put(self, *path: str, body: Mapping[str, object]) -> Answer:
        """PUT the resource at `/v1/…`."""
        return self._ask("PUT", path, body)

    def _ask(self, method: str, path: tuple[str, ...], body: Mapping[str, object] | None = None) -> Answer:
        """
        :raises CannotReach: nothing answers there, or something else than chaosproxy.
        :raises BadInput: the server refused; its problems are shown field by field.
        """
        target = "/".join([self._prefix, "v1", *(quote(part, safe="") for part in path)])
        payload = None if body is None else json.dumps(body).encode()
        headers = self._headers if payload is None else {**self._headers, "Content-Type": "application/json"}
        connection = self._connection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, target, payload, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CannotReach(
                f"no chaosproxy answers at {self.url} ({reason});\n"
                "  start one with `chaosproxy serve CONFIG`, or name another with --url or CHAOSPROXY_URL"
            ) from None
        finally:
            connection.close()
        parsed = self._parsed(text)
        if response.status >= 400:
            raise _refusal(method, target, response.status, parsed)
        return Answer(response.status, parsed)

    def _parsed(self, text: bytes) -> object:
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError:
            raise CannotReach(f"what answers at {self.url} is no chaosproxy: it did not send JSON") from None


def _refusal(method: str, target: str, status: int, problem: object) -> BadInput:
    """The server's problem+json (RFC 9457), field by field."""
    if not isinstance(problem, Mapping):
        return BadInput(f"{method} {target} was answered with status {status}")
    if status == 401:
        return BadInput("the server asks for a token; give --token or set CHAOSPROXY_TOKEN")
    errors = [error for error in problem.get("errors") or () if isinstance(error, Mapping)]
    lines = [": ".join(str(error[key]) for key in ("path", "message") if error.get(key)) for error in errors]
    # The detail of a problem with fields says the fields again, so only one of the two is shown: the
    # fields of input that is wrong, and the detail of a conflict, which names the proxy itself.
    if status == 409:
        lines = []
    headline = problem.get("title") if lines else problem.get("detail") or problem.get("title")
    return BadInput(str(headline or f"{method} {target} was answered with status {status}"), lines)
