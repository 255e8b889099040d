"""PostgreSQL, Redis and nginx as upstreams: each on a free loopback port, its files in a temporary directory."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import HOST, find, started

__all__ = ["Web", "as_server_user", "as_user", "directory_of", "postgres", "postgres_answers", "redis", "web"]

BIG_FILE_BYTES = 100_000_000


@contextmanager
def postgres() -> Iterator[int]:
    """A PostgreSQL that trusts user `postgres` on loopback; gives its port."""
    initdb, server = find("initdb"), find("postgres")
    with directory_of("postgres") as directory:
        data = directory / "data"
        subprocess.run(
            [*as_user("postgres"), initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, cwd=directory, capture_output=True,
        )  # fmt: skip
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": str(directory),
            "fsync": "off",
            "full_page_writes": "off",
            "max_wal_size": "2GB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
        with started(
            lambda port: [*as_user("postgres"), server, "-D", str(data), "-p", str(port), *options],
            directory, ready=postgres_answers, sign=signal.SIGINT,
        ) as port:  # fmt: skip
            yield port


@contextmanager
def redis() -> Iterator[int]:
    """A Redis that keeps nothing on disk; gives its port."""
    server = find("redis-server")
    with directory_of() as directory:
        settings = ["--bind", HOST, "--save", "", "--appendonly", "no", "--dir", str(directory)]
        with started(lambda port: [server, "--port", str(port), *settings], directory, ready=_redis_answers) as port:
            yield port


@dataclass(frozen=True)
class Web:
    """nginx with two files: /small, which names the connection it came over, and /big."""

    port: int
    big_sha256: str
    big_bytes: int = BIG_FILE_BYTES


@contextmanager
def web() -> Iterator[Web]:
    """An nginx that serves files; its answers name the connection in `X-Connection`."""
    server = find("nginx")
    with directory_of() as directory:
        (directory / "small").write_text("hello\n")
        big = os.urandom(BIG_FILE_BYTES)
        (directory / "big").write_bytes(big)

        def command(port: int) -> list[str]:
            (directory / "nginx.conf").write_text(_NGINX.format(directory=directory, port=port, user=as_server_user()))
            return [server, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"]

        with started(command, directory) as port:
            yield Web(port, hashlib.sha256(big).hexdigest())


_NGINX = """\
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_requests 100000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {directory};
        add_header X-Connection $connection;
    }}
}}
"""


def as_server_user() -> str:
    """A line for nginx, which as root would serve as nobody, who cannot read the temporary directory."""
    return "user root;" if os.geteuid() == 0 else ""


def as_user(user: str) -> list[str]:
    """The words that run a command as `user`: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return [find("setpriv"), f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]


@contextmanager
def directory_of(user: str | None = None) -> Iterator[Path]:
    """A directory that `user` owns, below /tmp itself: pytest's own are closed to other users."""
    directory = Path(tempfile.mkdtemp(prefix="chaosproxy-test-"))
    try:
        if user is not None and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def postgres_answers(port: int) -> bool:
    ready = find("pg_isready")
    return subprocess.run([ready, "-q", "-h", HOST, "-p", str(port)], check=False).returncode == 0


def _redis_answers(port: int) -> bool:
    """Whether it answers PONG: a port that is bound is not yet a server that is ready."""
    try:
        with socket.create_connection((HOST, port), 1.0) as client:
            client.sendall(b"PING\r\n")
            return client.recv(64) == b"+PONG\r\n"
    except OSError:
        return False
