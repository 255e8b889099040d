"""psycopg, libpq with several hosts, psycopg_pool and SQLAlchemy, told from outside.

docs/reactions.md has the table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.clients.policy import (
    NEAR_S,
    assert_kept_out,
    assert_no_false_claim,
    assert_recovered,
    assert_rhythm,
    assert_timeouts,
)
from tests.clients.stage import FAULTS, Line, Program, Stage, stage
from tests.servers.processes import wait_until
from tests.servers.replication import connect, primary, standby

pytestmark = [pytest.mark.slow, pytest.mark.real_server]

FAULT_S, AFTER_S = 12.0, 6.0
PROMOTED_AFTER_S = 4.0
FAULTS_OF = {
    "shut_down": tuple(FAULTS), "cancelled": ("stall",), "statement": ("stall",), "retried": ("stall", "refuse"),
    "pool": ("refuse",), "pool_checked": ("refuse",), "engine": ("refuse",), "engine_pre_ping": ("refuse",),
    "any": ("stall",), "read_write": ("refuse",),
}  # fmt: skip
WORKERS = {"retried": 1}
"""The attempts of several clients on one host that are refused cannot be told apart."""
POOLED = [kind for kind in FAULTS_OF if kind.startswith(("pool", "engine"))]
CONNECT_S = 2.0
"""libpq's least `connect_timeout`."""


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with primary() as first, standby(first) as second:
        programs = [
            Program("postgres_programs", kind, first, faults, WORKERS.get(kind, 3))
            for kind, faults in FAULTS_OF.items()
        ]
        # The fault is on the first proxy of each service, which a program tries first.
        services = {
            "any-stall": {"any_1-stall": first, "any_2": second},
            "read_write-refuse": {"read_write_1-refuse": first, "read_write_2": second},
        }
        with stage(tmp_path_factory.mktemp("postgres"), programs, services) as made:
            made.put_on(FAULT_S)
            time.sleep(PROMOTED_AFTER_S)  # while clients try a standby that is read-only
            with connect(second) as connection:
                connection.execute("SELECT pg_promote()")
            made.play(None, AFTER_S)
            yield made


def test_a_socket_that_is_shut_down_at_a_deadline_is_told(clients: Stage) -> None:
    """Three connections are given up after 0.5 s. The attempts after them end with libpq's `connect_timeout`."""
    for fault in ("stall", "blackhole", "partition"):
        told = clients.told(f"shut_down-{fault}")
        assert_timeouts(told, [0.5, CONNECT_S], is_claimed=False, kinds=["unknown", "read", "connect"])
        assert told.proxy["gave_up"]["waited_s"]["min"] == pytest.approx(0.5, rel=0.05), told.story


def test_a_task_that_is_cancelled_at_a_deadline_waits_twenty_times_as_long(clients: Stage) -> None:
    """psycopg asks the server to cancel the query, for 5 s, waits for the result for 5 s, and only then closes."""
    told = clients.told("cancelled-stall")
    assert_timeouts(told, [5.0, 10.5], is_claimed=False, kinds=["unknown", "read"])
    assert told.proxy["gave_up"]["waited_s"]["min"] == pytest.approx(10.5, rel=0.05), told.story
    assert max(one.took_s for one in told.during()) == pytest.approx(10.5, rel=0.05)


def test_statement_timeout_and_tcp_user_timeout_do_not_end_a_silence(clients: Stage) -> None:
    """The server's error is held like an answer, and the kernel's bytes are all acknowledged."""
    gave_up = clients.told("statement-stall").proxy["gave_up"]
    assert (gave_up["count"], gave_up["timeouts"]) == (0, [])
    assert gave_up["none_within_s"] == pytest.approx(FAULT_S, abs=1.5)


def test_the_retries_of_refused_attempts_are_told(clients: Stage) -> None:
    assert_rhythm(clients.told("retried-refuse"), "constant", 0.3, None, None, is_claimed=False)
    told = clients.told("retried-stall")
    assert_timeouts(told, [0.4, CONNECT_S], is_claimed=False, kinds=["unknown", "read"])
    assert told.proxy["retries"]["reconnects"] > 0, told.story


@pytest.mark.parametrize("fault", ["reset", "refuse"])
def test_attempts_that_are_kept_out_are_counted(fault: str, clients: Stage) -> None:
    told = clients.told(f"shut_down-{fault}")
    assert_timeouts(told, [], is_claimed=False, kinds=[])
    assert_kept_out(told, 3)


@pytest.mark.parametrize("kind", POOLED)
def test_no_rhythm_and_no_time_out_of_a_pool_is_made_up(kind: str, clients: Stage) -> None:
    """psycopg_pool connects again after 1, 2, 4 s with jitter, for several connections at once."""
    told = clients.told(f"{kind}-refuse")
    assert_timeouts(told, [], is_claimed=False, kinds=[])
    assert_rhythm(told, None, None, None, None)


def test_a_pool_that_checks_its_connections_loses_no_call(clients: Stage) -> None:
    """Connections are ended while they are idle, with a server that can be reached."""
    began = {}
    for kind in POOLED:
        began[kind] = time.time()
        for one in clients.server.call("GET", f"/v1/connections?proxy={kind}-refuse")["connections"]:
            clients.server.call("DELETE", f"/v1/connections/{one['id']}?how=reset")

    def since(kind: str) -> list[Line]:
        return [one for one in clients.lines(f"{kind}-refuse") if one.began > began[kind]]

    wait_until(lambda: min(len(since(kind)) for kind in POOLED) >= 30, 30, "they go on", every=0.2)
    failed = {kind: sum(one.error is not None for one in since(kind)) for kind in POOLED}
    # A call that was under way is lost with its connection, whoever checks it before.
    assert max(failed["pool_checked"], failed["engine_pre_ping"]) <= 1 <= min(failed["pool"], failed["engine"]), failed


@pytest.mark.parametrize(
    ("client", "old", "new"),
    [("any-stall", "any_1-stall", "any_2"), ("read_write-refuse", "read_write_1-refuse", "read_write_2")],
)
def test_a_failover_of_libpq_is_that_of_the_log(client: str, old: str, new: str, clients: Stage) -> None:
    told = clients.told(old, client)
    [move] = clients.services[client]["failovers"]
    assert (move["from"], move["to"], move["stayed"]) == (old, new, [])
    ports = {one.place for one in told.before()}
    assert len(ports) == 1
    moved = min(one.at for one in told.lines if one.error is None and one.place not in ports)
    assert move["after_s"] == pytest.approx(moved - told.started, abs=NEAR_S), told.story
    assert move["share"] == pytest.approx(1.0, abs=0.1)
    if client == "any-stall":
        noticed = min(one.at for one in told.during() if one.error is not None)
        assert move["detect_s"] == pytest.approx(noticed - told.started, abs=NEAR_S), told.story
    else:
        assert move["after_s"] >= PROMOTED_AFTER_S, "a standby that is read-only has not taken over"


@pytest.mark.parametrize(
    "proxy",
    [f"{kind}-{fault}" for kind, faults in FAULTS_OF.items() for fault in faults if kind not in ("any", "read_write")],
)
def test_the_recovery_is_that_of_the_log(proxy: str, clients: Stage) -> None:
    told = clients.told(proxy)
    assert_recovered(told)
    assert_no_false_claim(told)
