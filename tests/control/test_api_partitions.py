"""/v1/partitions, /v1/capabilities, and what partitions do to healing, status and faults, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from collections.abc import AsyncIterator

import pytest

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.events import Event, PartitionAdded, PartitionExpired, PartitionFlapped, PartitionRemoved
from chaosproxy.net.kernel import Capabilities, Capability
from tests.control.serving import Answer, Api, serving

LACKING, REMEDY = "this kernel asks for a privilege", "have it granted"
NO_FILTERS = Capabilities(
    Capability("filters", "drops packets", LACKING, REMEDY),
    Capability("pacing", "keeps a rate"),
    Capability("tcp_info", "tells"),
)
WHY = f"{LACKING}; {REMEDY}, or give mode: stream (`chaosproxy doctor` explains)"
APP_DB = {"from": "app", "to": "db-primary"}
HERE = "/v1/partitions"


@asynccontextmanager
async def nodes_serving(monkeypatch: pytest.MonkeyPatch, kernel: Capabilities = NO_FILTERS) -> AsyncIterator[Api]:
    """Two proxies between three nodes, and one between none, on a machine that can do what `kernel` says."""
    monkeypatch.setattr("chaosproxy.control.supervisor.probe", lambda: kernel)
    async with asyncio.timeout(20), serving() as api:
        for name, nodes in (
            ("db", APP_DB), ("cache", {"from": "app", "to": "cache"}), ("plain", {}),
        ):  # fmt: skip
            wish = {"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", **nodes}
            assert (await api.ask("POST", "/v1/proxies", wish)).status == 201
        yield api
