"""MariaDB as an upstream, on a free loopback port, its files in a temporary directory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.backends import directory_of
from tests.servers.processes import HOST, find, started

__all__ = ["mariadb"]

SMALL = {
    "innodb-buffer-pool-size": "8M",
    "innodb-log-file-size": "4M",
    "innodb-flush-log-at-trx-commit": "0",
    "performance-schema": "0",
}


@contextmanager
def mariadb() -> Iterator[int]:
    """A MariaDB without tables that lets everybody in as `root`; gives its port.

    It needs no system tables, which take longer to make than the server to start, as long as nobody checks grants.
    """
    server = find("mariadbd")
    with directory_of() as directory:
        (directory / "data" / "mysql").mkdir(parents=True)
        settings = SMALL | {
            "datadir": str(directory / "data"),
            "socket": str(directory / "socket"),
            "pid-file": str(directory / "pid"),
            "bind-address": HOST,
        }
        # It refuses to run as root unless it is told to.
        words = ["--user=root"] if os.geteuid() == 0 else []
        words += [f"--{name}={value}" for name, value in settings.items()]
        with started(
            lambda port: [server, "--no-defaults", "--skip-grant-tables", f"--port={port}", *words],
            directory, ready=_greets,
        ) as port:  # fmt: skip
            yield port


def _greets(port: int) -> bool:
    """Whether it speaks first, as a MySQL server does once it is ready: protocol 10, in the fifth byte."""
    try:
        with socket.create_connection((HOST, port), 1.0) as client:
            return client.recv(64)[4:5] == b"\x0a"
    except OSError:
        return False
