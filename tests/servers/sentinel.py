"""Five nodes, each a Redis and a Sentinel, that reach one another through the proxies of configs/redis-sentinel.yaml.

A node announces its name, and each of the others looks that name up in a hosts file of its own, which it has in a
mount namespace of its own. The addresses are fixed, so a test that starts a cluster needs a network namespace; in it,
`lo` alone. The proxies are not started here, and have to be there first: without them each node is alone.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.backends import directory_of
from tests.servers.processes import Child, find, wait_until

__all__ = [
    "FIRST",
    "NODES",
    "View",
    "believed",
    "cluster",
    "follows",
    "has_quorum",
    "primaries",
    "redis_of",
    "sentinel_of",
    "streams",
    "view",
]

NODES = ("n1", "n2", "n3", "n4", "n5")
FIRST = "n1"
"""The node that begins as primary."""
GROUP = "mymaster"
"""What the Sentinels call the primary and its replicas together."""
REDIS, SENTINEL = 6379, 26379
START_SECONDS = 60.0
ANSWER_SECONDS = 2.0
"""Each server is asked at its own address, where no fault is: an answer is there at once."""


@dataclass(frozen=True)
class View:
    """What one Sentinel believes."""

    primary: str
    replicas: int
    sentinels: int
    """Others than itself."""
    flags: str
    """Of the primary: `master`, and `s_down` or more where it is not well."""


@contextmanager
def redis_of(node: str) -> Iterator[redis.Redis]:
    """A client of this node's Redis, for the block."""
    with _client(node, REDIS) as client:
        yield client


@contextmanager
def sentinel_of(node: str) -> Iterator[redis.Redis]:
    """A client of this node's Sentinel, for the block."""
    with _client(node, SENTINEL) as client:
        yield client


def view(node: str) -> View:
    """What this node's Sentinel believes."""
    with sentinel_of(node) as client:
        fields: Any = client.sentinel_master(GROUP)
    return View(
        primary=str(fields["ip"]),
        replicas=int(fields["num-slaves"]),
        sentinels=int(fields["num-other-sentinels"]),
        flags=str(fields["flags"]),
    )


def believed(nodes: Iterable[str]) -> set[str]:
    """Whom the Sentinels of these nodes believe to be the primary: one name where they agree."""
    return {view(node).primary for node in nodes}


def has_quorum(node: str) -> bool:
    """Whether this node's Sentinel reaches enough others to elect a primary."""
    with sentinel_of(node) as client:
        try:
            client.sentinel_ckquorum(GROUP)
        except redis.ResponseError as error:
            if "NOQUORUM" not in str(error):
                raise
            return False
    return True


def follows(node: str) -> str | None:
    """Whose replica this node's Redis is, by its own account; None for a primary."""
    role, *rest = _role(node)
    return None if role == b"master" else str(rest[0].decode())


def streams(node: str) -> bool:
    """Whether this node's Redis is a replica that receives what its primary writes."""
    role, *rest = _role(node)
    return bool(role == b"slave" and rest[2] == b"connected")


def primaries() -> list[str]:
    """The nodes whose Redis calls itself primary."""
    return [node for node in NODES if follows(node) is None]


@contextmanager
def cluster() -> Iterator[None]:
    """The cluster, as soon as every replica follows n1 and every Sentinel answers; who sees whom is then still to come.

    Sentinels ask for replicas when they start and then every 10 s, so they start when the replicas are there.
    """
    with directory_of() as directory, ExitStack() as stack:
        children = {node: _start(stack, directory, node, _redis) for node in NODES}
        _wait(children, lambda node: _answers(node, REDIS), "it answers")
        _wait(children, lambda node: node == FIRST or streams(node), f"it follows {FIRST}")
        children = {node: _start(stack, directory, node, _sentinel) for node in NODES}
        _wait(children, lambda node: _answers(node, SENTINEL), "it answers")
        yield


def _start(stack: ExitStack, directory: Path, node: str, command: Callable[[str, Path], list[str]]) -> Child:
    """One server of a node, in a directory and with a hosts file of its own, until the stack ends."""
    home = Path(tempfile.mkdtemp(prefix=f"{node}-", dir=directory))
    hosts = home / "hosts"
    hosts.write_text(_hosts(node))
    child = Child([*_with_hosts(hosts), *command(node, home)], home)
    # It keeps nothing, and a primary that is asked to end waits for its replicas.
    stack.callback(child.stop, signal.SIGKILL)
    return child


def _wait(children: Mapping[str, Child], ready: Callable[[str], bool], what: str) -> None:
    """Until all of them are ready.

    :raises RuntimeError: one has ended; says what it said.
    """
    for node, child in children.items():
        wait_until(partial(_ready_or_ended, child, ready, node), START_SECONDS, f"{node}: {what}")
        if child.ended:
            raise RuntimeError(f"{child.command} ended with {child.process.returncode}:\n{child.output}")


def _ready_or_ended(child: Child, ready: Callable[[str], bool], node: str) -> bool:
    return child.ended or ready(node)


def _number(node: str) -> int:
    return NODES.index(node) + 1


def _address(node: str) -> str:
    """Where the node really is, as configs/redis-sentinel.yaml has it."""
    return f"127.0.0.1{_number(node)}"


def _hosts(node: str) -> str:
    """The hosts file of a node: itself where it is, the others where the proxies from it to them listen."""
    lines = ["127.0.0.1 localhost"]
    for other in NODES:
        address = _address(node) if other == node else f"127.1.{_number(node)}.{_number(other)}"
        lines.append(f"{address} {other}")
    return "\n".join(lines) + "\n"


def _with_hosts(hosts: Path) -> list[str]:
    """The words that run a command with this file as /etc/hosts. They exec it, so the child's id stays its own."""
    # mount asks who we are, not what we may do: one who is not root has to be root of a user namespace.
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return [find("unshare"), *as_root, "--mount", "sh", "-c", script, str(hosts)]


def _redis(node: str, home: Path) -> list[str]:
    following = [] if node == FIRST else ["--replicaof", FIRST, str(REDIS)]
    return [
        find("redis-server"), "--bind", _address(node), "--port", str(REDIS), "--dir", str(home),
        "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0",
        "--replica-announce-ip", node, *following,
    ]  # fmt: skip


def _sentinel(node: str, home: Path) -> list[str]:
    """A Sentinel writes what it learns into its configuration, so it needs a file."""
    configuration = home / "sentinel.conf"
    configuration.write_text(_SENTINEL.format(address=_address(node), port=SENTINEL, home=home, node=node))
    return [find("redis-server"), str(configuration), "--sentinel"]


_SENTINEL = f"""\
bind {{address}}
port {{port}}
dir {{home}}
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip {{node}}
sentinel monitor {GROUP} {FIRST} {REDIS} 3
sentinel down-after-milliseconds {GROUP} 1500
sentinel failover-timeout {GROUP} 6000
sentinel parallel-syncs {GROUP} 4
"""


@contextmanager
def _client(node: str, port: int) -> Iterator[redis.Redis]:
    """A client that tries again: a Sentinel that tells a Redis whom to follow ends all its clients' connections."""
    client = redis.Redis(
        host=_address(node), port=port, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 3),
    )  # fmt: skip
    try:
        yield client
    finally:
        client.close()


# Any: what follows the role differs by role.
def _role(node: str) -> list[Any]:
    with redis_of(node) as client:
        answer: Any = client.role()
    return list(answer)


def _answers(node: str, port: int) -> bool:
    try:
        with _client(node, port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
