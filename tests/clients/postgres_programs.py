"""psycopg, libpq, psycopg_pool and SQLAlchemy with known policies. See pace.py."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy
import tenacity
from psycopg_pool import ConnectionPool

from tests.clients.pace import Ask, Make, run

Connection = psycopg.Connection[Any]  # Any: rows of all types


def _words(ports: list[int], settings: dict[str, object]) -> dict[str, Any]:  # Any: keywords of connect()
    hosts = ",".join("127.0.0.1" for _ in ports)
    usual: dict[str, object] = {
        "host": hosts, "port": ",".join(map(str, ports)), "user": "postgres", "dbname": "postgres",
        "sslmode": "disable", "gssencmode": "disable", "connect_timeout": 5,
    }  # fmt: skip
    return usual | settings


@contextmanager
def _bounded(connection: Connection, seconds: float | None) -> Iterator[None]:
    """Shut the connection's socket down if the block takes longer: the query then fails at once."""

    def cut() -> None:
        with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
            copy.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds or 0.0, cut)
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _kept(deadline_s: float | None, **settings: object) -> Make:
    """One connection, made again when it has failed; a query has a deadline at which its socket is shut down."""

    def make(ports: list[int]) -> Ask:
        kept: list[Connection] = []

        def ask(call: int) -> str:
            if not kept:
                kept.append(psycopg.connect(**_words(ports, settings), autocommit=True))
            connection = kept[0]
            port = str(connection.info.port)
            try:
                with _bounded(connection, deadline_s):
                    connection.execute(f"SELECT {call}")
            except psycopg.Error:
                connection.close()
                kept.pop()
                raise
            return port

        return ask

    return make


def _cancelled(deadline_s: float) -> Make:
    """An asyncio task that is cancelled at a deadline: psycopg then asks the server to cancel the query."""

    def make(ports: list[int]) -> Ask:
        loop = asyncio.new_event_loop()
        kept: list[psycopg.AsyncConnection[Any]] = []  # Any: rows of all types

        async def once(call: int) -> None:
            if not kept:
                kept.append(await psycopg.AsyncConnection.connect(**_words(ports, {}), autocommit=True))
            try:
                async with asyncio.timeout(deadline_s):
                    await kept[0].execute(f"SELECT {call}")
            except (psycopg.Error, TimeoutError):
                await kept.pop().close()
                raise

        def ask(call: int) -> None:
            loop.run_until_complete(once(call))

        return ask

    return make


def _retried(deadline_s: float) -> Make:
    """tenacity: four attempts with pauses of 0.3 s, each with a connection of its own if the last one failed."""
    wait, stop = tenacity.wait_fixed(0.3), tenacity.stop_after_attempt(4)

    def make(ports: list[int]) -> Ask:
        again: Ask = tenacity.retry(wait=wait, stop=stop, reraise=True)(_kept(deadline_s, connect_timeout=2)(ports))
        return again

    return make


def _pool(is_checked: bool) -> Make:
    """A pool of two connections, which checks a connection before it gives it out, or does not."""

    def make(ports: list[int]) -> Ask:
        check = ConnectionPool.check_connection if is_checked else None
        pool = ConnectionPool(
            kwargs=_words(ports, {}) | {"autocommit": True}, min_size=2, max_size=2, timeout=5, check=check, open=True
        )

        def ask(call: int) -> None:
            with pool.connection() as connection:
                connection.execute(f"SELECT {call}")

        return ask

    return make


def _engine(pre_ping: bool) -> Make:
    """SQLAlchemy's pool of two connections, with pre-ping or without."""

    def make(ports: list[int]) -> Ask:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{ports[0]}/postgres"
        words = {"sslmode": "disable", "gssencmode": "disable", "connect_timeout": 5}
        engine = sqlalchemy.create_engine(
            url, pool_size=2, max_overflow=0, pool_pre_ping=pre_ping, connect_args=words, isolation_level="AUTOCOMMIT"
        )

        def ask(call: int) -> None:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"SELECT {call}")

        return ask

    return make


KINDS = {
    "shut_down": _kept(0.5, connect_timeout=2),
    "cancelled": _cancelled(0.5),
    "statement": _kept(None, options="-c statement_timeout=300", tcp_user_timeout=500),
    "retried": _retried(0.4),
    "any": _kept(0.4, connect_timeout=2),
    "read_write": _kept(0.4, connect_timeout=2, target_session_attrs="read-write"),
    "pool": _pool(is_checked=False),
    "pool_checked": _pool(is_checked=True),
    "engine": _engine(pre_ping=False),
    "engine_pre_ping": _engine(pre_ping=True),
}

if __name__ == "__main__":
    run(KINDS)
