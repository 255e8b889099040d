"""A `chaosproxy serve` of its own for each test, once on uvloop and once on plain asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.chaos import ChaosproxyServer, serving


@pytest.fixture(params=["uvloop", "asyncio"])
def loop_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def chaosproxy_server(loop_name: str, tmp_path: Path) -> Iterator[ChaosproxyServer]:
    with serving(tmp_path, "--loop", loop_name) as server:
        yield server
