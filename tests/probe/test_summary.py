"""The findings of a probe, from the reactions to its faults."""

from __future__ import annotations

from typing import Any

import pytest

from chaosproxy.probe.course import Done
from chaosproxy.probe.plan import PLANS, PlanName
from chaosproxy.probe.seen import Seen
from chaosproxy.probe.summary import Findings
from tests.probe.looks import reaction, timeout

STEPS = {step.name: step for step in PLANS["quick"].steps}


def findings(
    service: str | None = "db",
    skipped: str | None = None,
    failovers: tuple[Any, ...] = (),
    reason: str = "",
    plan: PlanName = "quick",
    is_whole: bool = True,
    **told: Any,  # Any: JSON
) -> Findings:
    """Return the findings from the reactions to these faults.

    The trickle is skipped for a reason, or with `skipped` None it has shown no reaction.
    """
    by_name = {name.replace("_", "-").removeprefix("x"): one for name, one in told.items()}
    done = [Done(STEPS[name], 4.0, "shown", is_whole=is_whole) for name in by_name]
    if skipped is None and "trickle" not in by_name:
        done.append(Done(STEPS["trickle"], 4.0, "its longest time, 4 s, was over", is_whole=True))
    elif skipped:
        done.append(Done(STEPS["trickle"], 0.0, f"skipped: {skipped}", is_skipped=True))
    reactions = {f"probe-{name}": one for name, one in by_name.items()}
    return Findings("web", done, Seen(9.0, reactions=reactions, failovers=failovers), service, plan, reason)


def test_time_outs_are_told_by_kind_each_once() -> None:
    found = findings(
        stall=reaction(timeout(0.5, "read"), timeout(2.0, "connect")), lost_answer=reaction(timeout(0.51, "read"))
    )
    by_kind: Any = found.found()["timeouts"]
    assert {kind: [one["s"] for one in times] for kind, times in by_kind.items()} == {"read": [0.5], "connect": [2.0]}
    assert by_kind["read"][0]["under"] == "stall"
    assert found.story()[0] == (
        "clients gave up after 0.5 s (sure, 3 times under the stall): a read time-out, which does not fire while bytes"
        " trickle"
    )
    assert not [line for line in found.not_learnt() if line.startswith(("time-out", "kind"))]


def test_a_kind_that_was_not_told_has_its_reason() -> None:
    found = findings(stall=reaction(timeout()), skipped="answers of 3 bytes are too short to trickle")
    assert "kind of the time-out: answers of 3 bytes are too short to trickle" in found.not_learnt()
    found = findings(stall=reaction(timeout()), trickle=reaction())
    assert [line for line in found.not_learnt() if "too few answers" in line]


def test_no_time_out_is_a_finding_with_a_bound() -> None:
    found = findings(stall=reaction(within=29.5))
    assert found.found()["none_within_s"] == 29.5 and found.has_any
    assert "no client gave up within 29.5 s of silence" in found.story()
    assert [line for line in found.not_learnt() if "--for 20s" in line]


def test_give_ups_that_differ_are_no_time_out() -> None:
    found = findings(stall=reaction(gave_up=4, within=None))
    assert found.found()["timeouts"] == {} and found.found()["none_within_s"] is None
    assert "time-outs: 4 gave up between 0.5 s and 0.7 s, too few or too different to say why" in found.not_learnt()


def test_equal_rhythms_are_one_sentence_and_the_most_attempts_count() -> None:
    found = findings(
        stall=reaction(backoff="constant", attempts=3), reset=reaction(backoff="constant", attempts=4),
        x503=reaction(backoff="none", double=2),
    )  # fmt: skip
    story = found.story()
    assert "clients tried again every 0.3 s, no jitter (sure, under the stall and the reset)" in story
    assert "clients tried again at once, without a pause, no jitter (sure, under the 503)" in story
    assert "a client made at most 4 attempts, under the reset" in story
    assert "2 requests were sent again although the server had answered: their effects may be double" in story
    backoff: Any = found.found()["backoff"]
    assert (backoff["law"], backoff["under"], found.found()["attempts_max"]) == ("constant", "stall", 4)


