"""PyMySQL with read_timeout and connect_timeout, told from outside. docs/reactions.md has the table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.policy import (
    assert_kept_out,
    assert_no_false_claim,
    assert_recovered,
    assert_rhythm,
    assert_timeouts,
)
from tests.clients.stage import FAULTS, Program, Stage, stage
from tests.servers.mariadb import mariadb

pytestmark = [pytest.mark.slow, pytest.mark.real_server]

FAULT_S, AFTER_S = 10.0, 6.0
FAULTS_OF = {
    "read": tuple(FAULTS), "none": ("stall",), "each": ("stall", "refuse"), "connect": ("stall",),
    "constant": ("stall", "refuse"),
}  # fmt: skip
WORKERS = {"constant": 1}
"""The attempts of several clients on one host that are refused cannot be told apart."""
PROXIES = [f"{kind}-{fault}" for kind, faults in FAULTS_OF.items() for fault in faults]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with mariadb() as port:
        programs = [
            Program("mysql_programs", kind, port, faults, WORKERS.get(kind, 3)) for kind, faults in FAULTS_OF.items()
        ]
        with stage(tmp_path_factory.mktemp("mysql"), programs) as made:
            made.play(FAULT_S, AFTER_S)
            yield made


@pytest.mark.parametrize(
    ("proxy", "s"),
    [("read-stall", 0.5), ("read-blackhole", 0.5), ("each-stall", 0.7), ("constant-stall", 0.3)],
)
def test_read_timeout_is_told_also_of_the_greeting(proxy: str, s: float, clients: Stage) -> None:
    """MySQL's server speaks first. A client that waits for it has sent nothing: its time-out is told as `connect`."""
    told = clients.told(proxy)
    assert_timeouts(told, [s], is_claimed=True, kinds=["connect", "unknown", "read"])
    kinds = [one["kind"] for one in told.proxy["gave_up"]["timeouts"] if one["confidence"] == "sure"]
    assert "connect" in kinds, told.story


def test_a_client_without_a_time_out(clients: Stage) -> None:
    gave_up = clients.told("none-stall").proxy["gave_up"]
    assert (gave_up["count"], gave_up["timeouts"]) == (0, [])
    assert gave_up["none_within_s"] == pytest.approx(FAULT_S, abs=1.5)


def test_connect_timeout_does_not_bound_the_greeting(clients: Stage) -> None:
    """PyMySQL's `connect_timeout` of 0.6 s ends when TCP is connected, and a stall does not prevent that."""
    told = clients.told("connect-stall")
    assert told.proxy["gave_up"]["count"] == 0 and told.proxy["gave_up"]["timeouts"] == [], told.story
    assert not any(one.error for one in told.during()), "the log agrees: no call ended"


def test_constant_pauses_between_refused_attempts_are_told(clients: Stage) -> None:
    told = clients.told("constant-refuse")
    assert_rhythm(told, "constant", 0.4, None, None, is_claimed=False)
    assert told.proxy["retries"]["backoff_of"] in ("reconnects", None)


def test_a_one_way_partition_leaves_too_little_to_be_wrong_about(clients: Stage) -> None:
    assert_timeouts(clients.told("read-partition"), [0.5], is_claimed=False, kinds=["unknown", "read", "connect"])


@pytest.mark.parametrize("proxy", ["read-reset", "read-refuse", "each-refuse"])
def test_attempts_that_are_kept_out_are_counted(proxy: str, clients: Stage) -> None:
    told = clients.told(proxy)
    assert_timeouts(told, [], is_claimed=False, kinds=[])
    assert_kept_out(told, 3)


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_recovery_is_that_of_the_log(proxy: str, clients: Stage) -> None:
    told = clients.told(proxy)
    assert_recovered(told)
    assert_no_false_claim(told)
