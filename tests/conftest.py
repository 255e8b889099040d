"""Fixtures that several parts of the suite share: real servers, once per test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import backends


@pytest.fixture(scope="session")
def postgres_port() -> Iterator[int]:
    with backends.postgres() as port:
        yield port


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    with backends.redis() as port:
        yield port


@pytest.fixture(scope="session")
def web_server() -> Iterator[backends.Web]:
    with backends.web() as server:
        yield server