def test_breaker_failover_and_recovery_are_told() -> None:
    breaker = {"opened_after": 5, "open_s": 2.0, "trials": 3, "closed": True, "confidence": "likely"}
    move = {"from": "web", "to": "spare", "detect_s": 1.0, "after_s": 2.1, "share": 1.0, "failed_back_after_s": 3.0}
    found = findings(stall=reaction(breaker=breaker, recovered=0.4), failovers=(move,))
    story = found.story()
    assert "a circuit breaker opened after 5 failures in a row, for 2 s (likely, under the stall)" in story
    assert "100% of the load moved to spare 2.1 s after the fault, and came back 3 s after the heal" in story
    assert "back to normal: 0.4 s after the stall" in story
    assert found.found()["recovery"] == {"stall": 0.4} and found.found()["failover"] == move
    assert not [line for line in found.not_learnt() if line.startswith(("circuit", "failover", "recovery"))]


def test_nothing_found_is_said() -> None:
    reason = "no traffic to learn from: no turn was answered within 15 s"
    found = Findings("web", [], Seen(9.0), None, "quick", reason)
    assert not found.has_any and found.story() == [reason]
    open_questions = found.not_learnt()
    assert "time-outs: the stall was not tried" in open_questions and "retries: no fault was on" in open_questions


def test_each_open_question_is_told() -> None:
    found = findings(service=None, stall=reaction(), reset=reaction(recovered=1.0))
    starts = [line.partition(":")[0] for line in found.not_learnt()]
    assert starts == ["time-outs", "retries", "most attempts", "circuit breaker", "failover", "recovery"]
    assert "recovery: not seen after the stall, the reset" in found.not_learnt()


def test_without_a_trickle_of_the_probe_the_kind_is_not_known() -> None:
    """One that was on before may have shown other clients."""
    found = findings(stall=reaction(timeout(0.5, "read"), timeout(2.0, "connect")), skipped="no time")
    by_kind: Any = found.found()["timeouts"]
    assert set(by_kind) == {"unknown", "connect"}
    assert "kind of the time-out: no time" in found.not_learnt()


def test_of_equal_time_outs_the_best_is_told() -> None:
    many = timeout(0.5) | {"count": 12}
    found = findings(stall=reaction(timeout(0.49, confidence="likely")), reset=reaction(many))
    [told] = found.story()[:1]
    assert told.startswith("clients gave up after 0.5 s (sure, 12 times under the reset)")


def test_that_no_client_waited_is_not_told_as_a_time_out_above_the_stall() -> None:
    found = findings(stall=reaction(gave_up=0, within=None))
    assert "time-outs: no client was seen to wait or to give up under the stall" in found.not_learnt()
    cut = findings(stall=reaction(within=3.9), is_whole=False)
    [line] = [line for line in cut.not_learnt() if line.startswith("time-outs")]
    assert "--for" not in line


@pytest.mark.parametrize(("first", "second", "lines"), [(0.3, 0.31, 1), (0.26, 0.34, 2), (0.149, 0.151, 1)])
def test_rhythms_are_merged_if_they_are_equal(first: float, second: float, lines: int) -> None:
    one, other = reaction(backoff="constant"), reaction(backoff="constant")
    one["retries"]["first_gap_s"], other["retries"]["first_gap_s"] = first, second
    story = findings(stall=one, reset=other).story()
    assert len([line for line in story if "tried again" in line]) == lines


def test_a_linear_rhythm_has_its_step() -> None:
    one = reaction(backoff="linear")
    one["retries"] |= {"first_gap_s": 1.0, "step_s": 0.2}
    [line] = [line for line in findings(stall=one).story() if "tried again" in line]
    assert line.startswith("clients tried again after 1 s, and 0.2 s later each time, no jitter")


def test_after_a_fault_without_recovery_no_later_one_is_told() -> None:
    found = findings(stall=reaction(recovered=0.1), reset=reaction(), refuse=reaction(recovered=0.2))
    assert found.found()["recovery"] == {"stall": 0.1}
    assert "recovery: not seen after the reset, the refusal" in found.not_learnt()


def test_the_advice_for_a_breaker_fits_the_plan() -> None:
    for plan, words in (("quick", "try --plan full"), ("full", "try a longer --for")):
        found = findings(stall=reaction(), plan=plan)  # type: ignore[arg-type]  # a literal
        assert [line for line in found.not_learnt() if line.startswith("circuit breaker") and line.endswith(words)]
    assert "circuit breaker: no fault was on" in Findings("web", [], Seen(9.0), None, "quick", "").not_learnt()
