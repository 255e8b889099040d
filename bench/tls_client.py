"""A client of `bench.tls`: print `begin` and `end` around the window, then the count and the duration."""

from __future__ import annotations

import socket
import ssl
import sys
import time

_PIECE = 256 * 1024


def main() -> None:
    what, port, ca, name, seconds = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)

    def connect() -> ssl.SSLSocket:
        return context.wrap_socket(socket.create_connection(("127.0.0.1", int(port))), server_hostname=name)

    connect().close()
    sock = connect()
    print("begin", flush=True)
    began, count = time.perf_counter(), 0
    until = began + float(seconds)
    buffer = bytearray(_PIECE)
    while time.perf_counter() < until:
        if what == "bulk":
            count += sock.recv_into(buffer)
        else:
            connect().close()
            count += 1
    took = time.perf_counter() - began
    print("end", flush=True)
    print(count, took, flush=True)
    sock.close()


main()
