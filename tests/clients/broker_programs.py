"""paho-mqtt and pika with known policies. See pace.py."""

from __future__ import annotations

import pika
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.clients.pace import Ask, Make, run


def _mqtt(least_s: float, most_s: float, patience_s: float | None, keepalive_s: int) -> Make:
    """paho-mqtt, which connects again by itself; a message must be confirmed within a time, if there is one."""

    def make(ports: list[int]) -> Ask:
        client = Client(CallbackAPIVersion.VERSION2)
        # It takes whole seconds according to its types, and any number according to its code.
        client.reconnect_delay_set(least_s, most_s)  # type: ignore[arg-type]
        client.connect_async("127.0.0.1", ports[0], keepalive=keepalive_s)
        client.loop_start()

        def ask(call: int) -> None:
            if patience_s is None:
                return
            message = client.publish(f"topic/{call}", str(call), qos=1)
            message.wait_for_publish(patience_s)
            if not message.is_published():
                raise TimeoutError

        return ask

    return make


def _amqp(heartbeat_s: int, attempts: int, pause_s: float) -> Make:
    """pika: a channel that confirms each message; heartbeats, and attempts to connect with equal pauses."""

    def make(ports: list[int]) -> Ask:
        kept: list[tuple[pika.BlockingConnection, pika.adapters.blocking_connection.BlockingChannel]] = []
        settings = pika.ConnectionParameters(
            host="127.0.0.1", port=ports[0], heartbeat=heartbeat_s, connection_attempts=attempts, retry_delay=pause_s,
            socket_timeout=2, stack_timeout=1, blocked_connection_timeout=None,
        )  # fmt: skip

        def ask(call: int) -> None:
            if not kept:
                connection = pika.BlockingConnection(settings)
                channel = connection.channel()
                channel.confirm_delivery()
                kept.append((connection, channel))
            try:
                kept[0][1].basic_publish("", f"no-queue-{call}", str(call).encode())
            except Exception:
                kept.pop()
                raise

        return ask

    return make


KINDS = {
    "mqtt": _mqtt(0.1, 1.6, 0.5, 60),
    "mqtt_idle": _mqtt(0.1, 1.6, None, 2),
    "amqp": _amqp(2, 4, 0.5),
}

if __name__ == "__main__":
    run(KINDS)
