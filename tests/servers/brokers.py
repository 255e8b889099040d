"""Mosquitto and RabbitMQ as upstreams: each on a free loopback port, its files in a temporary directory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.backends import directory_of
from tests.servers.processes import HOST, find, free_port, started

__all__ = ["mosquitto", "rabbitmq"]

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The script itself: the one in PATH changes to the user `rabbitmq`."""


@contextmanager
def mosquitto() -> Iterator[int]:
    """A Mosquitto that lets everybody in and keeps nothing on disk; gives its port."""
    broker = find("mosquitto")
    with directory_of() as directory:
        config = directory / "mosquitto.conf"
        # As root it would change to a user that cannot read the directory.
        user = "user root\n" if os.geteuid() == 0 else ""

        def command(port: int) -> Sequence[str]:
            config.write_text(f"listener {port} {HOST}\nallow_anonymous true\npersistence false\n{user}")
            return [broker, "-c", str(config)]

        with started(command, directory) as port:
            yield port


@contextmanager
def rabbitmq() -> Iterator[int]:
    """A RabbitMQ that lets user `guest` in from loopback; gives its port.

    Its port mapper, epmd, is started here: the one that Erlang starts by itself would outlive the test.
    """
    find("rabbitmq-server")
    with directory_of() as directory:
        with started(lambda port: [find("epmd"), "-port", str(port), "-address", HOST], directory) as mapper:
            environment = {
                "HOME": str(directory),
                "ERL_EPMD_PORT": str(mapper),
                "ERL_EPMD_ADDRESS": HOST,
                "RABBITMQ_LOGS": "-",
                "RABBITMQ_NODE_IP_ADDRESS": HOST,
                "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
                "RABBITMQ_LOG_BASE": str(directory / "log"),
                "RABBITMQ_PID_FILE": str(directory / "pid"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
                "RABBITMQ_CONF_ENV_FILE": str(directory / "environment"),
                "RABBITMQ_CONFIG_FILE": str(directory / "config"),
                "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced"),
                "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "generated"),
                "RABBITMQ_SCHEMA_DIR": str(directory / "schema"),
                # One scheduler that does not spin: the machine has other things to do.
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false +S 1:1 +sbwt none",
            }
            (directory / "plugins").write_text("[].\n")

            def command(port: int) -> Sequence[str]:
                own = {"NODENAME": f"chaos{port}@localhost", "NODE_PORT": port, "DIST_PORT": free_port()}
                return ["env", *(f"RABBITMQ_{name}={value}" for name, value in own.items()), str(RABBITMQ)]

            with started(command, directory, ready=_speaks_amqp, environment=environment) as port:
                yield port


def _speaks_amqp(port: int) -> bool:
    """Whether it answers to another version of the protocol with its own, as it does once it has started."""
    try:
        with socket.create_connection((HOST, port), 1.0) as client:
            client.sendall(b"AMQP\x00\x00\x09\x09")
            return client.recv(8).startswith(b"AMQP")
    except OSError:
        return False
