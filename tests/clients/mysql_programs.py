"""PyMySQL with known policies. See pace.py."""

from __future__ import annotations

import time
from typing import Any

import pymysql

from tests.clients.pace import Ask, Make, run


def _connect(port: int, read: float | None, connect: float) -> Any:  # Any: a generic type without stubs
    # Without TLS, whose context would take 20 ms of processor for each connection.
    return pymysql.connect(
        host="127.0.0.1", port=port, user="root", read_timeout=read, connect_timeout=connect, ssl_disabled=True
    )


def _select(connection: Any, call: int) -> None:  # Any: as above
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {call}")
        cursor.fetchall()


def _kept(read: float | None) -> Make:
    """One connection, made again when it has failed."""

    def make(ports: list[int]) -> Ask:
        kept: list[Any] = []

        def ask(call: int) -> None:
            if not kept:
                kept.append(_connect(ports[0], read, 5))
            try:
                _select(kept[0], call)
            except pymysql.Error:
                kept.pop()
                raise

        return ask

    return make


def _each(read: float | None, connect: float) -> Make:
    """A connection for each call."""

    def make(ports: list[int]) -> Ask:
        def ask(call: int) -> None:
            connection = _connect(ports[0], read, connect)
            try:
                _select(connection, call)
            finally:
                connection.close()

        return ask

    return make


def _again(read: float, pause_s: float, attempts: int) -> Make:
    """A connection for each attempt, and some attempts with equal pauses."""

    def make(ports: list[int]) -> Ask:
        once = _kept(read)(ports)

        def ask(call: int) -> None:
            for attempt in range(attempts):
                try:
                    once(call)
                    return
                except pymysql.Error:
                    if attempt + 1 == attempts:
                        raise
                time.sleep(pause_s)

        return ask

    return make


KINDS = {
    "read": _kept(0.5),
    "none": _kept(None),
    "each": _each(0.7, 5),
    "connect": _each(None, 0.6),
    "constant": _again(0.3, 0.4, 4),
}

if __name__ == "__main__":
    run(KINDS)
