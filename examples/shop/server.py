"""A shop that takes orders: python3 server.py [PORT]

    POST /orders    takes an order, {"item": "lamp"}; returns 201 and its number
    GET /orders     lists the orders

For a request with a known Idempotency-Key the shop returns the earlier order and takes no
new one. Without a key, every request is a new order.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

Order = dict[str, Any]


class Shop:
    """All orders, and their keys."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self._by_key: dict[str, Order] = {}
        self._lock = Lock()

    def order(self, item: str, key: str | None) -> Order:
        with self._lock:
            if key is not None and key in self._by_key:
                return self._by_key[key]
            order = {"number": len(self.orders) + 1, "item": item}
            self.orders.append(order)
            if key is not None:
                self._by_key[key] = order
            return order


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shop = Shop()

    def do_GET(self) -> None:
        if self.path == "/orders":
            self.respond(200, self.shop.orders)
        else:
            self.respond(404, {"error": "there is no such page"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/orders":
            self.respond(404, {"error": "there is no such page"})
            return
        self.respond(201, self.shop.order(json.loads(body)["item"], self.headers.get("Idempotency-Key")))

    def respond(self, status: int, content: object) -> None:
        body = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that close the connection early: this example provokes them."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    with Server(("127.0.0.1", port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
