"""The verdict of each act, on measurements that show its effect and on ones that do not."""

from __future__ import annotations

import pytest

from chaosproxy.demo.acts import Attempt, Facts, Outcome, judge, summary, switches
from chaosproxy.demo.policy import Policy, Role

POLICY = Policy(timeout=0.5)


def row(*told: tuple[Role, float, Outcome], count: int = 1) -> list[Attempt]:
    """Attempts one after the other, from second 100 on."""
    now, attempts = 100.0, []
    for role, took, outcome in told * count:
        attempts.append(Attempt(role, now, took, outcome))
        now += took
    return attempts


def verdict(act: str, attempts: list[Attempt], baseline: float | None = 0.001) -> bool:
    return judge(act, Facts(100.0, attempts, baseline), POLICY).holds


RESPONSE: tuple[Role, float, Outcome] = ("primary", 0.001, "responded")
SLOW: tuple[Role, float, Outcome] = ("primary", 0.101, "responded")
GAVE_UP: tuple[Role, float, Outcome] = ("primary", 0.501, "gave up")
RESET: tuple[Role, float, Outcome] = ("primary", 0.02, "reset")
REPLICA: tuple[Role, float, Outcome] = ("replica", 0.001, "responded")


@pytest.mark.parametrize(
    ("act", "attempts"),
    [
        ("baseline", row(RESPONSE, count=30)),
        ("latency", row(SLOW, count=12)),
        ("stall", row(GAVE_UP, GAVE_UP, RESPONSE)),
        ("reset", row(RESPONSE, RESPONSE, RESET, count=4)),
        ("partition", row(GAVE_UP, GAVE_UP, GAVE_UP) + row(*[REPLICA] * 9)),
        ("heal", row(*[REPLICA] * 5, *[RESPONSE] * 9)),
    ],
)
def test_an_act_that_showed_its_effect_holds(act: str, attempts: list[Attempt]) -> None:
    assert verdict(act, attempts)


@pytest.mark.parametrize(
    ("act", "attempts"),
    [
        ("baseline", row(RESPONSE, count=5)),
        ("baseline", row(*[RESPONSE] * 30, RESET)),
        ("latency", row(RESPONSE, count=12)),
        ("latency", row(*[SLOW] * 12, GAVE_UP)),
        ("stall", row(RESPONSE, count=30)),
        ("stall", row(GAVE_UP, GAVE_UP)),
        ("stall", row(("primary", 0.9, "gave up"), RESPONSE)),
        ("reset", row(*[RESPONSE] * 30, RESET)),
        ("reset", row(RESET, count=9)),
        ("partition", row(GAVE_UP, count=5)),
        ("partition", row(*[REPLICA] * 9)),
        ("heal", row(REPLICA, count=30)),
        ("heal", row(("replica", 4.0, "responded"), *[RESPONSE] * 9)),
    ],
)
def test_an_act_that_did_not_is_found_out(act: str, attempts: list[Attempt]) -> None:
    assert not verdict(act, attempts)


@pytest.mark.parametrize("act", ["baseline", "latency", "stall", "reset", "partition", "heal"])
def test_no_measurement_at_all_is_a_verdict_and_no_crash(act: str) -> None:
    shown = judge(act, Facts(100.0, []), POLICY)
    assert not shown.holds
    assert all(shown.lines)


def test_lines_carry_the_numbers() -> None:
    assert judge("latency", Facts(100.0, row(SLOW, count=12), 0.0012), POLICY).lines == (
        "median response time 1.2 ms -> 101 ms; no response was lost",
    )
    moved = judge("partition", Facts(100.0, row(GAVE_UP, GAVE_UP, GAVE_UP, *[REPLICA] * 9)), POLICY)
    assert moved.lines == (
        "gave up after 501 ms, 3 times, with a longer pause after each",
        "failed over to the replica after 1.5 s; 9 responses from it",
    )


def test_probes_are_not_counted_as_the_clients_own_time_outs() -> None:
    probes = [Attempt("primary", 100.0, 0.5, "gave up", probe=True)] * 4
    shown = judge("partition", Facts(100.0, [*row(GAVE_UP, GAVE_UP, GAVE_UP, *[REPLICA] * 9), *probes]), POLICY)
    assert "3 times" in shown.lines[0]


def test_summary_says_what_the_client_sees() -> None:
    assert summary(row(RESPONSE, RESPONSE, GAVE_UP)) == (
        "2 responses from the primary, median 1.0 ms; gave up once (after 501 ms)"
    )
    assert summary([]) == "no response"


def test_plain_replies_of_the_primary_are_not_worth_a_line() -> None:
    assert not switches(row(RESPONSE, RESPONSE))
    assert switches(row(RESPONSE, RESET))
    assert switches(row(REPLICA))
