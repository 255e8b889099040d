"""A tour of the product, during which every call that may block the loop is reported.

    python -m tests.tour LOOP DIRECTORY      prints one JSON list: what blocked, and where

A program with an audit hook (PEP 578) runs chaosproxy in its main thread, and a guest of it in another one.
Python reports each `open`, `connect`, name lookup and child process to the hook, which notes those
that happen in a callback of the loop. So the result does not depend on the speed of the machine. Audit hooks
cannot be removed: that is why this is a program of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import cast

import yaml

import chaosproxy
from chaosproxy.app import LoopName, run_on, running
from chaosproxy.certs import make_certs
from chaosproxy.config import load
from chaosproxy.model.types import FAULT_TYPES

LONG = 30.0
PACKAGE = str(Path(chaosproxy.__file__).parent) + "/"
BLOCKING = {
    "open", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr",
    "socket.getnameinfo", "subprocess.Popen", "os.system", "os.listdir", "os.scandir", "os.remove",
    "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.posix_spawn", "os.exec",
    "os.fork", "tempfile.mkstemp", "shutil.copyfile", "ftplib.connect", "urllib.Request", "http.client.connect",
}  # fmt: skip
"""Audit events of calls that wait for a disk, a network or another process."""
HARMLESS = {
    ("os.remove", "net/sockets/binding.py"): "the file of a unix socket of ours",
    ("open", "net/sockets/binding.py"): "the same file, only to keep its inode (O_PATH)",
    ("open", "control/limits.py"): "a variable of the kernel, once",
}
"""Events that a module may cause, with the reason; docs/architecture.md lists them."""

found: list[str] = []
watched: int | None = None
"""The loop's thread while the tour goes on."""


def hook(event: str, args: tuple[object, ...]) -> None:
    if watched is None or event not in BLOCKING or threading.get_ident() != watched:
        return
    if asyncio._get_running_loop() is None or (event == "socket.connect" and not blocks(args[0])):
        return
    stack = frames()
    own = next(((file, line, name) for file, line, name in stack if file.startswith(PACKAGE)), None)
    if own is None or any(event == one and own[0].endswith(place) for one, place in HARMLESS):
        return
    is_import = any(file.startswith("<frozen importlib") for file, _, _ in stack)
    called = f"import {Path(str(args[0])).stem}" if is_import else f"{event} {args[0] if args else ''}"
    found.append(f"{own[0].removeprefix(PACKAGE)}:{own[1]} {own[2]}: {called}")


def frames() -> list[tuple[str, int, str]]:
    """File, line and function of every caller, the innermost first; the `traceback` module would open files."""
    frame, seen = sys._getframe(2), []
    while frame is not None:
        seen.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = cast(FrameType, frame.f_back)
    return seen


def blocks(sock: object) -> bool:
    return isinstance(sock, socket.socket) and sock.gettimeout() != 0.0


# ── the guest ─────────────────────────────────────────────────────────────────────────────


