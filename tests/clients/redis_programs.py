"""redis-py with known policies. See pace.py."""

from __future__ import annotations

import redis
from redis.backoff import AbstractBackoff, ConstantBackoff, ExponentialBackoff, FullJitterBackoff, NoBackoff
from redis.retry import Retry

from tests.clients.pace import Ask, Make, run


def _client(timeout: float | None, backoff: AbstractBackoff, retries: int) -> Make:
    def make(ports: list[int]) -> Ask:
        client = redis.Redis(
            port=ports[0], socket_timeout=timeout, socket_connect_timeout=5, retry=Retry(backoff, retries)
        )

        def ask(call: int) -> None:
            client.get(f"key-{call}")

        return ask

    return make


KINDS = {
    "timeout": _client(0.4, NoBackoff(), 0),
    "none": _client(None, NoBackoff(), 0),
    "constant": _client(0.25, ConstantBackoff(0.3), 3),
    "exponential": _client(0.25, ExponentialBackoff(cap=10, base=0.1), 3),
    "full_jitter": _client(0.25, FullJitterBackoff(cap=1, base=0.05), 4),
}

if __name__ == "__main__":
    run(KINDS)
