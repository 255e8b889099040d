"""Clients that abuse a proxy, run in a process of its own: a proxy with a defect crashes within seconds.

    python -m tests.net.churn uvloop 5000 quiet|faulty|tls

Clients send and then reset, half-close, disappear or close in good order, 50 at a time, against an
echo server, until there have been that many connections. With `faulty`, faults are added and removed
meanwhile. With `tls` too, and the connections go through one proxy that originates TLS and another
that terminates it; some clients send it bytes that are not TLS. The exit code is 0 only if nothing is
left: no connection, task, descriptor, cyclic garbage or logged error.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from chaosproxy.certs import make_certs
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.stream.connection import Connection
from chaosproxy.seed import Seed
from tests.net.building import fault, proxy
from tests.net.harness import collect_unhandled, open_descriptors

CLIENTS = 50
FAULTS = (
    {"type": "latency", "delay": "3ms", "jitter": "3ms", "direction": "both"},
    {"type": "slicer", "size": "100B", "direction": "both"},
    {"type": "stall", "direction": "upstream"},
    {"type": "blackhole", "direction": "downstream"},
    {"type": "reset", "delay": "2ms"},
    {"type": "limit_data", "size": "300B", "then": "close"},
    {"type": "limit_data", "size": "300B", "then": "reset", "direction": "upstream"},
    {"type": "bandwidth", "rate": "100kB/s", "shared": True},
    {"type": "slow_close", "delay": "5ms", "direction": "both"},
    {"type": "slow_accept", "delay": "3ms"},
    {"type": "refuse", "existing": "reset"},
    {"type": "packet_loss", "rate": 0.2, "direction": "both"},  # in the kernel, if this machine supports it
    {"type": "packet_loss", "burst": {"p": 0.5, "r": 0.5, "step": "1ms"}, "direction": "both"},
    {"type": "partition", "direction": "upstream"},
    {"type": "partition", "direction": "both", "acks": "drop"},
    {"type": "partition", "direction": "both", "mode": "stream"},
    {"type": "partition", "fail_fast": True},
    {"type": "unreachable", "existing": "close"},
    {"type": "unreachable", "mode": "stream"},
    {"type": "pause", "direction": "both"},
    {"type": "bandwidth", "rate": "1GB/s", "mode": "packet"},
)


class Complaints(logging.Handler):
    """Collects every warning and error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))


async def client(address: tuple[str, int], dice: random.Random, running: Proxy, until: int) -> None:
    loop = asyncio.get_running_loop()
    while running.tally.opened < until:
        with socket.socket() as sock:
            sock.setblocking(False)
            try:
                async with asyncio.timeout(0.1):  # where SYNs get no response, the next SYN would come a second later
                    await loop.sock_connect(sock, address)
                for _ in range(dice.randrange(4)):
                    await loop.sock_sendall(sock, dice.randbytes(dice.choice((1, 64, 5_000))))
                    if dice.random() < 0.5:
                        async with asyncio.timeout(0.02):
                            await loop.sock_recv(sock, 65536)
                match dice.randrange(4):
                    case 0:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    case 1:
                        sock.shutdown(socket.SHUT_WR)
                    case 2:
                        sock.shutdown(socket.SHUT_WR)
                        async with asyncio.timeout(0.02):
                            while await loop.sock_recv(sock, 65536):
                                pass
            except (OSError, TimeoutError):
                pass
        await asyncio.sleep(dice.random() * 0.002)


async def meddler(supervisor: Supervisor, dice: random.Random) -> None:
    while True:
        if len(supervisor.proxies()) > 1:
            how = dice.choice(("stall", "reset", "expired_cert", "wrong_host", "unknown_ca", "old_version"))
            wrong = fault("wrong", type="tls_handshake", how=how, probability=dice.choice((0.0, 0.2)))
            supervisor.put_fault("inner", wrong, "test")
        settings = dict(dice.choice(FAULTS))
        if not FAULT_TYPES[str(settings["type"])].at_listener:
            settings["probability"] = dice.choice((0.3, 1.0))
        supervisor.put_fault("churn", fault(f"f{dice.randrange(4)}", **settings), "test")
        await asyncio.sleep(dice.random() * 0.05)
        if dice.random() < 0.4:
            supervisor.heal("test")


