"""Measure round trips from a process of its own: direct, through an untouched proxy, and GET /healthz.

It serves an echo backend, prints its port, and reads a line: the port of the proxy in front of it, the port of the
control API, the process ID of the server. Then it prints one line per look, with the fields of `verdict.Wait`. It
ends when its standard input is closed. If a look fails, it prints `failed:` and the reason, and ends.

A busy machine lets threads wait for a processor. The kernel counts this time (/proc/…/schedstat), for the threads of
this process and for the server's loop, so that it is not taken for a delay by the server. On a virtual machine the
host may take a processor away while a thread runs: the kernel counts that for the whole machine (steal in /proc/stat).
It also counts the pages of the server's program that were dropped from memory and read from the disk again (major
faults in /proc/…/stat).
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from glob import glob

_TIMEOUT_S = 30.0
_PAUSE_S = 0.01
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    backend = listener.getsockname()[1]
    print(backend, flush=True)
    proxy, control, server = map(int, sys.stdin.readline().split())
    try:
        _look(backend, proxy, control, server)
    except (OSError, EOFError) as error:
        print(f"failed: {error!r}", flush=True)
        sys.exit(1)


def _look(backend: int, proxy: int, control: int, server: int) -> None:
    direct, through = (socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) for port in (backend, proxy))
    _trip(direct), _trip(through)  # from now on each thread of this process is there
    queues = [os.open(path, os.O_RDONLY) for path in (*glob("/proc/self/task/*/schedstat"), _schedstat(server))]
    while not select.select([sys.stdin], [], [], _PAUSE_S)[0]:
        faults = _major_faults(server)
        before, *_ = _timed(lambda: _trip(direct), queues)
        proxied = _timed(lambda: _trip(through), queues)
        health = _timed(lambda: _health(control), queues)
        after, *_ = _timed(lambda: _trip(direct), queues)
        times = (f"{seconds:.6f}" for seconds in (before, *proxied, *health, after))
        print(*times, _major_faults(server) - faults, flush=True)


def _schedstat(process: int) -> str:
    """Return the path of the statistics of the main thread of a process, which runs the server's loop."""
    return f"/proc/{process}/task/{process}/schedstat"


def _major_faults(process: int) -> int:
    with open(f"/proc/{process}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[9])


def _timed(work: Callable[[], None], queues: list[int]) -> tuple[float, float, float]:
    """Return seconds: of `work`, in which the threads waited for a processor, in which the host had taken one away."""
    stolen, queued, began = _stolen(), _queued(queues), time.monotonic()
    work()
    took = time.monotonic() - began
    return took, _queued(queues) - queued, _stolen() - stolen


def _stolen() -> float:
    """Return the seconds in which the host has taken a processor away, of all processors (proc_stat(5): steal)."""
    with open("/proc/stat") as stat:
        return int(stat.readline().split()[8]) / _TICKS_PER_SECOND


def _queued(queues: list[int]) -> float:
    return sum(int(os.pread(one, 100, 0).split()[1]) for one in queues) / 1e9


def _serve(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_echo, args=(client,), daemon=True).start()


def _echo(client: socket.socket) -> None:
    while data := client.recv(4096):
        client.sendall(data)


def _trip(sock: socket.socket) -> None:
    sock.sendall(b"?")
    if sock.recv(1) != b"?":
        raise EOFError("the connection through the untouched proxy was closed")


def _health(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as sock:
        sock.sendall(_REQUEST)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise EOFError(f"/healthz answered {answer[:200]!r}")


if __name__ == "__main__":
    main()
