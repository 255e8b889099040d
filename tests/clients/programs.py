"""Client programs with known policies: python programs.py KIND PORT[+PORT…] WORKERS

Each worker asks one port again and again over its own connections, with a random pause between two calls, until its
standard input ends. Each call has a URL that no other call and no other program has, and that all of its attempts
share. The log on standard output has a JSON line per call: the port, the time of its end in seconds since 1970, and the
name of the error, if it failed.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from itertools import count
from urllib.parse import urlsplit

Ask = Callable[[str], object]
PAUSES_S = (0.05, 0.15)

_writing = threading.Lock()


def again_and_again(ask: Ask, port: int, worker: int) -> None:
    for call in count():
        error = None
        try:
            ask(f"http://127.0.0.1:{port}/small?{port}-{worker}-{call}")
        except Exception as failed:
            error = type(failed).__name__
        line = json.dumps({"port": port, "at": time.time(), "error": error})
        with _writing:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        time.sleep(random.uniform(*PAUSES_S))


def requests_read() -> Ask:
    """requests with a read time-out of 0.5 s."""
    import requests

    return lambda url: requests.get(url, timeout=(5, 0.5)).raise_for_status()


def requests_retry() -> Ask:
    """requests with urllib3's Retry: 5 retries, back-off × 2 from 0.1 s after one at once; a time-out of 0.3 s."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    def ask(url: str) -> None:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=Retry(total=5, backoff_factor=0.05)))
            session.get(url, timeout=0.3)

    return ask


def requests_503() -> Ask:
    """requests with urllib3's Retry also after 503: 5 retries, back-off × 2 from 0.1 s after one at once."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    def ask(url: str) -> None:
        with requests.Session() as session:
            retry = Retry(total=5, backoff_factor=0.05, status_forcelist=[503])
            session.mount("http://", HTTPAdapter(max_retries=retry))
            session.get(url, timeout=0.3)

    return ask


def requests_post() -> Ask:
    """requests that repeats a POST up to twice after a time-out of 0.3 s, with pauses of 0 and 0.2 s."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    def ask(url: str) -> None:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=Retry(total=2, backoff_factor=0.1, allowed_methods=None)))
            session.post(url, data=b"one order", timeout=0.3).raise_for_status()

    return ask


def httpx_read() -> Ask:
    """httpx with a read time-out of 0.4 s."""
    import httpx

    context = httpx.create_ssl_context(verify=False)

    def ask(url: str) -> None:
        with httpx.Client(timeout=httpx.Timeout(5.0, read=0.4), verify=context) as client:
            client.get(url).raise_for_status()

    return ask


def urllib_read() -> Ask:
    """urllib.request with a time-out of 0.8 s."""

    def ask(url: str) -> None:
        with urllib.request.urlopen(url, timeout=0.8) as answer:
            answer.read()

    return ask


def urllib_none() -> Ask:
    """urllib.request without a time-out."""

    def ask(url: str) -> None:
        with urllib.request.urlopen(url) as answer:
            answer.read()

    return ask


def raw_constant() -> Ask:
    """A raw socket with a time-out of 0.25 s, and up to 4 attempts with pauses of 0.3 s."""

    def attempt(url: str) -> None:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), 5) as sock:
            sock.settimeout(0.25)
            sock.sendall(f"GET {parts.path}?{parts.query} HTTP/1.0\r\n\r\n".encode())
            while sock.recv(65536):
                pass

    def ask(url: str) -> None:
        for number in range(4):
            try:
                return attempt(url)
            except OSError:
                if number == 3:
                    raise
                time.sleep(0.3)
        return None

    return ask


def tenacity_jitter() -> Ask:
    """tenacity with exponential back-off × 2 from 0.1 s and up to 0.1 s of jitter, around a time-out of 0.3 s."""
    import requests
    import tenacity

    wait = tenacity.wait_exponential_jitter(multiplier=0.1, exp_base=2, jitter=0.1)
    return tenacity.retry(wait=wait, stop=tenacity.stop_after_attempt(5))(
        lambda url: requests.get(url, timeout=0.3)
    )


def pybreaker_opens() -> Ask:
    """pybreaker that opens for 2 s after 5 failures in a row, around requests with a time-out of 0.3 s."""
    import pybreaker
    import requests

    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=2)
    return lambda url: breaker.call(lambda: requests.get(url, timeout=0.3))


def pybreaker_503() -> Ask:
    """pybreaker that opens for 2 s after 5 answers in a row with an error."""
    import pybreaker
    import requests

    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=2)
    return lambda url: breaker.call(lambda: requests.get(url, timeout=5).raise_for_status())


def _aiohttp(**limits: float) -> Ask:
    import aiohttp

    async def once(url: str) -> None:
        timeout = aiohttp.ClientTimeout(**limits)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            await answer.read()

    return lambda url: asyncio.run(once(url))


def aiohttp_total() -> Ask:
    """aiohttp with a total time-out of 0.6 s."""
    return _aiohttp(total=0.6)


def aiohttp_connect() -> Ask:
    """aiohttp with a time-out for connecting (sock_connect) of 0.4 s."""
    return _aiohttp(sock_connect=0.4)


def aiohttp_read() -> Ask:
    """aiohttp with a read time-out (sock_read) of 0.35 s."""
    return _aiohttp(sock_read=0.35)


KINDS = {
    one.__name__: one
    for one in (
        requests_read, requests_retry, requests_503, requests_post, httpx_read, urllib_read, urllib_none, raw_constant,
        tenacity_jitter, pybreaker_opens, pybreaker_503, aiohttp_total, aiohttp_connect, aiohttp_read,
    )
}  # fmt: skip


if __name__ == "__main__":
    kind, ports, workers = sys.argv[1], sys.argv[2].split("+"), int(sys.argv[3])
    for port in ports:
        ask = KINDS[kind]()
        for worker in range(workers):
            threading.Thread(target=again_and_again, args=(ask, int(port), worker), daemon=True).start()
    sys.stdin.read()
