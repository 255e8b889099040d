"""Real HTTP clients of many makes, each asking the same things on one keep-alive connection and telling what it saw."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp

from tests.servers.http.recorder import alike
from tests.servers.http.sites import needs
from tests.servers.processes import HOST, find

__all__ = ["CLIENTS", "SECONDS", "Ask", "Saw", "curl", "told_by_curl"]

HERE = Path(__file__).parent
SECONDS = 30.0


@dataclass(frozen=True)
class Ask:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    chunked: bool = False


@dataclass(frozen=True)
class Saw:
    """What a client saw of the answer: where it tells of fields one by one, they are in order."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, status: int, fields: Sequence[tuple[str, str]], body: bytes) -> Saw:
        kept = tuple((name, "now" if name.lower() == "date" else text) for name, text in fields)
        return cls(status, kept, alike(body))

    def without(self, name: str) -> tuple[Saw, int]:
        """The same without the fields of that name, and how many there were."""
        kept = tuple(one for one in self.fields if one[0].lower() != name)
        return Saw(self.status, kept, self.body), len(self.fields) - len(kept)


def halves(body: bytes) -> list[bytes]:
    return [body[: len(body) // 2], body[len(body) // 2 :]]


def with_aiohttp(port: int, asks: Sequence[Ask]) -> list[Saw]:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for half in halves(body):
            yield half

    async def main() -> list[Saw]:
        seen = []
        limit = aiohttp.ClientTimeout(total=SECONDS)
        async with aiohttp.ClientSession(f"http://{HOST}:{port}", timeout=limit) as session:
            for ask in asks:
                data = pieces(ask.body) if ask.chunked and ask.body is not None else ask.body
                async with session.request(
                    ask.method, ask.path, headers=ask.headers, data=data, allow_redirects=False
                ) as answer:
                    body = await answer.read()
                    fields = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in answer.raw_headers]
                    seen.append(Saw.of(answer.status, fields, body))
        return seen

    return asyncio.run(main())


def with_httpx(port: int, asks: Sequence[Ask]) -> list[Saw]:
    needs("httpx")
    import httpx

    seen = []
    with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=SECONDS, trust_env=False) as client:
        for ask in asks:
            content = iter(halves(ask.body)) if ask.chunked and ask.body is not None else ask.body
            answer = client.request(ask.method, ask.path, headers=dict(ask.headers), content=content)
            fields = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in answer.headers.raw]
            seen.append(Saw.of(answer.status_code, fields, answer.content))
    return seen


def with_requests(port: int, asks: Sequence[Ask]) -> list[Saw]:
    needs("requests")
    import requests

    seen = []
    with requests.Session() as session:
        session.trust_env = False
        for ask in asks:
            data: Iterator[bytes] | bytes | None = ask.body
            if ask.chunked and ask.body is not None:
                data = iter(halves(ask.body))
            answer = session.request(
                ask.method, f"http://{HOST}:{port}{ask.path}", headers=dict(ask.headers), data=data, timeout=SECONDS
            )  # follows redirects
            fields = [*answer.raw.headers.items()]
            seen.append(Saw.of(answer.status_code, fields, answer.content))
            seen += [Saw.of(one.status_code, [*one.raw.headers.items()], one.content) for one in answer.history]
    return seen


def with_node(port: int, asks: Sequence[Ask]) -> list[Saw]:
    """The body of a chunked request has a trailer."""

    def plain(ask: Ask) -> dict[str, object]:
        body = None if ask.body is None else base64.b64encode(ask.body).decode()
        return {**asdict(ask), "body": body, "trailers": {"X-Sum": "42"} if ask.chunked else {}}

    told = subprocess.run(
        [find("node"), str(HERE / "asks.js"), str(port)], input=json.dumps([plain(ask) for ask in asks]),
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    seen = json.loads(told.stdout)
    return [
        Saw.of(one["status"], [(name, text) for name, text in one["fields"]], base64.b64decode(one["body"]))
        for one in seen
    ]


def with_curl(port: int, asks: Sequence[Ask]) -> list[Saw]:
    """All with one call, on one connection; the heads are told as they came, 100 Continue and all."""
    words: list[str] = []
    for ask in asks:
        words += ["--next"] if words else []
        words += ["--silent", "--show-error", "--include", "--max-time", str(SECONDS)]
        words += ["--head"] if ask.method == "HEAD" else ["--request", ask.method]
        for name, text in {**ask.headers, **({"Transfer-Encoding": "chunked"} if ask.chunked else {})}.items():
            words += ["--header", f"{name}: {text}"]
        words += [] if ask.body is None else ["--data-binary", ask.body.decode("ascii")]
        words += [f"http://{HOST}:{port}{ask.path}"]
    return [Saw(0, *told_by_curl(curl(*words)))]


def curl(*words: str, said: bytes | None = None) -> bytes:
    told = subprocess.run([find("curl"), *words], input=said, capture_output=True, timeout=SECONDS)
    assert told.returncode == 0, told.stderr
    return told.stdout


def told_by_curl(output: bytes) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """The fields of all heads, and all there was without them; bodies of the site have no line like a field's."""
    fields, rest = [], []
    for line in alike(output).splitlines(keepends=True):
        name, colon, text = line.rstrip(b"\r\n").partition(b": ")
        if colon and line.endswith(b"\r\n") and name.replace(b"-", b"").isalnum():
            fields.append((name.decode("latin-1"), text.decode("latin-1")))
        else:
            rest.append(line)
    return tuple(fields), b"".join(rest)


CLIENTS: dict[str, Callable[[int, Sequence[Ask]], list[Saw]]] = {
    "aiohttp": with_aiohttp,
    "httpx": with_httpx,
    "requests": with_requests,
    "curl": with_curl,
    "node": with_node,
}
