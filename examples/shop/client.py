"""Order a lamp, and retry if no response arrives in time: python3 client.py [--key] [URL]

With --key every attempt carries the same Idempotency-Key, so that the shop can distinguish a
retry from a second order.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
import uuid

TIMEOUT = 0.5
"""Seconds to wait for a response."""
ATTEMPTS = 3


def order(url: str, item: str, key: str | None) -> dict[str, object]:
    """Send the order, with up to ATTEMPTS attempts.

    :raises TimeoutError: no attempt got a response.
    """
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    body = json.dumps({"item": item}).encode()
    for attempt in range(1, ATTEMPTS + 1):
        request = urllib.request.Request(f"{url}/orders", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                taken: dict[str, object] = json.load(response)
                print(f"attempt {attempt}: order {taken['number']} is taken")
                return taken
        except TimeoutError:
            print(f"attempt {attempt}: no response in {TIMEOUT:g} s")
    raise TimeoutError(f"no response in {ATTEMPTS} attempts")


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--key"]
    url = words[0] if words else "http://127.0.0.1:18080"
    order(url, "lamp", str(uuid.uuid4()) if "--key" in sys.argv else None)
    with urllib.request.urlopen(f"{url}/orders", timeout=TIMEOUT) as response:
        print(f"the shop has {len(json.load(response))} order(s)")


if __name__ == "__main__":
    main()
