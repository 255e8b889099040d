"""What all of the suite shares: real servers, once per test process, the marker `namespace`, and flaky tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import flaky
from tests.servers import backends, namespace

# Hypothesis's own bounds are of wall time, and a loaded machine must not decide whether a property holds. CI plays the
# same examples each time, so that it judges a change and not the dice; every other run explores.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    flaky.configure(config)
    if namespace.INSIDE not in os.environ:  # there one test runs, and Hypothesis takes a second to import
        from hypothesis import HealthCheck, settings

        # Both are bounds on wall time, which a busy machine exceeds.
        settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("suite")


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
