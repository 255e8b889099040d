"""Two programs for measuring message faults: a server with one endless response, and a client that reads it.

    body.py serve                        print the port, and answer every connection with an endless body
    body.py read PORT WARMUP SECONDS     request it; print the bytes that arrived in the window, and its length
"""

from __future__ import annotations

import socket
import sys
import threading
import time

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
_PIECE = bytes(range(256)) * 1024


def serve() -> None:
    """Serve until the program is killed."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_respond, args=(client,), daemon=True).start()


def _respond(client: socket.socket) -> None:
    try:
        client.recv(4096)
        client.sendall(HEAD)
        while True:
            client.sendall(_PIECE)
    except OSError:  # the client has read enough
        client.close()


def read(port: int, warmup: float, seconds: float) -> None:
    """Read the body, and let the kernel discard it."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(REQUEST)
    start = time.monotonic() + warmup
    while time.monotonic() < start:
        client.recv(2**20, socket.MSG_TRUNC)
    print("begin", flush=True)
    begun, count = time.monotonic(), 0
    while (now := time.monotonic()) < begun + seconds:
        count += len(client.recv(2**20))
    print(f"end {count} {now - begun}", flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else read(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
