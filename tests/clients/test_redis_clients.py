"""redis-py with its retry classes, told from outside. docs/reactions.md has the table."""

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

pytestmark = [pytest.mark.slow, pytest.mark.real_server]

FAULT_S, AFTER_S = 14.0, 6.0
PATIENCE = {"timeout": 0.4, "constant": 0.25, "exponential": 0.25, "full_jitter": 0.25}
FAULTS_OF = {
    "timeout": tuple(FAULTS), "none": ("stall",), "constant": ("stall",), "exponential": ("stall", "blackhole"),
    "full_jitter": ("stall",),
}  # fmt: skip
WORKERS = {"timeout": 3, "none": 3}
"""Of others one: equal greetings of several clients on one host cannot be told apart."""
PROXIES = [f"{kind}-{fault}" for kind, faults in FAULTS_OF.items() for fault in faults]
SILENT = [f"{kind}-{fault}" for kind in PATIENCE for fault in ("stall", "blackhole") if fault in FAULTS_OF[kind]]


@pytest.fixture(scope="module")
def clients(redis_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    programs = [
        Program("redis_programs", kind, redis_port, faults, WORKERS.get(kind, 1)) for kind, faults in FAULTS_OF.items()
    ]
    with stage(tmp_path_factory.mktemp("redis"), programs) as made:
        made.play(FAULT_S, AFTER_S)
        yield made


@pytest.mark.parametrize("proxy", SILENT)
def test_socket_timeout_is_told(proxy: str, clients: Stage) -> None:
    assert_timeouts(clients.told(proxy), [PATIENCE[proxy.split("-")[0]]], is_claimed=True, kinds=["unknown", "read"])


def test_each_new_work_after_a_time_out_is_a_reconnect_and_no_retry(clients: Stage) -> None:
    for fault in ("stall", "blackhole"):
        told = clients.told(f"timeout-{fault}")
        retries = told.proxy["retries"]
        assert retries["count"] == 0 and retries["backoff"] is None and retries["attempts_max"] is None, told.story
        failed = sum(one.error is not None for one in told.during())
        assert failed - 2 * WORKERS["timeout"] <= retries["reconnects"] <= failed, told.story


def test_a_client_without_a_time_out(clients: Stage) -> None:
    gave_up = clients.told("none-stall").proxy["gave_up"]
    assert (gave_up["count"], gave_up["timeouts"]) == (0, [])
    assert gave_up["none_within_s"] == pytest.approx(FAULT_S, abs=1.5)


def test_constant_backoff_is_told(clients: Stage) -> None:
    told = clients.told("constant-stall")
    assert_rhythm(told, "constant", 0.3, None, None)
    assert told.proxy["retries"]["backoff_of"] == "reconnects"


def test_exponential_backoff_is_told(clients: Stage) -> None:
    """On a busy machine a gap may be too long to fit, so one of the two may be silent."""
    told = [clients.told(f"exponential-{fault}") for fault in ("stall", "blackhole")]
    claimed = [one for one in told if one.proxy["retries"]["backoff"] is not None]
    assert claimed, [one.story for one in told]
    for one in claimed:
        assert_rhythm(one, "exponential", 0.2, 2.0, None)
        assert one.proxy["retries"]["backoff_of"] == "reconnects"


def test_a_few_gaps_with_full_jitter_are_no_rhythm(clients: Stage) -> None:
    assert_rhythm(clients.told("full_jitter-stall"), None, None, None, None)


def test_a_one_way_partition_leaves_too_little_to_be_wrong_about(clients: Stage) -> None:
    """New attempts to connect are not answered, so each connection is given up once."""
    told = clients.told("timeout-partition")
    assert_timeouts(told, [PATIENCE["timeout"]], is_claimed=False, kinds=["unknown", "read"])
    assert told.proxy["gave_up"]["count"] == WORKERS["timeout"], told.story
    assert_rhythm(told, None, None, None, None)


@pytest.mark.parametrize("fault", ["reset", "refuse"])
def test_attempts_that_are_kept_out_are_counted(fault: str, clients: Stage) -> None:
    told = clients.told(f"timeout-{fault}")
    assert_timeouts(told, [], is_claimed=False, kinds=[])
    assert_kept_out(told, WORKERS["timeout"])


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_recovery_is_that_of_the_log(proxy: str, clients: Stage) -> None:
    """The first good turn is the greeting of redis-py, some time before the call that waits for it has ended."""
    told = clients.told(proxy)
    assert_recovered(told, early_s=0.1)
    assert_no_false_claim(told)
