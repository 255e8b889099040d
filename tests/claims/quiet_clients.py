"""Clients that end, wait and come back for reasons of their own: python quiet_clients.py KIND PORTS WORKERS

None but `impatient` has a time-out that could run out. Each worker goes on until the process ends; it ends with its
standard input, or by a signal.
"""

from __future__ import annotations

import asyncio
import http.client
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from itertools import count

HOST = "127.0.0.1"
Worker = Callable[[int, int], None]
"""Does one piece of work; gets the port and the number of the piece."""


def pause() -> None:
    time.sleep(random.uniform(0.02, 0.12))


def command(*words: str, said: bytes | None = None) -> None:
    subprocess.run(words, input=said, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def closes(port: int, number: int) -> None:
    """urllib.request: one request for each connection, `Connection: close`."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/small?{number}") as answer:
        answer.read()


def curl_http10(port: int, number: int) -> None:
    command("curl", "-s", "--http1.0", f"http://{HOST}:{port}/small?{number}")


def half_closes(port: int, number: int) -> None:
    """socat sends all that it has, half-closes, and reads for as long as it takes."""
    text = f"GET /small?{number} HTTP/1.0\r\nHost: h\r\n\r\n".encode()
    command("socat", "-t", "20", "-", f"TCP:{HOST}:{port}", said=text)


def _keeps(port: int, path: str, pauses: tuple[float, ...]) -> None:
    connection = http.client.HTTPConnection(HOST, port)
    for seconds in pauses:
        connection.request("GET", path)
        connection.getresponse().read()
        time.sleep(seconds)
    connection.close()


def idle_at_server(port: int, number: int) -> None:
    """Leave a connection idle for so long that the server closes it."""
    _keeps(port, f"/fast?{number}", (0.05, 0.05, 1.3))


def idle_at_client(port: int, number: int) -> None:
    """Close a connection after half a second without a request, each time."""
    _keeps(port, f"/small?{number}", (0.05, 0.05, 0.5))


def rotates(port: int, number: int) -> None:
    """Use each connection for a second, as pools with a longest lifetime do."""
    _keeps(port, f"/small?{number}", (0.05,) * 20)


def slow(port: int, number: int) -> None:
    _keeps(port, f"/slow?{number}", (0.05,) * 5)


def sometimes(port: int, number: int) -> None:
    _keeps(port, f"/sometimes?{number}", (0.05,) * 5)


def long_polls(port: int, number: int) -> None:
    _keeps(port, "/poll", (0.0,) * 5)


def polls_and_leaves(port: int, number: int) -> None:
    """Poll for 0.7 s, and leave if the server has no news: with and without a fault."""
    with socket.create_connection((HOST, port)) as sock:
        sock.sendall(b"GET /never HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.7)


def waits_for_ever(port: int, number: int) -> None:
    """Ask for an answer that does not come; the user presses Ctrl-C."""
    connection = http.client.HTTPConnection(HOST, port)
    for path in ("/fast", f"/never?{number}"):
        connection.request("GET", path)
        connection.getresponse().read()


def server_sent_events(port: int, number: int) -> None:
    """Read events for a second, as a page that is reloaded each second."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/events") as answer:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            answer.readline()


def websocket(port: int, number: int) -> None:
    import websockets

    async def chat() -> None:
        async with websockets.connect(f"ws://{HOST}:{port}/chat", proxy=None) as connection:
            for word in ("hello", "and", "goodbye"):
                await connection.send(word)
                for _ in range(3):
                    await connection.recv()

    asyncio.run(chat())


def publishes(port: int, number: int) -> None:
    """Publish from one worker; the others subscribe with redis-cli for a second."""
    if threading.current_thread().name == "0":
        command("redis-cli", "-p", str(port), "publish", "news", str(number))
    else:
        subscriber = subprocess.Popen(
            ["redis-cli", "-p", str(port), "subscribe", "news"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        time.sleep(1.0)
        subscriber.terminate()
        subscriber.wait()


def subscribes_in_silence(port: int, number: int) -> None:
    """Subscribe to a channel on which nothing is said, and leave after 0.8 s."""
    import redis

    with redis.Redis(port=port) as client, client.pubsub() as channel:
        channel.subscribe("silence")
        channel.get_message(timeout=0.8)
        channel.get_message(timeout=0.8)


def blocks(port: int, number: int) -> None:
    """Wait for an element of a list, up to a second: the server answers that there is none."""
    with socket.create_connection((HOST, port)) as sock:
        for _ in range(3):
            sock.sendall(b"*3\r\n$5\r\nBLPOP\r\n$4\r\nlist\r\n$1\r\n1\r\n")
            sock.recv(100)


def ships(port: int, number: int) -> None:
    """Send without waiting for any answer, and leave after a second: a client that ships logs to a sink."""
    with socket.create_connection((HOST, port)) as sock:
        for line in range(8):
            sock.sendall(b"%d-%d: all is well\n" % (number, line))
            time.sleep(0.125)


def checks_port(port: int, number: int) -> None:
    with socket.create_connection((HOST, port)):
        pass
    time.sleep(0.3)


def exits(port: int, number: int) -> None:
    """Run curl for some requests: a program that does its work and ends."""
    command("curl", "-s", *[f"http://{HOST}:{port}/small?{number}-[1-5]"])


def impatient(port: int, number: int) -> None:
    """Give up after 0.4 s: the only client here of which a time-out may be told."""
    with socket.create_connection((HOST, port)) as sock:
        sock.settimeout(0.4)
        for each in ("a", "b"):
            sock.sendall(f"GET /small?{number}{each} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            sock.recv(10_000)


def redis_works(port: int, number: int) -> None:
    """Use a pool of redis-py; after an error go on with other work."""
    import redis

    with redis.Redis(port=port) as client:
        for each in range(10):
            client.set(f"key-{number}-{each}", random.random())
            time.sleep(random.uniform(0.01, 0.05))


KINDS: dict[str, Worker] = {
    one.__name__: one
    for one in (
        closes, curl_http10, half_closes, idle_at_server, idle_at_client, rotates, slow, sometimes, long_polls,
        polls_and_leaves, waits_for_ever, server_sent_events, websocket, publishes, subscribes_in_silence, blocks,
        ships, checks_port, exits, impatient, redis_works,
    )
}  # fmt: skip


def again_and_again(work: Worker, port: int, first: int) -> None:
    for number in count(first):
        with suppress(Exception):
            work(port, number)
        pause()


if __name__ == "__main__":
    kind, ports, workers = sys.argv[1], [int(one) for one in sys.argv[2].split(",")], int(sys.argv[3])
    for worker in range(workers):
        # Different work for each process and worker, so that none repeats that of another.
        arguments = (KINDS[kind], ports[worker % len(ports)], random.randrange(10**9))
        threading.Thread(target=again_and_again, args=arguments, name=str(worker), daemon=True).start()
        time.sleep(0.1)
    sys.stdin.read()
