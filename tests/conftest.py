"""What all of the suite shares: real servers, once per test process, the marker `namespace`, and flaky tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import flaky
from tests.servers import backends, namespace


def pytest_configure(config: pytest.Config) -> None:
    flaky.configure(config)
    if namespace.INSIDE not in os.environ:  # there one test runs, and Hypothesis takes a second to import
        from hypothesis import HealthCheck, settings

        suite = settings(
            # Both are bounds on wall time, which a busy machine exceeds.
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            print_blob=True,
            # CI uses the same examples each time, so that only a change makes it fail; every other run explores.
            derandomize=os.environ.get("CI") == "true",
        )
        settings.register_profile("suite", suite)
        settings.register_profile("quick", suite, max_examples=20)
        settings.load_profile(config.getoption("--hypothesis-profile") or "suite")


LONGEST = (
    ("tests/e2e/test_worked_examples.py", "tests/claims/test_quiet.py", "tests/clients/test_redis_clients.py"),
    ("tests/clients/test_known.py", "tests/clients/test_under_faults.py", "tests/clients/test_broker_clients.py"),
    ("tests/cli/test_demo.py", "tests/cli/test_probe.py", "tests/clients/test_postgres_clients.py",
     "tests/clients/test_mysql_clients.py"),
)  # fmt: skip
"""The modules that wait longest, in real time: a group for each process."""


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what starts a process of pytest or a real server, and spread the longest tests.

    Each process begins with a part of the tests, and takes from others when it has no more. So the longest, which
    mostly wait, come first in each of three parts: at the end, the others would wait for them.
    """
    for item in items:
        if item.get_closest_marker("namespace") or item.get_closest_marker("real_server"):
            item.add_marker("slow")
    longest = [[item for item in items if item.nodeid.startswith(group)] for group in LONGEST]
    others = [item for item in items if not item.nodeid.startswith(sum(LONGEST, ()))]
    part = -(-len(items) // len(LONGEST))
    items.clear()
    for tests in longest:
        room = max(0, part - len(tests))
        items += tests + others[:room]
        del others[:room]
    items += others


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
