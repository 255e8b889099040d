"""A Redis primary that is cut off from its replicas, and what becomes of what is written to it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import wait_until
from tests.servers.sentinel import (
    FIRST,
    NODES,
    View,
    believed,
    cluster,
    follows,
    has_quorum,
    primaries,
    redis_of,
    streams,
    view,
)

pytestmark = [pytest.mark.real_server, pytest.mark.namespace(seconds=240), pytest.mark.slow]

CONFIG = Path(__file__).parent.parent.parent / "configs" / "redis-sentinel.yaml"
OTHERS = tuple(node for node in NODES if node != FIRST)
MEET_SECONDS = 60.0
"""A Sentinel says hello every 2 s and asks for replicas every 10 s."""
ELECT_SECONDS = 60.0
"""About 5: n1 is down after 1.5, its failover takes 3. Where the vote was split, the next try is 12 later."""
JOIN_SECONDS = 90.0
"""About 10 to 20: Sentinels hear of one another every 2, and leave n1 8 to become a replica before they make it one."""
COPY_SECONDS = 30.0
"""For what takes no time: a write reaches the replicas, a replica that was made one gets its copy."""


def test_what_an_isolated_primary_accepts_is_lost_when_it_comes_back(tmp_path: Path) -> None:
    with serving(tmp_path, str(CONFIG)) as proxies, cluster():
        wait_until(lambda: all_see(FIRST), MEET_SECONDS, "five Sentinels agree on n1 and know all others")
        wait_until(lambda: unused(proxies) == [], COPY_SECONDS, "every way from node to node is in use")
        write(FIRST, "before")
        wait_until(lambda: holders("before") == [*NODES], COPY_SECONDS, "every replica has the write")

        with isolated(proxies, FIRST):
            wait_until(lambda: elected() is not None, ELECT_SECONDS, "the four others agree on a new primary")
            chosen = elected()
            assert chosen is not None

            # Split brain: n1 and its Sentinel know nothing of it. Too few to elect, they are enough to go on.
            assert primaries() == [FIRST, chosen]
            assert view(FIRST).primary == FIRST
            assert not has_quorum(FIRST)
            assert has_quorum(chosen)
            write(FIRST, "isolated")
            write(chosen, "elected")
            wait_until(lambda: holders("elected") == [*OTHERS], COPY_SECONDS, "the three others have the write")
            assert holders("isolated") == [FIRST]

        wait_until(lambda: follows(FIRST) == chosen, JOIN_SECONDS, "n1 is a replica of the new primary")
        wait_until(lambda: all_see(chosen), COPY_SECONDS, "five Sentinels agree, and every replica follows")
        assert primaries() == [chosen]
        assert holders("before") == holders("elected") == [*NODES]
        # n1 said OK to it, and it is nowhere.
        assert holders("isolated") == []


@contextmanager
def isolated(proxies: ChaosproxyServer, node: str) -> Iterator[None]:
    """A partition between this node and all others, for the block."""
    made = proxies.call("POST", "/v1/partitions", {"topology": {"isolate": node}})
    yield
    proxies.call("DELETE", f"/v1/partitions/{made['id']}")


def unused(proxies: ChaosproxyServer) -> list[str]:
    """The proxies without a connection."""
    return [proxy["name"] for proxy in proxies.call("GET", "/v1/proxies")["proxies"] if not proxy["connections"]]


def all_see(primary: str) -> bool:
    """Whether all Sentinels see this primary in good health, with all replicas and one another, and all replicas do."""
    everyone = View(primary, replicas=len(NODES) - 1, sentinels=len(NODES) - 1, flags="master")
    return all(view(node) == everyone for node in NODES) and all(
        follows(node) == primary and streams(node) for node in NODES if node != primary
    )


def elected() -> str | None:
    """The node that all but n1 take for their primary, and that takes itself for one."""
    [chosen, *more] = believed(OTHERS)
    if more or chosen == FIRST:
        return None
    followed = all(follows(node) == chosen for node in OTHERS if node != chosen)
    return chosen if followed and follows(chosen) is None else None


def write(node: str, key: str) -> None:
    with redis_of(node) as client:
        assert client.set(key, node) is True


def holders(key: str) -> list[str]:
    """The nodes that have this key."""
    found = []
    for node in NODES:
        with redis_of(node) as client:
            if client.exists(key):
                found.append(node)
    return found
