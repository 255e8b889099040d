"""A `chaosproxy serve` for the tests of a module, once on uvloop and once on plain asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.chaos import ChaosproxyServer, serving


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def loop_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def running_server(loop_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosproxyServer]:
    with serving(tmp_path_factory.mktemp("chaosproxy"), "--loop", loop_name) as server:
        yield server


@pytest.fixture
def chaosproxy_server(running_server: ChaosproxyServer) -> Iterator[ChaosproxyServer]:
    """One without proxies and partitions; others in the module have used it before."""
    yield running_server
    running_server.heal()
    for proxy in running_server.call("GET", "/v1/proxies")["proxies"]:
        running_server.call("DELETE", f"/v1/proxies/{proxy['name']}")


@pytest.fixture
def own_server(loop_name: str, tmp_path: Path) -> Iterator[ChaosproxyServer]:
    """One that the test may stop."""
    with serving(tmp_path, "--loop", loop_name) as server:
        yield server
