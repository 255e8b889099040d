"""Real HTTP servers of many makes, all showing the site of shown.py, or near enough."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.backends import as_server_user, directory_of
from tests.servers.http.shown import LARGE
from tests.servers.processes import HOST, do_without, find, started

__all__ = ["SITES", "needs", "site"]

ROOT = Path(__file__).parent.parent.parent.parent
HERE = Path(__file__).parent


def needs(module: str) -> str:
    """That Python module; where it is missing the test is skipped, and with CI=true it fails."""
    if importlib.util.find_spec(module) is None:
        do_without(f"{module} is not installed; `pip install -e .[dev]` installs it")
    return module


def _aiohttp(directory: Path) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", "tests.servers.http.shown", str(port)]


def _gunicorn(directory: Path) -> Callable[[int], list[str]]:
    words = ["--worker-class", "gthread", "--threads", "4", "--keep-alive", "60", "--worker-tmp-dir", str(directory)]
    words += ["--no-control-socket"] if _has_control_socket() else []
    return lambda port: [
        sys.executable, "-m", needs("gunicorn"), "--bind", f"{HOST}:{port}", *words, "tests.servers.http.shown:wsgi",
    ]  # fmt: skip


def _has_control_socket() -> bool:
    return importlib.util.find_spec("gunicorn.ctl") is not None


def _uvicorn(parser: str) -> Callable[[Path], Callable[[int], list[str]]]:
    words = ["--http", parser, "--no-access-log", "--timeout-keep-alive", "60", "tests.servers.http.shown:asgi"]
    needed = ("uvicorn", parser)

    def of(directory: Path) -> Callable[[int], list[str]]:
        for module in needed:
            needs(module)
        return lambda port: [sys.executable, "-m", "uvicorn", "--host", HOST, "--port", str(port), *words]

    return of


def _node(directory: Path) -> Callable[[int], list[str]]:
    program = find("node")
    return lambda port: [program, str(HERE / "shown.js"), str(port)]


def _nginx(directory: Path) -> Callable[[int], list[str]]:
    program = find("nginx")
    (directory / "small").write_bytes(b"hello\n")
    (directory / "large").write_bytes(LARGE)
    (directory / "cached").write_bytes(b"as before\n")
    (directory / "squeezed.txt").write_bytes(b"squeezed " * 500)

    def command(port: int) -> list[str]:
        file = directory / "nginx.conf"
        file.write_text(_NGINX.format(directory=directory, port=port, user=as_server_user()))
        return [program, "-p", str(directory), "-c", str(file), "-e", "stderr"]

    return command


_NGINX = """\
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_timeout 60s;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    types {{ text/plain txt; }}
    gzip on;
    gzip_types text/plain;
    server {{
        listen 127.0.0.1:{port};
        root {directory};
        absolute_redirect off;
        location = /old {{ return 302 /small; }}
        location = /none {{ return 204; }}
        location = /zipped {{ try_files /squeezed.txt =404; }}
        location = /twice {{ add_header Set-Cookie a=1; add_header Set-Cookie b=2; return 200 "two of a kind\\n"; }}
        # Through itself: then it reads all of the request before it answers, and some clients close when it does not.
        location = /echo {{ proxy_pass http://127.0.0.1:{port}/echoed; }}
        location = /echoed {{ return 200 "$request_method $content_length\\n"; }}
    }}
}}
"""

SITES: dict[str, Callable[[Path], Callable[[int], list[str]]]] = {
    "nginx": _nginx,
    "aiohttp": _aiohttp,
    "gunicorn": _gunicorn,
    "uvicorn-httptools": _uvicorn("httptools"),
    "uvicorn-h11": _uvicorn("h11"),
    "node": _node,
}


@contextmanager
def site(name: str) -> Iterator[int]:
    """That server, running; gives its port."""
    with directory_of() as directory:
        command = SITES[name](directory)
        with started(command, directory, environment={"PYTHONPATH": str(ROOT)}) as port:
            yield port
