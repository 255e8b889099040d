"""The rules that every fault type keeps, whatever flows and however it is cut."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.faults import LINK_FAULT_TYPES
from chaosproxy.faults.bandwidth import Bandwidth
from chaosproxy.faults.base import NEVER, Close, Fault, HalfClose, Opening, Reset, Send, Step
from chaosproxy.faults.blackhole import Blackhole
from chaosproxy.faults.corrupt import Corrupt
from chaosproxy.faults.latency import Latency, Wave
from chaosproxy.faults.limit_data import LimitData
from chaosproxy.faults.limit_time import LimitTime
from chaosproxy.faults.packet_loss import Burst, PacketLoss
from chaosproxy.faults.partition import Partition
from chaosproxy.faults.pause import Pause
from chaosproxy.faults.refuse import Refuse
from chaosproxy.faults.reset import Reset as ResetFault
from chaosproxy.faults.slicer import Slicer
from chaosproxy.faults.slow_close import SlowClose
from chaosproxy.faults.stall import Stall
from chaosproxy.faults.unreachable import Unreachable
from chaosproxy.model.placement import SELECTS
from chaosproxy.model.types import FAULT_TYPES
from tests.faults.playing import Wire, content, dice, opened, read, wrong

AT_DOOR_ALONE = {"slow_accept", "refuse", "unreachable", "tls_handshake"}
DOORS = AT_DOOR_ALONE | {"partition", "pause"}
"""Those that act at the door whatever their mode."""
MAY_LOSE = {"blackhole", "corrupt", "limit_data", "limit_time", "reset"}

FAULTS: tuple[Fault, ...] = (
    Latency(delay=0.1),
    *(
        Latency(delay=0.1, jitter=0.05, distribution=shape, correlation=0.3)
        for shape in ("uniform", "normal", "lognormal", "pareto", "exponential")
    ),
    Latency(delay=0.01, wave=Wave(shape="saw", amplitude=0.05, period=0.3)),
    Bandwidth(rate=20_000.0),
    Bandwidth(rate=1_000_000.0, burst=2_000, shared=True),
    Stall(),
    Stall(hold=0.2),
    Stall(hold=0.1, every=0.3),
    Blackhole(),
    Pause(),
    Partition(mode="stream"),
    PacketLoss(rate=0.3),
    PacketLoss(rate=0.3, correlation=0.5),
    PacketLoss(burst=Burst(p=0.2, r=0.5)),
    PacketLoss(rate=1.0),
    Slicer(size=100, variation=50, gap=0.001),
    Slicer(size=70),
    *(LimitData(size=2_000, then=then) for then in ("close", "reset", "stall")),
    *(LimitTime(time=0.2, then=then) for then in ("close", "reset", "stall")),
    SlowClose(delay=0.5),
    ResetFault(),
    ResetFault(delay=0.2),
    ResetFault(size=2_000),
    Corrupt(rate=0.01),
    Corrupt(rate=0.5, unit="byte"),
)
LOSSLESS = tuple(fault for fault in FAULTS if fault.type not in MAY_LOSE or getattr(fault, "then", "") == "stall")

MODAL = [name for name, fault in FAULT_TYPES.items() if fault.in_kernel is not None]
EXISTING = ("keep", "close", "reset")
AT_LISTENER = [name for name, fault in FAULT_TYPES.items() if fault.at_listener]

every_fault = pytest.mark.parametrize("fault", FAULTS, ids=repr)
every_lossless_fault = pytest.mark.parametrize("fault", LOSSLESS, ids=repr)
quick = settings(max_examples=12, deadline=None)


@st.composite
def traffic(draw: st.DrawFn) -> list[Step]:
    """Chunks of a recognisable stream, spread over half a second, and perhaps its end."""
    sizes = draw(st.lists(st.one_of(st.integers(1, 20), st.sampled_from((1448, 1449, 5000, 20_000))), max_size=12))
    now, position = 0.0, 0
    steps: list[Step] = []
    for size in sizes:
        now += draw(st.sampled_from((0.0, 0.0, 0.001, 0.0499, 0.1)))
        data = bytes((position + offset) * 31 % 251 for offset in range(size)) if size < 100 else _long(position, size)
        steps.append(Send(now, data))
        position += size
    end = draw(st.sampled_from((None, HalfClose, Reset, Close)))
    return steps if end is None else [*steps, end(now)]


_STREAM = bytes(offset * 31 % 251 for offset in range(251)) * 4_000


def _long(position: int, size: int) -> bytes:
    start = position % 251
    return _STREAM[start : start + size]


def ends(steps: list[Step]) -> list[str]:
    return [type(step).__name__ for step in steps if not isinstance(step, Send)]


def test_every_type_is_examined() -> None:
    assert {fault.type for fault in FAULTS} | AT_DOOR_ALONE == set(LINK_FAULT_TYPES)


@pytest.mark.parametrize("name", LINK_FAULT_TYPES)
def test_a_type_describes_itself_and_its_example_works(name: str) -> None:
    fault = FAULT_TYPES[name]
    assert fault.type == name
    assert fault.summary and fault.models.endswith(".")
    assert fault.depth in {"connection", "stream", "packet"}
    spec = read(yaml.safe_load(fault.example))
    assert type(spec.settings) is fault
    assert (spec.settings.admission() is not None) == (name in DOORS)
    assert (spec.settings.open(an_opening(spec.settings)) is None) == (name in AT_DOOR_ALONE)


@pytest.mark.parametrize(
    ("fault", "severs"),
    [
        (Blackhole(), True),
        (Partition(), True),
        (Partition(mode="packet", acks="drop"), True),
        (Pause(), True),
        (Stall(), True),
        (Stall(hold=1.0), False),
        (Stall(hold=1.0, every=2.0), False),
        *((kind(existing=existing), True) for kind in (Refuse, Unreachable) for existing in EXISTING),
        (Latency(delay=3600.0), False),
        (PacketLoss(rate=0.9), False),
        (PacketLoss(rate=1.0), True),
        (Bandwidth(rate=1.0), False),
        (LimitData(size=1), False),
        (Corrupt(rate=1.0), False),
    ],
    ids=repr,
)
def test_what_severs_lets_nothing_through(fault: Fault, severs: bool) -> None:
    assert fault.severs() == severs


def an_opening(fault: Fault) -> Opening:
    return Opening(dice, 0.0, fault.common())


def test_these_types_act_on_the_listener_and_these_in_the_kernel() -> None:
    assert set(AT_LISTENER) == {"unreachable", "partition", "pause"}
    assert {name: FAULT_TYPES[name].in_kernel for name in MODAL} == {
        "bandwidth": "pacing", "packet_loss": "filters", "unreachable": "filters", "partition": "filters",
    }  # fmt: skip


@pytest.mark.parametrize("name", LINK_FAULT_TYPES)
def test_exactly_those_that_act_in_the_kernel_have_a_mode(name: str) -> None:
    given = yaml.safe_load(FAULT_TYPES[name].example)
    for mode in ("auto", "stream", "packet"):
        assert [where for where, _ in wrong(given | {"mode": mode})] == ([] if name in MODAL else ["mode"])


@pytest.mark.parametrize("name", MODAL)
def test_in_mode_packet_the_kernel_acts_and_in_mode_stream_it_does_not(name: str) -> None:
    auto = read(yaml.safe_load(FAULT_TYPES[name].example)).settings
    opening = an_opening(auto)
    packet, stream = auto.in_mode("packet"), auto.in_mode("stream")
    assert type(packet) is type(stream) is type(auto)
    assert packet.open(opening) is None
    admission = packet.admission()
    filters = packet.loss(opening) is not None or (admission is not None and admission.by_filter)
    assert (filters, packet.pacing() is not None) == (auto.in_kernel == "filters", auto.in_kernel == "pacing")
    for fault in (auto, stream):
        assert (fault.loss(opening), fault.pacing()) == (None, None)
        assert (fault.open(opening) is None) == (name in AT_DOOR_ALONE)
        admission = fault.admission()
        assert admission is None or (not admission.by_filter and admission.drop is None)


@pytest.mark.parametrize("name", AT_LISTENER)
@pytest.mark.parametrize(
    ("parameter", "value"), [("probability", "20%"), ("probability", 0), ("skip", 2), ("count", 3), ("nth", 10)]
)
def test_what_acts_on_the_listener_cannot_leave_some_clients_alone(name: str, parameter: str, value: object) -> None:
    assert parameter in SELECTS
    assert wrong({"type": name, parameter: value}) == [(parameter, "not-applicable")]


@pytest.mark.parametrize("name", AT_LISTENER)
def test_what_acts_on_the_listener_may_say_that_it_leaves_nobody_alone(name: str) -> None:
    assert read({"type": name, "probability": "100%", "skip": 0, "nth": 1}).placement.touches_all


@every_fault
@quick
@given(steps=traffic(), seed=st.integers(0, 1000))
def test_a_stage_never_answers_before_the_step_arrived(fault: Fault, steps: list[Step], seed: int) -> None:
    stage = opened(fault, seed=seed)
    for step in steps:
        arrived, data = step.due, content([step])
        answers = list(stage.on_step(step))
        assert all(one.due >= arrived for one in answers)
        assert all(one.data for one in answers if isinstance(one, Send))
        if fault.type not in MAY_LOSE:
            assert content(answers) == data
        if len(answers) == 1 and content(answers) == data and answers[0].due == arrived:
            assert answers[0] is step, "a step left alone is that very object"


@every_fault
@quick
@given(steps=traffic(), seed=st.integers(0, 1000))
def test_on_a_wire_nothing_is_early_and_order_is_kept(fault: Fault, steps: list[Step], seed: int) -> None:
    wire = Wire(seed, it=fault).send(*steps).wait_until(5000.0)
    dues = [step.due for _, step in wire.left]
    assert dues == sorted(dues)
    assert all(at >= step.due for at, step in wire.left)
    if fault.type not in MAY_LOSE:
        assert content(steps).startswith(wire.bytes)
        assert ends(steps)[: len(ends([step for _, step in wire.left]))] == ends([step for _, step in wire.left])


@every_lossless_fault
@quick
@given(steps=traffic(), seed=st.integers(0, 1000), removed_at=st.floats(0.0, 1.0))
def test_removal_releases_everything_at_once_in_order(
    fault: Fault, steps: list[Step], seed: int, removed_at: float
) -> None:
    early = [step for step in steps if step.due <= removed_at]
    wire = Wire(seed, it=fault).send(*early).wait_until(removed_at)
    wire.set()
    assert wire.now == removed_at
    assert wire.bytes == content(early)
    assert ends([step for _, step in wire.left]) == ends(early)
    assert (wire.chain.held, wire.chain.chunks) == (0, 0)


@every_fault
@quick
@given(steps=traffic(), removed_at=st.floats(0.0, 1.0))
def test_nothing_is_held_after_removal(fault: Fault, steps: list[Step], removed_at: float) -> None:
    wire = Wire(it=fault).send(*steps).wait_until(removed_at)
    wire.set()
    assert (wire.chain.held, wire.chain.chunks, wire.chain.cost) == (0, 0, 0)


@pytest.mark.parametrize("before", LOSSLESS, ids=repr)
@quick
@given(steps=traffic(), after=st.sampled_from(LOSSLESS), changed_at=st.floats(0.0, 1.0))
def test_a_change_loses_nothing_and_keeps_order(
    before: Fault, after: Fault, steps: list[Step], changed_at: float
) -> None:
    early = [step for step in steps if step.due <= changed_at]
    wire = Wire(it=before).send(*early).wait_until(changed_at)
    wire.set(it=after)
    wire.send(*steps[len(early) :]).wait_until(wire.now + 1.0)
    wire.set()
    assert wire.bytes == content(steps)
    assert ends([step for _, step in wire.left]) == ends(steps)
    dues = [step.due for _, step in wire.left]
    assert dues == sorted(dues)


@every_fault
@quick
@given(steps=traffic(), seed=st.integers(0, 1000))
def test_same_seed_same_answer(fault: Fault, steps: list[Step], seed: int) -> None:
    one, other = (Wire(seed, it=fault).send(*steps).wait_until(5000.0) for _ in range(2))
    assert one.left == other.left


@every_fault
@quick
@given(steps=traffic(), seed=st.integers(0, 1000))
def test_a_neighbour_does_not_shift_the_dice(fault: Fault, steps: list[Step], seed: int) -> None:
    alone = Wire(seed, it=fault).send(*steps).wait_until(5000.0)
    beside = Wire(seed, it=fault, other=Latency(delay=0.0, jitter=0.01)).send(*steps).wait_until(5000.0)
    assert [what for _, what in beside.arrived()] == [what for _, what in alone.arrived()]
    after_constant = Wire(seed, it=fault, other=Latency(delay=1.0)).send(*steps).wait_until(5001.0)
    assert [at for at, _ in after_constant.left] == pytest.approx([at + 1.0 for at, _ in alone.left])


@every_fault
def test_what_is_held_is_counted(fault: Fault) -> None:
    wire = Wire(it=fault).send(Send(0.0, b"x" * 5000), Send(0.0, b"y"), HalfClose(0.0))
    for link in wire.chain.links:
        link.cut()
    held = [step for link in wire.chain.links for step in (*link.timed, *link.waiting)]
    assert wire.chain.held == len(content(held))
    assert wire.chain.chunks == len(held)
    if fault.type not in MAY_LOSE:
        assert wire.chain.held == 5001 - len(wire.bytes)


def test_a_stage_that_holds_for_ever_says_never() -> None:
    assert [step.due for step in opened(Stall()).on_step(Send(1.0, b"x"))] == [NEVER]