async def secured(supervisor: Supervisor, port: int, directory: str) -> Proxy:
    """Add a proxy that originates TLS to another proxy, `inner`, which terminates it."""
    make_certs(Path(directory), ["churn.test"], 30)
    files = {"cert": f"{directory}/churn.test.pem", "key": f"{directory}/churn.test.key"}
    inner = await supervisor.add_proxy(proxy("inner", upstream=f"127.0.0.1:{port}", listen_tls=files), "test")
    trust = {"ca": f"{directory}/ca.pem", "server_name": "churn.test"}
    return await supervisor.add_proxy(
        proxy("churn", upstream=str(inner.listening_on[0]), upstream_tls=trust), "test"
    )


async def churn(times: int, mood: str, directory: str) -> list[str]:
    """Return the failures, in words."""
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    collect_unhandled(complaints.lines)
    echo = subprocess.Popen([sys.executable, "-m", "tests.net.echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert echo.stdin is not None and echo.stdout is not None
    port = int(echo.stdout.readline())
    descriptors = open_descriptors()
    supervisor = Supervisor(Seed(1))
    if mood == "tls":
        running = await secured(supervisor, port, directory)
    else:
        running = await supervisor.add_proxy(proxy("churn", upstream=f"127.0.0.1:{port}"), "test")
    addresses = [(one.listening_on[0].host, one.listening_on[0].port or 0) for one in supervisor.proxies()][::-1]
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    meddling = asyncio.ensure_future(meddler(supervisor, random.Random(99))) if mood != "quiet" else None
    await asyncio.gather(*(
        client(addresses[number % 5 == 4 and len(addresses) > 1], random.Random(number), running, times)
        for number in range(CLIENTS)
    ))  # fmt: skip
    if meddling is not None:
        meddling.cancel()
        await asyncio.gather(meddling, return_exceptions=True)
    gc.collect()
    # asyncio's transports are cyclic garbage, and so is the socket that each has.
    ours = (one for one in gc.garbage if type(one).__module__.startswith("chaosproxy"))
    garbage = [one for one in ours if not isinstance(one, socket.socket)]
    gc.set_debug(0)
    gc.garbage.clear()
    supervisor.heal("test")
    deadline = time.monotonic() + 60
    while any(one.connections for one in supervisor.proxies()) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    problems = complaints.lines
    if left := sum(len(one.connections) for one in supervisor.proxies()):
        problems.append(f"{left} connections outlive their clients")
    await supervisor.close()
    await asyncio.sleep(0.1)
    gc.collect()
    if garbage:
        problems.append(f"cyclic garbage: {len(garbage)} objects, such as {garbage[0]!r}")
    alive = [one for one in gc.get_objects() if isinstance(one, Connection)]
    if running.connections or alive:
        problems.append(f"{len(running.connections)} connections registered, {len(alive)} alive")
    if len(asyncio.all_tasks()) > 1:
        problems.append(f"tasks: {asyncio.all_tasks()}")
    if (now := open_descriptors()) > descriptors:
        problems.append(f"{now} descriptors, {descriptors} before")
    sys.stdout.write(f"{running.tally.opened} connections, closed {dict(running.tally.closed)}\n")
    echo.stdin.close()
    echo.stdout.close()
    echo.wait(60)
    return problems


def main() -> None:
    loop, times, mood = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    run = uvloop.run if loop == "uvloop" else asyncio.run
    with tempfile.TemporaryDirectory() as directory:
        problems = run(churn(times, mood, directory))
    for problem in problems[:20]:
        sys.stderr.write(problem + "\n")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
