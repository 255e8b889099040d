"""The course of a probe, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.probe.course import LOOK_S, Course, Heal, Order, Put, Stop, Wait
from chaosproxy.probe.plan import PlanName, plan_of
from chaosproxy.probe.seen import Seen
from tests.probe.looks import reaction, timeout

Reacting = Callable[[str, float], dict[str, Any]]  # Any: JSON
"""Returns the reaction to a fault, from its name and the seconds since it began."""


class World:
    """A proxy whose clients ask ten times per second, apart from faults; each look takes `slow` seconds."""

    def __init__(self, course: Course, react: Reacting, rate: float = 10.0, slow: float = 0.0) -> None:
        self.course, self.react, self.rate, self.slow = course, react, rate, slow
        self.at, self.answered = 100.0, 0.0
        self.on: Put | None = None
        self.put_at = 0.0
        self.began: dict[str, float] = {}
        self.outside: dict[str, float] = {}
        """Faults of others, each with the time from which on it is there."""
        self.healed_at = float("inf")
        """The time at which another heals everything."""
        self.log: list[tuple[float, Order]] = []
        self.open = 0
        self.comes_back = True
        self.refuses: set[str] = set()
        """Faults that the server refuses."""
        self.restarts_at = float("inf")
        """The time from which on the server counts anew."""

    def look(self) -> Seen:
        self.at += self.slow
        if self.on is not None and (self.at >= self.put_at + self.on.ttl_s or self.at >= self.healed_at > self.put_at):
            self.on = None
        reactions: Mapping[str, Any] = {name: self.react(name, self.at - at) for name, at in self.began.items()}
        own = [self.on.name] if self.on else []
        others = [name for name, at in self.outside.items() if self.at >= at]
        return Seen(
            self.at, int(self.answered), 0, self.open, frozenset([*own, *others]), int(self.answered) * 300, reactions
        )

    def pass_by(self, seconds: float) -> None:
        self.at += seconds
        if self.at >= self.restarts_at:
            self.restarts_at, self.answered, self.on = float("inf"), 0.0, None
        if self.on is None and (self.comes_back or not self.began):
            self.answered += self.rate * seconds

    def run(self) -> list[tuple[float, Order]]:
        for _ in range(10_000):
            order = self.course.next(self.look())
            self.log.append((self.at, order))
            match order:
                case Put():
                    assert self.on is None, "two faults at once"
                    if order.name in self.refuses:
                        self.log.pop()
                        self.course.refused("the server refused it")
                        continue
                    self.on, self.put_at, self.began[order.name] = order, self.at, self.at
                case Heal(name):
                    assert self.on is None or self.on.name == name
                    self.on = None
                case Wait(seconds):
                    assert 0 < seconds <= LOOK_S
                    self.pass_by(seconds)
                case Stop():
                    return self.log
        raise AssertionError("it does not end")

    @property
    def faults(self) -> list[str]:
        return [order.name.removeprefix("probe-") for _, order in self.log if isinstance(order, Put)]

    def lasted(self, name: str) -> float:
        [done] = [one for one in self.course.done if one.step.name == name]
        return done.seconds

    def because(self, name: str) -> str:
        [done] = [one for one in self.course.done if one.step.name == name]
        return done.because


def world(
    react: Reacting, plan: PlanName = "quick", protocol: str = "tcp", longest_s: float = 30.0, rate: float = 10.0
) -> World:
    return World(Course(plan_of(plan, protocol, longest_s)), react, rate)


def clear(name: str, since: float) -> dict[str, Any]:  # Any: JSON
    """Return a reaction that shows everything within two seconds, and recovers at once."""
    if since < 2:
        return reaction()
    return reaction(timeout(kind="read"), backoff="constant", double=1, recovered=0.1)


def none(name: str, since: float) -> dict[str, Any]:  # Any: JSON
    return reaction(recovered=0.1)


def test_each_fault_lasts_only_as_long_as_it_needs() -> None:
    one = world(clear, protocol="http")
    _, last = one.run()[-1]
    assert last == Stop("")
    assert one.faults == ["stall", "trickle", "reset", "refuse", "503", "lost-answer"]
    assert all(2 <= one.lasted(name) <= 2.6 for name in one.faults if name != "trickle")
    assert one.because("stall") == "shown: time-out, rhythm"
    assert one.course.reason == "" and one.course.on is None


def test_http_is_asked_only_of_http() -> None:
    one = world(clear)
    one.run()
    assert one.faults == ["stall", "trickle", "reset", "refuse"]


def test_without_a_time_out_the_stall_takes_its_longest_time_and_no_answer_is_lost() -> None:
    one = world(none, protocol="http", longest_s=20.0)
    one.open = 3
    one.run()
    assert one.lasted("stall") == pytest.approx(20.0, abs=0.02)
    assert one.faults == ["stall", "reset", "refuse", "503"]
    assert one.because("trickle") == one.because("lost-answer") == "skipped: no time-out is known"


def test_a_rhythm_gets_as_much_time_again_as_the_time_out_took() -> None:
    one = world(lambda name, since: reaction(timeout(), recovered=0.1) if since >= 4 else reaction())
    one.run()
    assert one.lasted("stall") == pytest.approx(8.0, abs=LOOK_S)


def test_a_fault_ends_when_the_clients_have_stopped_trying() -> None:
    one = world(lambda name, since: reaction(gave_up=2, recovered=0.1))
    one.run()
    assert one.because("stall") == "the clients stopped trying"
    assert one.lasted("stall") == pytest.approx(3.5, abs=LOOK_S)
    assert one.lasted("refuse") == pytest.approx(10.0, abs=0.02), "refused clients are not seen as turns"


def test_clients_that_wait_have_not_stopped_trying() -> None:
    one = world(lambda name, since: reaction(gave_up=2, recovered=0.1))
    one.open = 1
    one.run()
    assert one.lasted("stall") == pytest.approx(30.0, abs=0.02)


def test_the_full_plan_waits_for_a_breaker() -> None:
    one = world(clear, plan="full")
    one.run()
    assert one.lasted("stall") == pytest.approx(30.0, abs=0.02)
    assert one.lasted("reset") == pytest.approx(30.0, abs=0.02)

    def opens(name: str, since: float) -> dict[str, Any]:  # Any: JSON
        breaker = {"opened_after": 5, "open_s": 1.0, "trials": 2, "closed": False, "confidence": "likely"}
        return reaction(timeout(kind="read"), backoff="constant", double=1, recovered=0.1, breaker=breaker)

    one = world(lambda name, since: opens(name, since) if since >= 5 else clear(name, since), plan="full")
    one.run()
    assert one.lasted("stall") == pytest.approx(5.0, abs=LOOK_S)


def test_a_trickle_outlasts_the_time_out_although_its_kind_seems_to_be_known() -> None:
    one = world(lambda name, since: reaction(timeout(2.0, "read"), recovered=0.1))
    one.run()
    assert one.lasted("trickle") >= 5.0 and one.because("trickle") == "shown: kind"


def test_clients_that_ask_rarely_have_not_stopped_trying() -> None:
    """They ask every four seconds or so, and a fault that ends after three would show nothing."""
    one = world(lambda name, since: reaction(gave_up=2, recovered=0.1), rate=0.25)
    one.run()
    assert one.because("stall") == "the clients stopped trying"
    assert one.lasted("stall") == pytest.approx(12.0, abs=1.0)


def test_a_refused_fault_is_skipped_and_the_next_follows_at_once() -> None:
    one = world(clear)
    one.refuses = {"probe-reset"}
    one.run()
    assert one.faults == ["stall", "trickle", "refuse"]
    assert one.because("reset") == "skipped: the server refused it"
    assert [done.is_skipped for done in one.course.done] == [False, False, True, False]


@pytest.mark.parametrize("at", [103.0, 108.0])
def test_a_restart_stops_it(at: float) -> None:
    one = world(none)
    one.open = 1
    one.restarts_at = at
    _, last = one.run()[-1]
    assert isinstance(last, Stop) and "begun to count again" in last.reason
    assert one.course.on is None


def test_without_traffic_no_fault_is_put_on() -> None:
    one = world(clear, rate=0.0)
    at, last = one.run()[-1]
    assert one.faults == [] and isinstance(last, Stop)
    assert last.reason == "no traffic to learn from: no turn was answered within 15 s"
    assert at - 100.0 == pytest.approx(15.0, abs=0.02)


def test_it_stops_when_the_clients_do_not_come_back() -> None:
    one = world(lambda name, since: reaction(timeout()))
    one.comes_back = False
    _, last = one.run()[-1]
    assert one.faults == ["stall"] and isinstance(last, Stop)
    assert last.reason.startswith("no traffic to learn from any more: no turn was answered within 15 s after the stall")


def test_a_fault_of_another_stops_it() -> None:
    one = world(none)
    one.open = 1
    one.outside["theirs"] = 110.0
    one.run()
    assert [type(order) for _, order in one.log if not isinstance(order, Wait)] == [Put, Heal, Stop]
    assert one.course.reason == "the probe stopped, since another fault is on the proxy now: theirs"


def test_a_heal_from_outside_stops_it() -> None:
    one = world(none)
    one.open = 1
    one.healed_at = 112.0
    one.run()
    assert one.faults == ["stall"]
    assert one.course.reason == "the probe stopped, since probe-stall was healed from outside"


def test_the_caller_can_end_it() -> None:
    one = world(none)
    while one.course.on is None:
        order = one.course.next(one.look())
        if isinstance(order, Wait):
            one.pass_by(order.seconds)
    one.course.end(one.at + 1, "interrupted")
    assert one.course.on is None and one.because("stall") == "interrupted"
    assert one.course.next(one.look()) == Stop("interrupted")


@st.composite
def reactions(draw: st.DrawFn) -> Reacting:
    """Return reactions that show anything at any time."""
    shows = {
        name: (draw(st.floats(0, 40)), draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 2)))
        for name in ("stall", "trickle", "reset", "refuse", "503", "lost-answer")
    }
    seconds = draw(st.floats(0.05, 20))

    def react(name: str, since: float) -> dict[str, Any]:  # Any: JSON
        after, has_timeout, has_rhythm, gave_up = shows[name.removeprefix("probe-")]
        if since < after:
            return reaction()
        timeouts = [timeout(seconds, "read")] if has_timeout else []
        back = 0.1 if since > after + 5 else None
        return reaction(*timeouts, gave_up=gave_up, backoff="none" if has_rhythm else None, recovered=back)

    return react


@given(
    reactions(), st.sampled_from(["quick", "full"]), st.sampled_from(["tcp", "http"]), st.floats(0.5, 120),
    st.floats(0, 20), st.floats(0, 3), st.integers(0, 2), st.floats(100, 500), st.floats(100, 500), st.booleans(),
    st.sets(st.sampled_from(["probe-stall", "probe-trickle", "probe-503"])), st.floats(100, 500),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_the_laws_of_every_course(
    react: Reacting, plan: PlanName, protocol: str, longest_s: float, rate: float, slow: float, waiting: int,
    theirs: float, healed: float, comes_back: bool, refuses: set[str], restarts: float,
) -> None:  # fmt: skip
    """Every fault is healed, has a ttl and a bound, no two are on at once, and the whole course has a bound."""
    wanted = plan_of(plan, protocol, longest_s)
    one = World(Course(wanted), react, rate, slow)
    one.open, one.comes_back, one.refuses = waiting, comes_back, refuses
    if restarts < 300:
        one.restarts_at = restarts
    if theirs < 300:
        one.outside["theirs"] = theirs
    if healed < 300:
        one.healed_at = healed
    log = one.run()
    changes = [order for _, order in log if not isinstance(order, Wait)]
    assert isinstance(changes.pop(), Stop) and one.course.on is None and one.on is None
    for put, heal in zip(changes[::2], changes[1::2], strict=True):
        assert isinstance(put, Put) and heal == Heal(put.name)
        assert 0 < put.ttl_s <= longest_s + 3.0
    times = {order.name: at for at, order in log if isinstance(order, Put)}
    for at, order in log:
        if isinstance(order, Heal):
            assert at - times[order.name] <= longest_s + 2 * (slow + LOOK_S)
    looks = 2 * len(wanted.steps) + 2
    assert log[-1][0] - 100.0 <= wanted.most_s + looks * (2 * slow + LOOK_S)