class Guest:
    """Uses the control API and the proxies from a thread, as a client in another process would."""

    def __init__(self, control: str, directory: Path, upstream: int) -> None:
        self.control, self.directory, self.upstream = control, directory, upstream

    def call(self, method: str, path: str, body: object = None) -> object:
        request = urllib.request.Request(self.control + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=LONG) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.read()
        return json.loads(text) if text and answer.headers.get_content_type() == "application/json" else None

    def talk(self, proxy: str, text: bytes, context: ssl.SSLContext | None = None, within: float = 1.0) -> None:
        """Send a text through a proxy and read a little; faults may end this in any way."""
        status = self.call("GET", f"/v1/proxies/{proxy}")
        assert isinstance(status, dict), status
        listen = str(status["listen"])
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if listen.startswith("unix:"):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(listen.removeprefix("unix:"))
            else:
                host, _, port = listen.rpartition(":")
                client = stack.enter_context(socket.create_connection((host.strip("[]"), int(port)), within))
            client.settimeout(within)
            if context is not None:
                client = stack.enter_context(context.wrap_socket(client, server_hostname="localhost"))
            client.sendall(text)
            client.recv(1 << 16)

    def tour(self) -> None:
        certs = self.directory / "certs"
        listen_tls = {"cert": str(certs / "localhost.pem"), "key": str(certs / "localhost.key")}
        upstream = f"127.0.0.1:{self.upstream}"
        dead = str(self.directory / "dead.sock")
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(dead)
        proxies: list[dict[str, object]] = [
            {"name": "tcp", "upstream": upstream, "from": "app", "to": "db"},
            {"name": "named", "upstream": f"localhost:{self.upstream}", "from": "db", "to": "app"},
            {"name": "http", "upstream": upstream, "protocol": "http"},
            {"name": "lost", "upstream": "nowhere.invalid:1", "connect_timeout": "300ms"},
            {"name": "unix", "upstream": upstream, "listen": f"unix:{dead}"},
            {"name": "secure", "upstream": upstream, "listen_tls": {**listen_tls, "alpn": ["h2", "http/1.1"]}},
            {"name": "outward", "upstream": upstream, "upstream_tls": {"ca": str(certs / "ca.pem"), "server_name": "x"},
             "listen_tls": {**listen_tls, "alpn": ["http/1.1"]}},
            {"name": "refused", "upstream": upstream, "listen_tls": {**listen_tls, "key": "/nowhere"}},
        ]  # fmt: skip
        for one in proxies:
            made = self.call("POST", "/v1/proxies", {"listen": "127.0.0.1:0", **one})
            assert isinstance(made, dict) or one["name"] == "refused", made
        context = ssl.create_default_context(cafile=str(certs / "ca.pem"))
        context.set_alpn_protocols(["http/1.1"])
        get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        for name in ("tcp", "named", "http", "lost", "unix"):
            self.talk(name, get)
        for name in ("secure", "outward"):
            self.talk(name, get, context)
        for kind, type_ in FAULT_TYPES.items():
            body = yaml.safe_load(type_.example)
            for proxy in ("tcp", "http", "secure"):
                self.call("PUT", f"/v1/proxies/{proxy}/faults/{kind}", {**body, "ttl": "20s"})
                self.talk(proxy, get, context if proxy == "secure" else None, 0.02)
                self.call("DELETE", f"/v1/proxies/{proxy}/faults/{kind}")
        for how in ("unknown_ca", "wrong_host", "expired_cert", "old_version", "stall", "reset"):
            placed = self.call(
                "POST", "/v1/proxies/secure/faults", {"type": "tls_handshake", "how": how, "name": how}
            )
            assert isinstance(placed, dict), placed
            self.talk("secure", get, context, 0.2)
            self.call("DELETE", f"/v1/proxies/secure/faults/{how}")
        self.call("POST", "/v1/faults", {"proxies": ["*"], "type": "tls_handshake", "how": "unknown_ca"})
        self.call("POST", "/v1/heal")
        make_certs(certs, ("localhost",), 30)  # renewed
        for name in ("secure", "outward"):
            self.talk(name, get, context)
        self.call("POST", "/v1/partitions", {"from": "app", "to": "db", "one_way": True})
        self.call("POST", "/v1/nodes/db/crash", {"down": "50ms"})
        self.call("POST", "/v1/nodes/app/pause", {"for": "50ms"})
        self.call("POST", "/v1/proxies/unix/crash", {"down": "50ms"})
        self.call("POST", "/v1/heal")
        for path in ("status", "proxies", "nodes", "connections", "partitions", "capabilities", "fault-types",
                     "openapi.json", "nothing"):  # fmt: skip
            self.call("GET", f"/v1/{path}")
        for path in ("/metrics", "/healthz", "/readyz"):
            self.call("GET", path)
        self.call("PATCH", "/v1/proxies/secure", {"listen_tls": listen_tls})
        self.call("PATCH", "/v1/proxies/unix", {"enabled": False})
        self.call("PATCH", "/v1/proxies/unix", {"enabled": True})
        for one in proxies:
            self.call("DELETE", f"/v1/proxies/{one['name']}")


async def show(loop_name: LoopName, directory: Path, upstream: int) -> None:
    global watched
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    failed: list[BaseException] = []

    def visit(guest: Callable[[], None]) -> None:
        try:
            guest()
        except BaseException as error:
            failed.append(error)
        loop.call_soon_threadsafe(over.set)

    policy = f"policy: {{listen: ['127.0.0.1', 'unix:{directory}/*']}}"
    config = load(f"version: 1\ncontrol: {{listen: '127.0.0.1:0'}}\n{policy}\n".encode(), "tour", {})
    async with running(config, loop_name) as here:
        watched = threading.get_ident()  # not before: no guest waits while it starts
        guest = Guest(here.control_url, directory, upstream)
        threading.Thread(target=visit, args=(guest.tour,), daemon=True).start()
        await over.wait()
    watched = None
    if failed:
        raise failed[0]


def serve_answers(server: socket.socket) -> None:
    """Answer each connection with an HTTP response, one after the other."""
    while True:
        client, _ = server.accept()
        with client, contextlib.suppress(OSError):
            client.settimeout(0.05)
            client.recv(1 << 16)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def main(loop_name: str, directory: str) -> None:
    make_certs(Path(directory) / "certs", ("localhost",), 30)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve_answers, args=(server,), daemon=True).start()
        sys.addaudithook(hook)
        run_on(cast(LoopName, loop_name), show(cast(LoopName, loop_name), Path(directory), server.getsockname()[1]))
        sys.stdout.write(json.dumps(sorted(set(found))))
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
