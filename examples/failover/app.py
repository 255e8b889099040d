"""An application that reads from PostgreSQL and fails over: python3 app.py [SECONDS] [PRIMARY_PORT] [STANDBY_PORT]

Each of eight workers has a connection and reads about four times per second. A query that takes longer than a second
is given up, and its connection with it. libpq then connects to the first of the two servers that answers within two
seconds.
"""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

WORKERS = 8
PAUSES_S = (0.05, 0.45)
"""The shortest and the longest pause between two queries of a worker."""
QUERY_TIMEOUT_S = 1.0
CONNECT_TIMEOUT_S = 2
BEGAN = time.monotonic()


def say(worker: int, words: str) -> None:
    print(f"{time.monotonic() - BEGAN:5.1f} s  worker {worker}: {words}", flush=True)


@contextmanager
def bounded(connection: psycopg.Connection, seconds: float) -> Iterator[None]:
    """Shut the connection's socket down if the block takes longer: the query then fails at once."""

    def cut() -> None:
        with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
            copy.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def connect(ports: list[str]) -> psycopg.Connection:
    return psycopg.connect(
        host=",".join("127.0.0.1" for _ in ports), port=",".join(ports), user="postgres", dbname="postgres",
        connect_timeout=CONNECT_TIMEOUT_S, sslmode="disable", gssencmode="disable", autocommit=True,
    )  # fmt: skip


def work(worker: int, ports: list[str], until: float) -> None:
    connection, port = None, ""
    while time.monotonic() < until:
        asked = time.monotonic()
        try:
            if connection is None:
                connection = connect(ports)
                if port != (port := str(connection.info.port)):
                    say(worker, f"reads from port {port}")
            with bounded(connection, QUERY_TIMEOUT_S):
                connection.execute("SELECT 1")
        except psycopg.Error:
            say(worker, f"gave up after {time.monotonic() - asked:.2f} s")
            if connection is not None:
                connection.close()
            connection = None
        else:
            time.sleep(random.uniform(*PAUSES_S))
    if connection is not None:
        connection.close()


def main(seconds: float = 60.0, *ports: str) -> None:
    until = time.monotonic() + seconds
    workers = [
        threading.Thread(target=work, args=(worker, list(ports or ("15432", "15433")), until))
        for worker in range(1, WORKERS + 1)
    ]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), *sys.argv[2:])
