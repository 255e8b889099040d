"""What several parts of the suite share: real servers, once per test process, and the marker `namespace`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import backends, namespace


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    return namespace.run_marked(item, nextitem)


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
