"""How events reach readers, on a loop whose clock jumps: wake-ups, heartbeats, readers that do not read, the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.control.v1.event_schemas import event_schemas
from chaosproxy.control.v1.event_stream import EventStream
from chaosproxy.control.web.wakeups import Wakeups
from chaosproxy.events import Bus, Event, ProxyRemoved
from chaosproxy.journal.form import KINDS
from chaosproxy.journal.ring import Ring
from chaosproxy.journal.stream import Cursor, EventFilter, event_text
from tests.net.stream.virtual import VirtualLoop


class Collecting:
    """A reader that keeps everything it receives, with the time; `gate` closed, it takes nothing."""

    def __init__(self) -> None:
        self.received: list[tuple[float, str]] = []
        self.largest = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_gone = False
        self._began = asyncio.get_running_loop().time()

    async def write(self, data: bytes) -> None:
        self.largest = max(self.largest, len(data))
        self.received.append((asyncio.get_running_loop().time() - self._began, data.decode()))
        await self.gate.wait()
        if self.is_gone:
            raise ConnectionResetError

    def abort(self) -> None:
        self.is_gone = True
        self.gate.set()

    @property
    def ids(self) -> list[int]:
        """The numbers of the events, without those of comments."""
        blocks = "".join(text for _, text in self.received).split("\n\n")
        return [int(block.partition("\n")[0].removeprefix("id: ")) for block in blocks if block.startswith("id: ")]


async def no_rest() -> None:
    """Go on at once."""


class Scene:
    """A ring and its stream on a virtual loop."""

    def __init__(self, size: int = 1_000) -> None:
        self.bus = Bus()
        self.ring = Ring(self.bus, size)
        self.stream = EventStream(self.ring, str)

    def publish(self, proxy: str = "p", count: int = 1) -> None:
        for _ in range(count):
            self.bus.publish(ProxyRemoved(at=0.0, proxy=proxy, by="test"))

    def start(
        self,
        after: int | None = None,
        wanted: EventFilter | None = None,
        end: int | None = None,
        rest: Callable[[], Awaitable[None]] = no_rest,
    ) -> tuple[Collecting, asyncio.Task[None]]:
        reader = Collecting()
        cursor = Cursor(self.ring, self.ring.last if after is None else after, wanted, end)
        return reader, asyncio.get_running_loop().create_task(self.stream.send(cursor, reader, rest))


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())  # type: ignore[arg-type]  # a coroutine
    assert loop.complaints == []


def test_a_reader_of_a_quiet_stream_sees_its_beginning_and_a_heartbeat_every_15_seconds() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.publish(count=3)
        reader, _ = scene.start()
        await asyncio.sleep(46.0)
        assert reader.received == [
            (0.0, ": the stream begins\nid: 3\n\n"),
            (15.0, ": heartbeat\n\n"), (30.0, ": heartbeat\n\n"), (45.0, ": heartbeat\n\n"),
        ]  # fmt: skip
        scene.publish()
        await asyncio.sleep(14.9)
        assert [at for at, _ in reader.received[4:]] == [46.0], "an event is no silence"
        scene.stream.close()

    play(scenario)


def test_a_heartbeat_tells_where_to_resume_when_other_events_passed() -> None:
    async def scenario() -> None:
        scene = Scene()
        reader, _ = scene.start(wanted=EventFilter(proxies=frozenset({"q"})))
        for _ in range(25):
            await asyncio.sleep(1.0)
            scene.publish("p")
        await asyncio.sleep(10.0)
        heartbeats = [(at, text) for at, text in reader.received if "heartbeat" in text]
        assert heartbeats == [(15.0, ": heartbeat\nid: 15\n\n"), (30.0, ": heartbeat\nid: 25\n\n")]
        scene.stream.close()

    play(scenario)


def test_many_readers_are_woken_together_and_not_for_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    notified: list[float] = []
    notify = Wakeups.notify
    monkeypatch.setattr(Wakeups, "notify", lambda self: notified.append(0.0) or notify(self))

    async def scenario() -> None:
        scene = Scene(10_000)
        readers = [scene.start()[0] for _ in range(50)]
        await asyncio.sleep(1.0)
        for _ in range(1_000):
            scene.publish()
            await asyncio.sleep(0.001)
        await asyncio.sleep(1.0)
        for reader in readers:
            assert reader.ids == list(range(1, 1_001))
            assert len(reader.received) <= 23, "the beginning, and one batch every 50 ms"
        assert len(notified) == 1_000, "one call for each event, whatever the number of readers"
        scene.stream.close()

    play(scenario)


def test_the_first_event_after_a_silence_is_sent_at_once() -> None:
    async def scenario() -> None:
        scene = Scene()
        reader, _ = scene.start()
        await asyncio.sleep(1.0)
        scene.publish()
        await asyncio.sleep(0.01)
        scene.publish()
        await asyncio.sleep(0.1)
        assert [round(at, 3) for at, _ in reader.received[1:]] == [1.0, 1.05]
        scene.stream.close()

    play(scenario)


def test_a_reader_that_does_not_read_costs_one_part_and_is_told_what_it_missed() -> None:
    async def scenario() -> None:
        scene = Scene(500)
        reader, _ = scene.start()
        await asyncio.sleep(1.0)
        reader.gate.clear()
        for _ in range(100):
            scene.publish(count=100)
            await asyncio.sleep(0.1)
        assert len(reader.received) == 2, "nothing is sent while it does not take the last part"
        assert reader.largest < 20_000, "100 events of 100 bytes"
        reader.gate.set()
        await asyncio.sleep(0.1)
        assert reader.ids[100] == 9_500, "the number of the last event that it missed"
        assert '"missed": 9400' in reader.received[2][1]
        assert reader.ids[101:] == list(range(9_501, 10_001))
        scene.stream.close()

    play(scenario)


def test_the_end_of_the_stream_ends_readers_that_wait_and_those_that_do_not_read() -> None:
    async def scenario() -> None:
        scene = Scene()
        waiting, first = scene.start()
        deaf, second = scene.start()
        await asyncio.sleep(1.0)
        deaf.gate.clear()
        scene.publish()
        await asyncio.sleep(1.0)
        scene.stream.close()
        ended = await asyncio.gather(first, second, return_exceptions=True)
        assert ended[0] is None and isinstance(ended[1], ConnectionResetError)
        assert (waiting.is_gone, deaf.is_gone) == (False, True)
        assert asyncio.get_running_loop().time() == deaf._began + 2.0

    play(scenario)


def test_a_replay_that_the_end_cuts_short_does_not_look_complete() -> None:
    async def scenario() -> None:
        scene = Scene()
        scene.publish(count=250)

        async def rest() -> None:
            await asyncio.sleep(0.001)

        reader, task = scene.start(0, end=250, rest=rest)
        await asyncio.sleep(0.15)
        scene.stream.close()
        await asyncio.gather(task, return_exceptions=True)
        assert 0 < len(reader.ids) < 250 and reader.is_gone

    play(scenario)


def test_a_reader_that_has_left_a_quiet_stream_ends_soon() -> None:
    async def scenario() -> None:
        scene = Scene()
        reader, task = scene.start()
        await asyncio.sleep(1.0)
        reader.is_gone = True
        scene.stream.notice_end()
        await asyncio.sleep(0.1)
        assert task.done()

    play(scenario)


def test_the_loop_is_offered_to_others_after_each_event() -> None:
    async def scenario() -> None:
        scene, rests = Scene(), []
        scene.publish(count=950)

        async def rest() -> None:
            rests.append(1)

        await scene.start(0, end=950, rest=rest)[1]
        assert len(rests) >= 950

    play(scenario)


def test_the_text_of_an_event_is_made_once_for_all_readers() -> None:
    made: list[float] = []

    async def scenario() -> None:
        scene = Scene()
        scene.stream = EventStream(scene.ring, lambda at: made.append(at) or str(at))  # type: ignore[func-returns-value]
        readers = [scene.start()[0] for _ in range(20)]
        await asyncio.sleep(1.0)
        scene.publish(count=10)
        await asyncio.sleep(1.0)
        assert all(reader.ids == list(range(1, 11)) for reader in readers)
        assert len(made) == 10
        scene.stream.close()

    play(scenario)


# ── the description ───────────────────────────────────────────────────────────────────────

SCHEMAS = event_schemas()
ANY_EVENT: st.SearchStrategy[Event] = st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.builds(KINDS[kind]))


@given(ANY_EVENT)
def test_every_event_fits_its_schema(event: Event) -> None:
    text = event_text(1, event, "2026-03-01T12:00:00.000Z").decode()
    data: dict[str, Any] = json.loads(text.partition("data: ")[2])
    whole = {"$ref": "#/components/schemas/Event", "components": {"schemas": SCHEMAS}}
    jsonschema.Draft202012Validator(whole).validate(data)
    one = {"$ref": f"#/components/schemas/{type(event).__name__}Event", "components": {"schemas": SCHEMAS}}
    jsonschema.Draft202012Validator(one).validate(data)
    data.popitem()
    assert not jsonschema.Draft202012Validator(one).is_valid(data), "every field is required"
