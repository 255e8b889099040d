"""Legal requests of at most 1 MiB, each chosen to cost the server much; for tests that watch its loop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from chaosproxy.faults.latency import Latency
from chaosproxy.model import Address, Config, FaultSpec, ProxySpec

__all__ = ["FAULTS_PER_PROXY", "NODES", "REQUESTS", "Hostile", "Scene", "scene"]

Scene = Literal["empty", "ring", "many", "faulty"]
"""The proxies that run while a request is served."""

NODES = 1_000
PROXIES = 2_000
FAULTS_PER_PROXY = 200
_LARGEST = 2**20


@dataclass(frozen=True, slots=True)
class Hostile:
    """A request, and the proxies on which it costs most."""

    name: str
    scene: Scene
    method: str
    path: str
    body: bytes = b""

    def on_the_wire(self) -> bytes:
        """Return the request as a client sends it, on a connection that ends with the response."""
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if self.body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
        return head.encode() + b"\r\n" + self.body


def scene(name: Scene) -> Config:
    """Return the configuration of a scene; its proxies are disabled, so that they need no sockets."""
    off = ProxySpec(name="off", listen=Address("127.0.0.1", 0), upstream=Address("127.0.0.1", 9), enabled=False)
    match name:
        case "empty":
            return Config()
        case "ring":
            proxies = [
                replace(off, name=f"proxy-{at}", from_node=f"n{at}", to_node=f"n{(at + 1) % NODES}", service=f"s{at}")
                for at in range(NODES)
            ]
        case "many":
            slow = FaultSpec(name="slow", settings=Latency(delay=0.1))
            proxies = [replace(off, name=f"proxy-{at}", faults=(slow,)) for at in range(PROXIES)]
        case "faulty":
            slow = FaultSpec(name="slow", settings=Latency(delay=0.1))
            faults = tuple(replace(slow, name=f"slow-{at}") for at in range(FAULTS_PER_PROXY))
            proxies = [replace(off, name=f"proxy-{at}", protocol="http", faults=faults) for at in range(20)]
    return Config(proxies=tuple(proxies))


def _proxy(**settings: object) -> bytes:
    return _json({"name": "new", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "enabled": False, **settings})


def _fault(kind: str, **parameters: object) -> bytes:
    return _json({"type": kind, **parameters})


def _json(value: object) -> bytes:
    body = json.dumps(value, separators=(",", ":")).encode()
    assert len(body) <= _LARGEST, len(body)
    return body


def _names(count: int, stem: str = "n") -> list[str]:
    return [f"{stem}{number}" for number in range(count)]


def _bodies() -> Iterator[tuple[str, Scene, str, str, bytes]]:
    """Yield the requests with a body."""
    post = "POST"
    slow = {"type": "latency", "delay": "1ms"}
    yield "empty faults", "empty", post, "/v1/proxies", _proxy(faults=[{}] * 300_000)
    yield "faults without a type", "empty", post, "/v1/proxies", _proxy(faults=[{}] * 8_000)
    yield "faults without a name", "empty", post, "/v1/proxies", _proxy(faults=[slow] * 1_900)
    yield "faults by name", "empty", post, "/v1/proxies", _proxy(faults=dict.fromkeys(_names(900), slow))
    yield "most faults", "empty", post, "/v1/proxies", _proxy(faults=[slow] * FAULTS_PER_PROXY)
    yield "numbers", "empty", post, "/v1/proxies", _proxy(faults=[1] * 500_000)
    yield "unknown keys", "empty", post, "/v1/proxies", _proxy(**dict.fromkeys(_names(1_900, "k"), 1))
    yield "more unknown keys", "empty", post, "/v1/proxies", _proxy(**dict.fromkeys(_names(80_000, "k"), 1))
    twice = b"{" + b",".join(b'"k%d":1' % (n % 1_900) for n in range(1_999)) + b"}"
    yield "a key twice", "empty", post, "/v1/proxies", twice
    routes = [f"/r/{n}/{{id}}" for n in range(60_000)]
    yield "routes", "empty", post, "/v1/proxies", _proxy(protocol="http", routes=routes)
    yield "most routes", "empty", post, "/v1/proxies", _proxy(protocol="http", routes=routes[:500])
    yield "invalid routes", "empty", post, "/v1/proxies", _proxy(protocol="http", routes=["no"] * 200_000)
    yield "few invalid routes", "empty", post, "/v1/proxies", _proxy(protocol="http", routes=["no" * 30] * 900)
    yield "protocols of TLS", "empty", post, "/v1/proxies", _proxy(upstream_tls={"alpn": ["h2"] * 200_000})
    yield "a long text", "empty", post, "/v1/proxies", _proxy(service="x" * 1_000_000)
    yield "escapes", "empty", post, "/v1/proxies", b'{"name":"' + b"\\n" * 520_000 + b'"}'
    many, merged = dict.fromkeys(_names(900), slow), dict.fromkeys(_names(FAULTS_PER_PROXY, "slow-"), {"delay": "2ms"})
    yield "many faults on one port", "faulty", "PATCH", "/v1/proxies/proxy-1", _json({"faults": many})
    yield "merged faults", "faulty", "PATCH", "/v1/proxies/proxy-1", _json({"faults": merged})
    here = "/v1/proxies/proxy-1/faults"
    for field, values in {
        "method": ["GET"] * 150_000, "client": ["10.0.0.1"] * 80_000, "status": [500] * 200_000,
    }.items():  # fmt: skip
        kind = "http_abort" if field != "status" else "http_drop_response"
        yield f"match by {field}", "faulty", post, here, _fault(kind, match={field: values})
        yield f"wrong match by {field}", "faulty", post, here, _fault(kind, match={field: ["/"] * 900})
    headers = dict.fromkeys(_names(1_900, "x-"), "*" * 400)
    yield "match by headers", "faulty", post, here, _fault("http_abort", match={"headers": headers})
    yield "headers to remove", "faulty", post, here, _fault("http_headers", remove=["etag"] * 140_000)
    most = dict.fromkeys(_names(100, "x-"), "1" * 9_000)
    yield "most headers", "faulty", post, here, _fault("http_headers", set=most)
    yield "headers to set", "faulty", post, here, _fault("http_headers", set=dict.fromkeys(_names(1_900, "x-"), "1"))
    yield "a body of JSON", "faulty", post, here, _fault("http_abort", status=503, body=[[]] * 300_000)
    yield "on every proxy, named often", "many", post, "/v1/faults", _json({**slow, "proxies": ["*"] * 200_000})
    yield "on every proxy", "many", post, "/v1/faults", _json({**slow, "proxies": "*"})
    yield "on proxies by globs", "many", post, "/v1/faults", _json({**slow, "proxies": [f"*{n}*" for n in range(100)]})
    yield "on proxies by more globs", "many", post, "/v1/faults", _json({**slow, "proxies": ["*1*"] * 900})
    yield "on unknown proxies", "many", post, "/v1/faults", _json({**slow, "proxies": _names(900, "prxy-")})
    yield "on some unknown proxies", "many", post, "/v1/faults", _json({**slow, "proxies": _names(100, "prxy-")})
    yield "heal by unknown names", "many", post, "/v1/heal", _json({"proxies": _names(900, "prxy-")})
    cut = "/v1/partitions"
    yield "unknown nodes", "ring", post, cut, _json({"from": _names(90_000, "x"), "to": ["n0"]})
    yield "fewer unknown nodes", "ring", post, cut, _json({"from": _names(900, "m"), "to": ["n0"]})
    yield "unknown nodes in groups", "ring", post, cut, _json({"groups": [_names(900, "x"), ["n1"]]})
    yield "names in groups", "empty", post, cut, _json({"groups": [_names(16_000), _names(16_000, "m")]})
    yield "many groups", "ring", post, cut, _json({"groups": [[name] for name in _names(NODES)]})
    yield "two large groups", "ring", post, cut, _json({"groups": [_names(NODES)[:500], _names(NODES)[500:]]})
    yield "from all to all", "ring", post, cut, _json({"from": _names(NODES), "to": _names(NODES)})
    yield "no proxy between", "ring", post, cut, _json({"from": _names(NODES)[0:98:2], "to": _names(NODES)[200:300:2]})
    for word in ("halves", "random-halves", "bridge", "majorities-ring", "one-way-ring", "isolate:n1"):
        yield f"{word} of all", "ring", post, cut, _json({"topology": word})
    yield "majorities of some", "ring", post, cut, _json({"topology": "majorities-ring", "nodes": _names(60)})
    yield "halves of some", "ring", post, cut, _json({"topology": "halves", "nodes": _names(140)})


def _requests() -> Iterator[Hostile]:
    for name, on, method, path, body in _bodies():
        yield Hostile(name, on, method, path, body)
    for path in (
        "/v1/proxies", "/v1/status", "/v1/connections", "/v1/proxies/prxy-17", "/v1/nodes", "/metrics",
    ):  # fmt: skip
        yield Hostile(f"GET {path}", "many", "GET", path)
    for path in ("/v1/nodes", "/v1/proxies", "/v1/status", "/v1/partitions"):
        yield Hostile(f"GET {path} of a ring", "ring", "GET", path)
    for path in ("/v1/proxies", "/v1/proxies/proxy-1", "/v1/proxies/proxy-1/faults", "/v1/status", "/metrics"):
        yield Hostile(f"GET {path} with faults", "faulty", "GET", path)
    for path in ("/v1/openapi.json", "/v1/fault-types", "/v1/capabilities"):
        yield Hostile(f"GET {path}", "empty", "GET", path)
    yield Hostile("crash of an unknown node", "ring", "POST", "/v1/nodes/m17/crash")
    yield Hostile("heal everything", "many", "POST", "/v1/heal")
    yield Hostile("heal everything on few", "faulty", "POST", "/v1/heal")


REQUESTS = tuple(_requests())
