"""A storm of changes over REST: faults of every type, partitions, proxies that are switched off and on, reads."""

from __future__ import annotations

import asyncio
from random import Random

import aiohttp

from tests.soak.choices import CHOICES, LOSSLESS, choose
from tests.soak.traffic import Stop
from tests.soak.world import HTTP, LOSSLESS_PROXIES, LOSSY_PROXIES, World

__all__ = ["heal", "storm"]

_TIMEOUT = aiohttp.ClientTimeout(total=30)

_READS = ("/v1/status", "/v1/proxies", "/v1/connections", "/v1/nodes", "/v1/partitions", "/v1/fault-types",
          "/v1/openapi.json", "/metrics", "/readyz", "/v1/proxies/nobody", "/v1/proxies/lossy-0/faults")  # fmt: skip
_TLS_TYPES = [type for type in CHOICES if not type.startswith("http_")]
_STREAM_TYPES = [type for type in _TLS_TYPES if type != "tls_handshake"]
_HTTP_TYPES = [type for type in CHOICES if type != "tls_handshake"]
_REFUSALS = (400, 404, 409)
"""Statuses of changes that another one has overtaken, or that do not fit."""


async def storm(world: World, seed: int, number: int, stop: Stop) -> None:
    """Change something every few milliseconds, until `stop`."""
    dice = Random(f"storm {seed} {number}")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{world.control}", timeout=_TIMEOUT) as session:
        while not stop.is_set():
            method, path, body = _next(dice)
            try:
                async with session.request(method, path, json=body) as answer:
                    await answer.read()
                    if answer.status >= 500 and path != "/readyz":
                        world.findings.damaged.append(f"{method} {path} {body} answered {answer.status}")
                    if method != "GET" and answer.status not in _REFUSALS:
                        world.findings.changes += 1
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                # A keep-alive connection that the server closes at that moment is in order.
                if not isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
                    world.findings.damaged.append(f"{method} {path}: {error!r}")
            await asyncio.sleep(dice.expovariate(1 / 0.02))


def _next(dice: Random) -> tuple[str, str, dict[str, object] | None]:
    kind = dice.random()
    proxy = dice.choice([*LOSSLESS_PROXIES, *LOSSY_PROXIES, *HTTP])
    fault = f"/v1/proxies/{proxy}/faults/f{dice.randint(0, 3)}"
    if kind < 0.5:
        return "PUT", fault, choose(dice, _types(proxy))
    if kind < 0.75:
        return "DELETE", fault, None
    if kind < 0.85:
        return "GET", dice.choice(_READS), None
    if kind < 0.9:
        return "POST", "/v1/heal", {"proxies": [proxy]}
    if kind < 0.93:
        return "PATCH", f"/v1/proxies/{proxy}", {"queue": dice.choice(["64KiB", "256KiB", "1MiB"])}
    if kind < 0.96:
        other = dice.choice(LOSSY_PROXIES)
        return "PATCH", f"/v1/proxies/{other}", {"enabled": dice.random() < 0.7}
    if kind < 0.98:
        return "POST", "/v1/faults", {"proxies": ["lossy-*"], "name": "wide", **choose(dice, _STREAM_TYPES)}
    if kind < 0.985:
        return "POST", "/v1/heal", None
    # Checked connections survive: what a partition holds is released when it ends.
    return "POST", "/v1/partitions", {"from": ["clients"], "to": [f"{proxy.split('-')[0]}-servers"], "ttl": "200ms"}


def _types(proxy: str) -> list[str]:
    if proxy in LOSSLESS_PROXIES:
        return [*LOSSLESS]
    if proxy in HTTP:
        return _HTTP_TYPES
    return _TLS_TYPES if proxy.endswith("-tls") else _STREAM_TYPES


async def heal(world: World) -> None:
    """Remove every fault and partition, and switch every proxy on."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{world.control}", timeout=_TIMEOUT) as session:
        async with session.post("/v1/heal") as answer:
            assert answer.status in (200, 409), await answer.text()
        for proxy in LOSSY_PROXIES:
            async with session.patch(f"/v1/proxies/{proxy}", json={"enabled": True}) as answer:
                assert answer.status == 200, await answer.text()
