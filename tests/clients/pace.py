"""The pace of client programs, and their log: python -m tests.clients.NAME KIND WORKERS PROXY=PORT[+PORT] ...

A kind of client runs against several proxies at once, each of which has a fault of its own, so that all wait at the
same time. Each worker asks again and again with a random pause between two calls, until standard input ends. It writes
one JSON line per call: the time of its end as seconds since 1970, the seconds that it took, and its result.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count

__all__ = ["PAUSES_S", "Ask", "Make", "run"]

Ask = Callable[[int], str | None]
"""Makes one call, with a number that no other call has; returns the place that answered, if the client knows it."""
Make = Callable[[list[int]], Ask]
"""Makes the client of one worker for the ports of one proxy, or of a service."""

PAUSES_S = (0.05, 0.15)

_writing = threading.Lock()


def run(kinds: Mapping[str, Make]) -> None:
    """Run the kind that the arguments name until standard input ends."""
    logging.disable()  # pools tell each failed attempt
    kind, workers = sys.argv[1], int(sys.argv[2])
    for index, word in enumerate(sys.argv[3:]):
        proxy, _, ports = word.partition("=")
        for worker in range(workers):
            begin = (index * workers + worker) * 10_000_000
            arguments = (kinds[kind], proxy, [int(port) for port in ports.split("+")], begin)
            threading.Thread(target=_again_and_again, args=arguments, daemon=True).start()
    sys.stdin.read()
    os._exit(0)  # pools have threads of their own, which would be waited for


def _again_and_again(make: Make, proxy: str, ports: list[int], begin: int) -> None:
    ask = make(ports)
    for call in count(begin):
        began = time.monotonic()
        place = error = None
        try:
            place = ask(call)
        except Exception as failed:
            error = type(failed).__name__
        line = {"proxy": proxy, "at": time.time(), "took_s": time.monotonic() - began, "error": error, "place": place}
        with _writing:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        time.sleep(random.uniform(*PAUSES_S))
