"""Measure round trips from a process of its own: direct, through an untouched proxy, and GET /healthz.

It serves an echo backend, prints its port, and reads a line with the ports of the proxy in front of it and of the
control API. Then it prints one line per look, with seconds: direct, proxied, /healthz, direct. It ends when its
standard input is closed.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time

_TIMEOUT_S = 30.0
_PAUSE_S = 0.02
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    backend = listener.getsockname()[1]
    print(backend, flush=True)
    proxy, control = map(int, sys.stdin.readline().split())
    direct, through = (socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) for port in (backend, proxy))
    while not select.select([sys.stdin], [], [], _PAUSE_S)[0]:
        looks = [_trip(direct), _trip(through), _health(control), _trip(direct)]
        print(" ".join(f"{seconds:.6f}" for seconds in looks), flush=True)


def _serve(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_echo, args=(client,), daemon=True).start()


def _echo(client: socket.socket) -> None:
    while data := client.recv(4096):
        client.sendall(data)


def _trip(sock: socket.socket) -> float:
    began = time.monotonic()
    sock.sendall(b"?")
    if sock.recv(1) != b"?":
        raise SystemExit("the sentinel's connection was closed")
    return time.monotonic() - began


def _health(port: int) -> float:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as sock:
        sock.sendall(_REQUEST)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"/healthz answered {answer[:200]!r}")
    return time.monotonic() - began


if __name__ == "__main__":
    main()
