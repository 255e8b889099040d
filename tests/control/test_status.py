"""Status and counts: plain values, which another process could have sent."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Sequence
from dataclasses import FrozenInstanceError

import pytest
from prometheus_client import generate_latest

from chaosproxy.config import load
from chaosproxy.control.counts import Counts, ProxyCounts
from chaosproxy.control.status import ProxyStatus, connection_status, partition_status
from chaosproxy.control.v1.views import connection_view, nodes_view, partition_view, proxy_status_view
from chaosproxy.control.wall import WallClock
from chaosproxy.control.web.rendering import pieces
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.net.proxy import Proxy
from chaosproxy.observe import GcPauses, make_registry
from tests.net.building import partition
from tests.net.harness import Stage, receive, run, send
from tests.net.tls_peers import Certs
from tests.supervising import statuses

SLOW = {"type": "latency", "delay": "1ms", "direction": "upstream"}
REQUEST = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
EVERY = """\
version: 1
proxies:
  every:
    listen: 127.0.0.1:0
    upstream: 127.0.0.1:9
    protocol: http
    enabled: false
    listen_tls: {cert: "${CERTS}/api.test.pem", key: "${CERTS}/api.test.key"}
    faults:
"""


class Told:
    """A source of metrics in another process: it has counts and nothing else."""

    def __init__(self, counts: Counts) -> None:
        self._counts: bytes = pickle.dumps(counts)

    def proxies(self) -> Sequence[Proxy]:
        return ()

    def counts(self, taken: tuple[ProxyCounts, ...] | None = None) -> Counts:
        counts: Counts = pickle.loads(self._counts)
        return counts

    def metrics(self) -> str:
        return generate_latest(make_registry(self, GcPauses(), "asyncio")).decode()


def views_of(proxies: Sequence[ProxyStatus], wall: WallClock) -> list[str]:
    return ["".join(pieces(proxy_status_view(one, wall))) for one in proxies]


async def populate(stage: Stage, certs: Certs) -> tuple[socket.socket, socket.socket]:
    """A connection with a fault and a partition on its proxy, and a proxy that has a fault of every type."""
    _, client, server = await stage.pair(
        protocol="http", **{"from": "a", "to": "b"}, faults={"slow": SLOW}
    )
    await send(client, REQUEST)
    assert await receive(server, len(REQUEST)) == REQUEST
    stage.supervisor.partitions.add(partition("cut", **{"from": "a", "to": "b"}), "test")
    faults = "".join(f"      {kind}: {one.example}\n" for kind, one in FAULT_TYPES.items())
    [every] = load((EVERY + faults).encode(), "every.yaml", {"CERTS": str(certs.directory)}).proxies
    await stage.supervisor.add_proxy(every, "test")
    return client, server


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


def test_a_status_goes_through_a_pipe_and_shows_the_same(certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        await populate(stage, certs)
        proxies = statuses(stage.supervisor)
        assert [len(one.faults) for one in proxies] == [1, len(FAULT_TYPES)]
        told: list[ProxyStatus] = pickle.loads(pickle.dumps(proxies))
        assert told == proxies
        wall = WallClock(lambda: 0.0, lambda: 0.0)
        assert views_of(told, wall) == views_of(proxies, wall)
        assert nodes_view(told) == nodes_view(proxies)
        [active] = stage.supervisor.partitions.all()
        cut = partition_status(active, stage.supervisor.proxies())
        assert partition_view(pickle.loads(pickle.dumps(cut)), wall) == partition_view(cut, wall)
        [connection] = map(connection_status, stage.supervisor.proxy("proxy").connections.values())
        assert pickle.loads(pickle.dumps(connection)) == connection
        assert connection_view(connection)["id"] == "proxy:1"

    run("uvloop", scenario)


def test_a_status_stays_as_it_was(certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        await populate(stage, certs)
        proxies = statuses(stage.supervisor)
        wall = WallClock(lambda: 0.0, lambda: 0.0)
        before = views_of(proxies, wall)
        stage.supervisor.heal("test")
        await stage.supervisor.remove_proxy("every", "test")
        assert views_of(proxies, wall) == before != views_of(statuses(stage.supervisor), wall)
        with pytest.raises(FrozenInstanceError):
            proxies[0].connections = 7  # type: ignore[misc]

    run("uvloop", scenario)


def test_metrics_are_made_from_counts_that_went_through_a_pipe(certs: Certs) -> None:
    async def scenario(stage: Stage) -> None:
        client, server = await populate(stage, certs)
        counts = stage.supervisor.counts()
        here = Told(counts).metrics()
        assert 'chaosproxy_bytes_total{direction="upstream",proxy="proxy"} 28.0' in here
        assert 'chaosproxy_fault_chunks_touched_total{fault="slow",proxy="proxy"} 1.0' in here
        assert 'chaosproxy_pair_cut{from="a",to="b"} 1.0' in here
        stage.supervisor.partitions.remove("cut", "test")
        await send(client, REQUEST)
        await receive(server, len(REQUEST))
        stage.supervisor.heal("test")
        await stage.supervisor.remove_proxy("proxy", "test")
        await stage.event("connection_closed")
        assert Told(counts).metrics() == here, "counts stay as they were"

    run("uvloop", scenario)
