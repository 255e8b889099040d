"""Redis through the proxy, seen by redis-py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.chaos import ChaosproxyServer

pytestmark = pytest.mark.real_server


@contextmanager
def client_of(port: int, timeout: float = 60.0) -> Iterator[redis.Redis]:
    """A client that gives up at the first failure: retries would hide what the proxy did."""
    client = redis.Redis(host="127.0.0.1", port=port, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))
    try:
        yield client
    finally:
        client.close()


def test_a_pipeline_pays_the_latency_once(chaosproxy_server: ChaosproxyServer, redis_port: int) -> None:
    with client_of(chaosproxy_server.add_proxy("cache", redis_port)) as client:
        client.ping()
        chaosproxy_server.inject("cache", type="latency", delay="50ms")
        began = time.monotonic()
        pipeline = client.pipeline(transaction=False)
        for number in range(500):
            pipeline.set(f"key{number}", number)
            pipeline.get(f"key{number}")
        answers = pipeline.execute()
        took = time.monotonic() - began
    assert answers == [answer for number in range(500) for answer in (True, str(number).encode())]
    assert 0.050 <= took < 1000 * 0.050 / 5, "a fifth of one latency for each command"


def test_a_pipeline_survives_slices_of_a_few_bytes(chaosproxy_server: ChaosproxyServer, redis_port: int) -> None:
    port = chaosproxy_server.add_proxy("cache", redis_port)
    chaosproxy_server.inject("cache", type="slicer", direction="both", size="7B", variation="6B")
    value = bytes(range(256)) * 8
    with client_of(port) as client:
        pipeline = client.pipeline()
        for number in range(20):
            pipeline.set(f"sliced{number}", value)
            pipeline.get(f"sliced{number}")
        assert pipeline.execute() == [True, value] * 20


def test_a_reset_is_a_connection_error(chaosproxy_server: ChaosproxyServer, redis_port: int) -> None:
    port = chaosproxy_server.add_proxy("cache", redis_port)
    with client_of(port) as client:
        client.ping()
        chaosproxy_server.inject("cache", type="reset")
        with pytest.raises(redis.ConnectionError, match="reset by peer"):
            client.ping()
    chaosproxy_server.heal()
    with client_of(port) as client:
        assert client.ping() is True


def test_a_stall_is_a_timeout_error(chaosproxy_server: ChaosproxyServer, redis_port: int) -> None:
    port = chaosproxy_server.add_proxy("cache", redis_port)
    with client_of(port, timeout=0.4) as client:
        client.ping()
        chaosproxy_server.inject("cache", type="stall")
        began = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            client.get("key")
        assert time.monotonic() - began >= 0.4
        chaosproxy_server.heal()
        assert client.ping() is True


def test_what_a_stall_held_arrives_when_it_heals(chaosproxy_server: ChaosproxyServer, redis_port: int) -> None:
    port = chaosproxy_server.add_proxy("cache", redis_port)
    with client_of(port) as client:
        client.set("held", "safe")
        began = time.monotonic()
        chaosproxy_server.inject("cache", type="stall", ttl="300ms")
        assert client.get("held") == b"safe"
        assert time.monotonic() - began >= 0.3


def test_what_happened_is_counted(chaosproxy_server: ChaosproxyServer, redis_port: int) -> None:
    port = chaosproxy_server.add_proxy("cache", redis_port)
    with client_of(port) as client:
        client.ping()
        assert 'chaosproxy_connections{proxy="cache"} 1.0' in chaosproxy_server.metrics()
