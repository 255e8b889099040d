"""PostgreSQL through the proxy, seen by psycopg."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.servers.chaos import ChaosproxyServer

pytestmark = pytest.mark.real_server

COPY_BYTES = 50_000_000
LINE = 1000


def connect(port: int, timeout: int = 60) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", dbname="postgres", autocommit=True,
        connect_timeout=timeout, sslmode="disable", gssencmode="disable",
    )  # fmt: skip


def seconds_per_query(connection: psycopg.Connection[tuple[object, ...]], queries: int = 5) -> list[float]:
    took = []
    for _ in range(queries):
        began = time.monotonic()
        assert connection.execute("SELECT 42").fetchone() == (42,)
        took.append(time.monotonic() - began)
    return took


@pytest.mark.slow
def test_a_query_under_100_ms_latency_takes_100_ms_more(
    chaosproxy_server: ChaosproxyServer, postgres_port: int
) -> None:
    port = chaosproxy_server.add_proxy("db", postgres_port)
    with connect(port) as connection:
        chaosproxy_server.inject("db", type="latency", delay="100ms")
        assert min(seconds_per_query(connection)) >= 0.100
        samples = chaosproxy_server.metrics().splitlines()
        count, total = (
            float(line.split()[-1])
            for kind in ("count", "sum")
            for line in samples
            if line.startswith(f"chaosproxy_injected_delay_seconds_{kind}{{")
        )
        assert (count, total) == (5, pytest.approx(0.5)), "no answer is delayed by more, or twice"
        chaosproxy_server.heal()
        assert min(seconds_per_query(connection)) < 0.100


@pytest.mark.slow
def test_statement_timeout_is_the_servers_and_knows_nothing_of_the_network(
    chaosproxy_server: ChaosproxyServer, postgres_port: int
) -> None:
    port = chaosproxy_server.add_proxy("db", postgres_port)
    with connect(port) as connection:
        connection.execute("SET statement_timeout = '200ms'")
        chaosproxy_server.inject("db", type="latency", delay="400ms")
        assert connection.execute("SELECT 42").fetchone() == (42,)
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            connection.execute("SELECT pg_sleep(30)")
        assert time.monotonic() - began >= 0.600


@pytest.mark.slow
def test_connect_timeout_ends_a_connection_to_a_server_that_hangs(
    chaosproxy_server: ChaosproxyServer, postgres_port: int
) -> None:
    port = chaosproxy_server.add_proxy("db", postgres_port)
    chaosproxy_server.inject("db", type="stall")
    began = time.monotonic()
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        connect(port, timeout=2)
    assert time.monotonic() - began >= 1.9
    chaosproxy_server.heal()
    with connect(port) as connection:
        assert seconds_per_query(connection, 1)


def test_refuse_is_a_refused_connection(chaosproxy_server: ChaosproxyServer, postgres_port: int) -> None:
    port = chaosproxy_server.add_proxy("db", postgres_port)
    with connect(port) as connection:
        chaosproxy_server.inject("db", type="refuse", existing="keep")
        with pytest.raises(psycopg.OperationalError, match="refused"):
            connect(port)
        assert seconds_per_query(connection, 1)
        chaosproxy_server.heal()
    with connect(port) as connection:
        assert seconds_per_query(connection, 1)


@pytest.mark.slow
def test_50_mb_of_copy_are_byte_exact_while_faults_come_and_go(
    chaosproxy_server: ChaosproxyServer, postgres_port: int
) -> None:
    port = chaosproxy_server.add_proxy("db", postgres_port)
    line = LINE - 1
    text = os.urandom(COPY_BYTES // 2).hex().encode()
    lines = b"".join(text[at : at + line] + b"\n" for at in range(0, COPY_BYTES - line, line))
    came_back = None
    with connect(port) as connection, toggling_faults(chaosproxy_server, "db") as changes:
        connection.execute("CREATE TEMPORARY TABLE lines (number serial, line text)")
        with connection.cursor() as cursor:
            with cursor.copy("COPY lines (line) FROM STDIN") as copy:
                for at in range(0, len(lines), 1 << 20):
                    copy.write(lines[at : at + (1 << 20)])
            while len(changes) <= 20 or came_back is None:
                came_back = hashlib.sha256()
                with cursor.copy("COPY (SELECT line FROM lines ORDER BY number) TO STDOUT") as copy:
                    for block in copy:
                        came_back.update(block)
                assert came_back.digest() == hashlib.sha256(lines).digest()


@contextmanager
def toggling_faults(server: ChaosproxyServer, proxy: str) -> Iterator[list[str]]:
    """Slices and jitters, put, changed and removed every few milliseconds; the list grows with each change."""
    faults = [
        {"name": "slices", "type": "slicer", "direction": "both", "size": "8KiB", "variation": "3KiB"},
        {"name": "jitter", "type": "latency", "direction": "both", "delay": "2ms", "jitter": "2ms"},
        {"name": "slices", "type": "slicer", "direction": "both", "size": "32KiB"},
        {"name": "jitter", "type": "latency", "direction": "both", "delay": "5ms"},
    ]
    done: list[str] = []
    over = threading.Event()

    def toggle() -> None:
        for number in itertools.count():
            if over.wait(0.005):
                return
            if number % 5 == 4:
                server.heal()
            else:
                server.inject(proxy, **faults[number % 5])
            done.append("changed")

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join(60.0)
