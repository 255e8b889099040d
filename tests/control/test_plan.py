"""The least that has to be done; pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.control.plan import FaultPlan, Plan, plan, plan_faults
from tests.net.building import fault, proxy

PROXIES = st.dictionaries(
    st.sampled_from("abcd"), st.sampled_from(("127.0.0.1:1", "127.0.0.1:2")), max_size=4
).map(lambda wanted: {name: proxy(name, upstream=upstream) for name, upstream in wanted.items()})


def test_a_change_of_faults_changes_the_proxy_and_nothing_else() -> None:
    before, after = proxy("a", upstream="h:1"), proxy("a", upstream="h:1", faults={"f": {"type": "stall"}})
    assert plan({"a": before}, [after]) == Plan(stop=(), change=(after,), start=())
    assert plan_faults(before.faults, after.faults) == FaultPlan(remove=(), put=after.faults)
    assert plan_faults(after.faults, before.faults) == FaultPlan(remove=("f",), put=())


def test_faults_that_stay_the_same_are_left_alone() -> None:
    stall, slow = fault("a", type="stall"), fault("b", type="latency", delay="1s")
    slower = fault("b", type="latency", delay="2s")
    assert plan_faults([stall, slow], [stall, slower]) == FaultPlan(remove=(), put=(slower,))


@given(PROXIES, PROXIES)
def test_carrying_out_a_plan_gives_what_was_wanted(now: dict[str, object], wanted: dict[str, object]) -> None:
    steps = plan(now, wanted.values())  # type: ignore[arg-type]
    after = {name: spec for name, spec in now.items() if name not in steps.stop}
    after |= {spec.name: spec for spec in (*steps.change, *steps.start)}
    assert after == wanted
    assert not any(now.get(spec.name) == spec for spec in steps.change)
