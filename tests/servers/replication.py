"""A PostgreSQL primary and its streaming standby, each a process of its own, with room for a proxy between them.

The primary's port is needed to put a proxy in front of it, and the proxy's port to make the standby: hence two
context managers, to be entered in that order. Everything is on loopback, so a network namespace needs `lo` alone.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.servers.backends import as_user, directory_of, postgres_answers
from tests.servers.processes import HOST, find, started, wait_until

__all__ = ["STANDBY", "Connection", "connect", "primary", "standby"]

STANDBY = "standby"
"""What the standby calls itself, in `synchronous_standby_names` and as `application_name` in pg_stat_replication."""
SLOT = "standby_slot"
SECONDS_TO_STREAM = 15.0

Connection = psycopg.Connection[tuple[object, ...]]


@contextmanager
def primary(synchronous_standby_names: str = "") -> Iterator[int]:
    """A primary that trusts user `postgres` on loopback, for replication too; gives its port.

    Where `synchronous_standby_names` says STANDBY, what is committed before there is a standby waits for it.
    """
    with directory_of("postgres") as directory:
        data = directory / "data"
        _run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", directory=directory)
        settings = {"wal_level": "replica", "synchronous_standby_names": synchronous_standby_names}
        with _serving(directory, data, settings) as port:
            yield port


@contextmanager
def standby(through: int) -> Iterator[int]:
    """A hot standby that reaches its primary through this port; gives its own port once it streams.

    Its base backup comes the same way, so nothing may be cut there before this is entered.
    """
    with directory_of("postgres") as directory:
        data = directory / "data"
        source = (
            f"host={HOST} port={through} user=postgres application_name={STANDBY} sslmode=disable gssencmode=disable"
        )
        # --write-recovery-conf puts standby.signal there, and what was given here as primary_conninfo and slot.
        _run(
            "pg_basebackup", "-D", data, "-d", source, "--create-slot", "--slot", SLOT, "--write-recovery-conf",
            "--checkpoint=fast", "--no-sync", directory=directory,
        )  # fmt: skip
        settings = {"hot_standby": "on", "hot_standby_feedback": "off", "wal_receiver_status_interval": "1s"}
        with _serving(directory, data, settings) as port:
            with connect(port) as connection:
                wait_until(lambda: _streams(connection, through), SECONDS_TO_STREAM, "the standby streams")
            yield port


def connect(port: int) -> Connection:
    """A connection that commits each statement."""
    return psycopg.connect(
        host=HOST, port=port, user="postgres", dbname="postgres", autocommit=True,
        connect_timeout=10, sslmode="disable", gssencmode="disable",
    )  # fmt: skip


@contextmanager
def _serving(directory: Path, data: Path, settings: Mapping[str, str]) -> Iterator[int]:
    server = find("postgres")
    everywhere = {"listen_addresses": HOST, "unix_socket_directories": str(directory), "fsync": "off"}
    options = [word for name, value in {**everywhere, **settings}.items() for word in ("-c", f"{name}={value}")]
    # SIGQUIT is PostgreSQL's immediate shutdown. A fast one, of a primary, waits until its standby has confirmed all,
    # and behind a cut it never does.
    with started(
        lambda port: [*as_user("postgres"), server, "-D", str(data), "-p", str(port), *options],
        directory, ready=postgres_answers, sign=signal.SIGQUIT,
    ) as port:  # fmt: skip
        yield port


def _streams(connection: Connection, through: int) -> bool:
    row = connection.execute("SELECT status, sender_port FROM pg_stat_wal_receiver").fetchone()
    return row == ("streaming", through)


def _run(program: str, *arguments: str | Path, directory: Path) -> None:
    """Run one of PostgreSQL's programs to its end.

    :raises RuntimeError: it failed; says what it said.
    """
    words = [*as_user("postgres"), find(program), *map(str, arguments)]
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=60.0, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{program} ended with {done.returncode}:\n{done.stderr}")
