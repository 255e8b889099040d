"""What the turns of a connection are taken for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.endings import Ending
from chaosproxy.events import (
    AnswerCut,
    AnswerLate,
    ClientGaveUp,
    Event,
    HalfClosed,
    TurnEvent,
    TurnFailed,
    TurnRepeated,
)
from chaosproxy.http.fingerprint import fingerprint
from chaosproxy.net.stream.turn_counts import (
    FAILED_KEPT,
    FOLDED_AT,
    MOST_HOSTS,
    FailedTurn,
    FailedTurns,
    HostTurns,
    ProxyTurns,
)
from chaosproxy.net.stream.turn_parts import AT_ONCE, DOUBTED_FOR, PAUSE
from chaosproxy.net.stream.turn_request import Request
from chaosproxy.net.stream.turns import Turns
from chaosproxy.quantiles import buckets_of, count, shortened

FIN, RST = Ending("client", "fin"), Ending("client", "reset")
SERVER_FIN, SERVER_RST = Ending("server", "fin"), Ending("server", "reset")


class Story:
    """One connection, whose steps are told with their times in seconds."""

    def __init__(self, **shared: FailedTurns) -> None:
        self.events: list[Event] = []
        self.proxy = ProxyTurns("proxy", self.events.append, shared.get("failed") or FailedTurns(b"key"))
        self.turns = self.connection(1)

    def connection(self, number: int, at: float = 0.0, client: str = "10.0.0.7:99") -> Turns:
        turns = Turns(self.proxy, number, client, at)
        turns.is_connected = True
        return turns

    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.events]

    def gave_up(self) -> ClientGaveUp:
        [event] = [one for one in self.events if isinstance(one, ClientGaveUp) and not one.is_pending]
        return event

    def answered(self) -> int:
        return sum(one.number for one in self.proxy.take(1e9).answers.values())


def test_a_client_that_resets_in_its_turn_has_given_up() -> None:
    story = Story()
    story.turns.sent(10.0, b"hello")
    story.turns.faults = ("stall",)
    story.turns.client_ended("reset", 11.0, "stall")
    story.turns.faults = ()
    story.turns.connection_ended(RST, 11.5)
    event = story.gave_up()
    assert (event.at, event.waited_s, event.quiet_s, event.turn, event.how) == (11.0, 1.0, 1.0, 1, "reset")
    assert (event.waiting_for, event.faults, event.held_by) == ("answer", ("stall",), "stall")
    assert story.kinds() == [ClientGaveUp] and story.proxy.gave_up == 1 and story.answered() == 0


def test_the_second_turn_counts_its_own_time() -> None:
    story = Story()
    story.turns.sent(1.0, b"a")
    story.turns.answer(1.5)
    story.turns.sent(20.0, b"b")
    story.turns.sent(20.05, b"more")
    story.turns.client_ended("fin", 22.0)
    story.turns.connection_ended(FIN, 23.0)
    event = story.gave_up()
    assert (event.turn, event.waited_s, event.how, event.shape) == (2, 2.0, "fin", "turns")
    assert event.quiet_s == pytest.approx(1.95)
    assert event.at == 22.0, "the client's end, not the connection's"


def test_an_end_between_turns_is_natural() -> None:
    story = Story()
    story.turns.sent(1.0, b"a")
    story.turns.answer(1.5)
    story.turns.client_ended("fin", 9.0)
    story.turns.client_ended("reset", 9.1)
    story.turns.server_ended("fin", 9.2)
    story.turns.connection_ended(FIN, 9.3)
    assert story.events == [] and story.answered() == 1


def test_a_tool_that_half_closes_and_reads_has_not_given_up() -> None:
    story = Story()
    story.turns.sent(1.0, b"GET / HTTP/1.0\r\n\r\n")
    story.turns.client_ended("fin", 1.0 + AT_ONCE / 2)
    story.turns.look(5.0, 0)
    story.turns.answer(6.0)
    story.turns.server_ended("fin", 6.0)
    story.turns.connection_ended(FIN, 6.1)
    assert story.events == []
    [answers] = story.proxy.take(9.0).answers.values()
    assert (answers.number, answers.first_at, answers.last_at, answers.felt) == (1, 6.0, 6.0, Counter(shortened([5.0])))


def test_one_that_half_closes_at_once_gives_up_with_a_reset() -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.client_ended("fin", 1.001)
    story.turns.client_ended("reset", 3.0)
    story.turns.connection_ended(FIN, 3.0)
    assert story.gave_up().waited_s == pytest.approx(0.001)


def test_without_an_answer_one_that_has_half_closed_at_once_is_over() -> None:
    """`echo metric | nc host 2003`"""
    story = Story()
    story.turns.sent(1.0, b"metric 1\n")
    story.turns.client_ended("fin", 1.001)
    story.turns.server_ended("fin", 1.002)
    story.turns.connection_ended(FIN, 1.003)
    assert story.events == []


def test_a_doubtful_client_is_pending_until_it_is_known() -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.client_ended("fin", 2.0)
    story.turns.look(2.0 + DOUBTED_FOR / 2, 0)
    assert story.events == []
    story.turns.look(2.0 + DOUBTED_FOR, 0)
    story.turns.look(4.0, 0)
    [event] = story.events
    assert isinstance(event, ClientGaveUp) and event.is_pending and event.waited_s == 1.0
    assert story.turns.open_since is None and story.proxy.gave_up == 0
    story.turns.connection_ended(FIN, 9.0)
    assert story.gave_up().at == 2.0


def test_an_answer_that_is_accepted_ends_the_doubt() -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.client_ended("fin", 2.0)
    story.turns.look(3.0, 0)
    story.turns.answer(4.0)
    assert story.turns.is_late
    story.turns.connection_ended(FIN, 4.5)
    assert story.kinds() == [ClientGaveUp, HalfClosed] and story.proxy.gave_up == 0 and story.answered() == 1


def test_a_reset_after_a_late_answer_confirms_it() -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.client_ended("fin", 2.0)
    story.turns.answer(4.0)
    story.turns.client_ended("reset", 4.01)
    story.turns.connection_ended(FIN, 4.5)
    assert story.kinds() == [ClientGaveUp, AnswerLate]
    late = story.events[1]
    assert isinstance(late, AnswerLate) and (late.waited_s, late.late_s, late.at) == (1.0, 2.0, 4.0)


def test_an_answer_may_come_after_a_reset() -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.client_ended("reset", 2.0)
    story.turns.arrive(2.5)
    story.turns.arrive(2.6)
    story.turns.connection_ended(RST, 3.0)
    assert story.kinds() == [ClientGaveUp, AnswerLate]


def test_an_error_that_is_held_fails_the_turn_when_the_client_gets_it() -> None:
    story = Story()
    story.turns.sent(1.0, b"GET a")
    story.turns.arrive(1.1)
    story.turns.answer_failed(1.1, 503)
    assert story.events == []
    story.turns.answer(4.0)
    [event] = story.events
    assert isinstance(event, TurnFailed) and (event.at, event.waited_s, event.status) == (4.0, 3.0, 503)
    assert story.answered() == 0
    story.turns.sent(5.0, b"GET b")
    story.turns.arrive(5.1)
    story.turns.answer_failed(5.1, 503)
    story.turns.client_ended("reset", 6.0)
    assert story.gave_up().answer_arrived and story.kinds() == [TurnFailed, ClientGaveUp]


def test_a_held_answer_is_told_with_the_give_up() -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.arrive(1.1)
    story.turns.client_ended("reset", 2.0)
    assert story.gave_up().answer_arrived
    assert story.kinds() == [ClientGaveUp]


def test_a_turn_is_watched_no_longer_than_until_its_answer() -> None:
    """The bytes that a client sends during the dial go through a chain; the turns after that must be cheap."""
    story = Story()
    assert story.turns.is_watched, "the server may speak first"
    story.turns.sent(1.0, b"x")
    story.turns.leave(1.1)
    assert story.turns.is_watched
    story.turns.answer(1.2)
    assert not story.turns.is_watched
    greeted = story.connection(2)
    greeted.answer(1.0)
    assert not greeted.is_watched


SERVER_ENDS: list[tuple[str, Ending, str]] = [
    ("fin", SERVER_FIN, "server_closed"), ("reset", SERVER_RST, "server_reset"),
    ("timeout", Ending("network", "timeout"), "network"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "ending", "reason"), SERVER_ENDS)
def test_a_server_that_ends_in_an_open_turn_has_failed_it(how: str, ending: Ending, reason: str) -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.server_ended(ending.how, 3.0)
    story.turns.client_ended("fin", 3.1)
    story.turns.connection_ended(ending, 3.2)
    [event] = story.events
    assert isinstance(event, TurnFailed) and (event.reason, event.waited_s, event.at) == (reason, 2.0, 3.0)


def test_a_server_whose_answer_is_held_has_not_failed() -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.leave(1.0)
    story.turns.arrive(1.2)
    story.turns.server_ended("fin", 1.3)
    story.turns.answer(9.0)
    story.turns.connection_ended(SERVER_FIN, 9.1)
    assert story.events == []
    taken = story.proxy.take(10.0)
    assert taken.delayed == [(8.0, pytest.approx(0.2))]


@pytest.mark.parametrize("by", ["injected", "operator", "bug", "network"])
def test_an_end_that_is_not_a_peers_is_blamed_on_no_peer(by: str) -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    ending = Ending(by, "reset", "cut" if by == "injected" else "")  # type: ignore[arg-type]  # one of Cause
    story.turns.connection_ended(ending, 2.0)
    [event] = story.events
    assert isinstance(event, TurnFailed) and (event.reason, event.fault) == (by, ending.fault)


def test_a_client_that_had_left_before_a_fault_ended_the_connection_has_given_up() -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.client_ended("fin", 2.0)
    story.turns.connection_ended(Ending("injected", "reset", "cut"), 5.0)
    assert story.gave_up().waited_s == 1.0


def test_before_the_upstream_is_reached_a_client_waits_for_the_connection() -> None:
    story = Story()
    story.turns.is_connected = False
    story.turns.client_ended("reset", 3.0)
    story.turns.connection_ended(Ending("client", "reset", during="dial"), 3.0)
    event = story.gave_up()
    assert (event.waiting_for, event.waited_s, event.turn, event.digest) == ("connect", 3.0, 0, "")


def test_a_check_of_the_port_is_no_give_up() -> None:
    story = Story()
    story.turns.is_connected = False
    story.turns.client_ended("reset", AT_ONCE / 2)
    story.turns.connection_ended(Ending("client", "reset", during="dial"), 0.1)
    connected = story.connection(2)
    connected.client_ended("reset", 5.0)
    connected.connection_ended(RST, 5.0)
    assert story.events == [], "the second never waited for anything that is known of"


def test_a_failed_dial_fails_the_turn_or_the_connection() -> None:
    story = Story()
    story.turns.is_connected = False
    story.turns.sent(0.5, b"x")
    story.turns.connection_ended(Ending("network", "timeout", during="dial"), 5.0)
    silent = story.connection(2)
    silent.is_connected = False
    silent.connection_ended(Ending("server", "reset", during="dial"), 0.1)
    reasons = [(event.reason, event.turn) for event in story.events if isinstance(event, TurnFailed)]
    assert reasons == [("dial_failed", 1), ("dial_failed", 0)]


def test_a_client_waits_for_a_greeting_only_where_there_are_any() -> None:
    story = Story()
    story.turns.answer(0.1)
    assert story.turns.shape == "server-first" and not story.turns.is_open
    waiting = story.connection(2, at=10.0)
    waiting.client_ended("reset", 12.0)
    assert (story.gave_up().waiting_for, story.gave_up().waited_s) == ("greeting", 2.0)


SHAPES: list[tuple[str, Callable[[Turns], object]]] = [
    ("", lambda turns: turns.sent(1.0, b"x")),
    ("turns", lambda turns: (turns.sent(1.0, b"x"), turns.answer(1.1))),
    ("server-first", lambda turns: (turns.answer(0.5), turns.sent(1.0, b"x"), turns.answer(1.1))),
    ("turns", lambda turns: (turns.sent(1.0, b"x"), turns.sent(1.0 + PAUSE / 2, b"y"), turns.answer(1.1))),
    ("one-way", lambda turns: (turns.sent(1.0, b"x"), turns.sent(1.01 + PAUSE, b"y"))),
    ("pipelined", lambda turns: (turns.sent(1.0, b"x"), turns.sent(2.0, b"y"), turns.answer(2.1))),
    ("push", lambda turns: (
        turns.sent(1.0, b"SUBSCRIBE"), turns.answer(1.1), turns.look(2.0, 9), turns.look(3.0, 9), turns.look(4.0, 20)
    )),
    ("turns", lambda turns: (
        turns.sent(1.0, b"GET"), turns.answer(1.1), turns.look(2.0, 100), turns.look(3.0, 200), turns.look(4.0, 300)
    )),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "tell"), SHAPES)
def test_the_shape_of_a_conversation(shape: str, tell: Callable[[Turns], object]) -> None:
    turns = Story().turns
    tell(turns)
    assert turns.shape == shape


def repeat(story: Story, begin: bytes, at: float, number: int, client: str = "10.0.0.7:100") -> list[TurnRepeated]:
    story.connection(number, at, client).sent(at, begin)
    return [event for event in story.events if isinstance(event, TurnRepeated)]


def test_a_turn_with_the_bytes_of_a_failed_one_repeats_it() -> None:
    story = Story()
    story.turns.sent(1.0, b"SELECT 1")
    story.turns.client_ended("reset", 2.0)
    assert repeat(story, b"SELECT 2", 2.1, 2) == []
    assert repeat(story, b"SELECT 1", 2.1, 3, client="10.0.0.8:1") == [], "another host"
    [event] = repeat(story, b"SELECT 1", 2.5, 4)
    assert (event.of_proxy, event.of_connection, event.of_turn, event.gap_s, event.attempt) == ("proxy", 1, 1, 0.5, 2)
    assert repeat(story, b"SELECT 1", 2.6, 5) == [event], "it was repeated once"


def test_the_same_bytes_at_another_proxy_repeat_only_those_of_the_same_service() -> None:
    story = Story()
    story.turns.sent(1.0, b"GET /health")
    story.turns.client_ended("reset", 2.0)
    other = ProxyTurns("other", story.events.append, story.proxy.failed)
    Turns(other, 1, "10.0.0.7:100", 2.1).sent(2.1, b"GET /health")
    assert TurnRepeated not in story.kinds()
    other.service = "web"
    story.proxy.service = "web"
    again = story.connection(2, 3.0)
    again.sent(3.0, b"GET /health")
    again.client_ended("reset", 4.0)
    Turns(other, 2, "10.0.0.7:101", 4.1).sent(4.1, b"GET /health")
    [repeated] = [one for one in story.events if isinstance(one, TurnRepeated)]
    assert (repeated.proxy, repeated.of_proxy, repeated.of_connection) == ("other", "proxy", 2)


def test_a_client_whose_end_is_held_back_is_seen_to_try_again() -> None:
    story = Story()
    story.turns.sent(1.0, b"GET a")
    story.turns.client_ended("fin", 2.0, held_by="blackhole")
    [again] = repeat(story, b"GET a", 2.1, 2)
    assert (again.of_connection, again.gap_s, again.attempt) == (1, pytest.approx(0.1), 2)
    assert story.kinds() == [TurnRepeated], "it is not certain yet"
    story.turns.connection_ended(FIN, 60.0)
    assert story.gave_up().at == 2.0
    assert repeat(story, b"GET a", 60.1, 3) == [again], "it was repeated once"


def test_one_that_had_only_half_closed_is_not_repeated_afterwards() -> None:
    story = Story()
    story.turns.sent(1.0, b"GET a")
    story.turns.client_ended("fin", 2.0)
    story.turns.answer(3.0)
    story.turns.connection_ended(FIN, 3.1)
    assert repeat(story, b"GET a", 3.2, 2) == [] and not story.proxy.failed.by_bytes


def test_attempts_are_numbered() -> None:
    story = Story()
    for number in range(1, 5):
        turns = story.connection(number, float(number))
        turns.sent(float(number), b"x")
        turns.client_ended("reset", number + 0.5)
    attempts = [event.attempt for event in story.events if isinstance(event, TurnRepeated)]
    assert attempts == [2, 3, 4]


def test_a_failed_turn_is_remembered_for_a_minute() -> None:
    story = Story()
    story.turns.sent(1.0, b"x")
    story.turns.client_ended("reset", 2.0)
    assert repeat(story, b"x", 62.1, 2) == []


def test_failed_turns_are_bounded() -> None:
    failed = FailedTurns(b"key")
    for number in range(FAILED_KEPT + 10):
        failed.note("h", failed.digest(b"%d" % number), FailedTurn("p", number, 1, 0.0, 1))
    assert sum(map(len, failed.by_bytes.values())) == FAILED_KEPT
    assert failed.repeated("h", failed.digest(b"9"), ("p", 0), 0.0) is None
    assert failed.repeated("h", failed.digest(b"10"), ("p", 0), 0.0) is not None


def test_of_equal_failed_turns_that_of_the_same_connection_is_repeated() -> None:
    failed = FailedTurns(b"key")
    for number in (1, 2, 3):
        failed.note("h", "d", FailedTurn("p", number, 1, 0.0, 1))
    found = [failed.repeated("h", "d", ("p", number), 0.0) for number in (2, 9, 9, 9)]
    assert [None if one is None else one.connection for one in found] == [2, 1, 3, None]
    assert not failed.by_bytes


@given(st.lists(st.lists(st.floats(1e-6, 30.0), max_size=3 * FOLDED_AT), max_size=3))
def test_all_answers_are_counted_in_bounded_memory(intervals: list[list[float]]) -> None:
    host, now = HostTurns("h"), 0.0
    for durations in intervals:
        for number, felt in enumerate(durations):
            now += 1.0
            host.count(now, felt)
            assert len(host.felt) <= FOLDED_AT
            host.count(now, now - 0.5 - number)  # an error, which is not counted after all
            host.forget(0.5 + number)
        assert host.has_turns is bool(durations)
        taken = host.take()
        counts = Counter(buckets_of(taken.felt))
        assert taken.number == len(durations) == counts.total() and counts == Counter(count(durations))
        if durations:
            assert (taken.first_at, taken.last_at) == (now - len(durations) + 1, now)


def test_hosts_are_bounded_and_forgotten() -> None:
    story = Story()
    many = [story.connection(number, client=f"10.0.1.{number}:1") for number in range(MOST_HOSTS + 5)]
    for turns in many:
        turns.sent(1.0, b"x")
        turns.answer(2.0)
    taken = story.proxy.take(3.0)
    assert len(taken.answers) == MOST_HOSTS and taken.answers[""].number == 6
    for turns in many:
        turns.connection_ended(FIN, 4.0)
    story.proxy.take(5.0)
    assert list(story.proxy._hosts) == ["10.0.0.7"], "that of the connection which is open"


def test_the_events_name_the_turn() -> None:
    story = Story()
    story.turns.sent(1.0, b"x" * 300)
    story.turns.client_ended("reset", 2.0)
    [event] = story.events
    assert isinstance(event, TurnEvent)
    assert (event.proxy, event.connection, event.client) == ("proxy", 1, "10.0.0.7:99")
    assert event.digest == story.proxy.failed.digest(b"x" * 256) != FailedTurns(b"other").digest(b"x" * 256)


STEPS = st.sampled_from(["sent", "answer", "arrive", "leave", "client fin", "client reset", "server fin", "look"])


@given(st.lists(st.tuples(STEPS, st.floats(0.0, 2.0)), max_size=12), st.sampled_from([FIN, RST, SERVER_FIN]))
def test_each_turn_has_one_end_whatever_happens(steps: list[tuple[str, float]], ending: Ending) -> None:
    """A turn is answered, given up, failed, or over; never two of these."""
    story, now, opened = Story(), 0.0, 0
    for step, wait in steps:
        now += wait
        match step.split():
            case ["sent"]:
                story.turns.sent(now, b"x")
            case ["client", "fin"]:
                story.turns.client_ended("fin", now)
            case ["client", "reset"]:
                story.turns.client_ended("reset", now)
            case ["server", "fin"]:
                story.turns.server_ended("fin", now)
            case ["look"]:
                story.turns.look(now, 0)
            case [name]:
                getattr(story.turns, name)(now)
        opened = story.turns.number
    story.turns.connection_ended(ending, now)
    ends = [one for one in story.events if isinstance(one, ClientGaveUp | TurnFailed) and not pending(one)]
    assert len({one.turn for one in ends}) == len(ends)
    assert len(ends) + story.answered() <= max(opened, len(ends))
    for one in ends:
        assert one.waited_s >= 0.0 and one.at <= now


def pending(event: Event) -> bool:
    return isinstance(event, ClientGaveUp) and event.is_pending


HEAD = b"POST /orders HTTP/1.1\r\nContent-Length: 5\r\n\r\n"


def asked(story: Story, number: int, at: float, *parts: bytes) -> Turns:
    """Return a connection on which a request has arrived in parts, 1 ms apart."""
    turns = story.connection(number, at)
    turns.request = Request(fingerprint)
    for part, data in enumerate(parts):
        turns.sent(at + part / 1000, data)
    return turns


@pytest.mark.parametrize("first", [(HEAD + b"one-1",), (HEAD, b"one-1"), (HEAD[:20], HEAD[20:] + b"one", b"-1")])
@pytest.mark.parametrize("second", [(HEAD + b"one-1",), (HEAD, b"one-1"), (HEAD + b"o", b"ne-1")])
def test_a_request_is_repeated_however_it_is_cut(first: tuple[bytes, ...], second: tuple[bytes, ...]) -> None:
    story = Story()
    asked(story, 1, 10.0, *first).client_ended("reset", 11.0)
    asked(story, 2, 12.0, *second)
    [repeated] = [one for one in story.events if isinstance(one, TurnRepeated)]
    assert (repeated.gap_s, repeated.attempt, repeated.of_connection) == (1.0, 2, 1)


def test_another_body_after_an_equal_head_is_no_repetition() -> None:
    story = Story()
    asked(story, 1, 10.0, HEAD, b"one-1").client_ended("reset", 11.0)
    asked(story, 2, 12.0, HEAD, b"one-2").client_ended("reset", 13.0)
    asked(story, 3, 14.0, HEAD).client_ended("reset", 15.0)
    assert TurnRepeated not in story.kinds()


def test_a_request_that_stays_partial_is_looked_up_when_its_turn_ends() -> None:
    story = Story()
    asked(story, 1, 10.0, HEAD, b"one").client_ended("reset", 11.0)
    again = asked(story, 2, 12.0, HEAD, b"one")
    assert TurnRepeated not in story.kinds()
    again.client_ended("reset", 13.0)
    assert story.kinds() == [ClientGaveUp, TurnRepeated, ClientGaveUp]
    third = asked(story, 3, 14.0, HEAD, b"one")
    third.answer(14.5)
    [repeated] = [one for one in story.events if isinstance(one, TurnRepeated) and one.connection == 3]
    assert (repeated.at, repeated.attempt) == (14.0, 3)


def long(*ends: bytes) -> list[bytes]:
    """Return requests of 60 kB that differ in the end, each in parts."""
    head = b"POST /spans HTTP/1.1\r\nContent-Length: 60001\r\n\r\n"
    return [head + bytes(60_000) + end for end in ends]


def in_parts(request: bytes, size: int) -> list[bytes]:
    return [request[at : at + size] for at in range(0, len(request), size)]


def test_long_requests_are_compared_by_all_of_their_bytes() -> None:
    story = Story()
    first, other = long(b"1", b"2")
    asked(story, 0, 5.0, b"GET / HTTP/1.1\r\n\r\n").client_ended("reset", 6.0)  # from now on, bodies are digested
    asked(story, 1, 10.0, *in_parts(first, 7000)).client_ended("reset", 11.0)
    asked(story, 2, 12.0, *in_parts(other, 7000))
    assert TurnRepeated not in story.kinds()
    asked(story, 3, 13.0, *in_parts(first, 50_000))
    assert [one.connection for one in story.events if isinstance(one, TurnRepeated)] == [3]


@pytest.mark.parametrize("ends", [(0, -7), (10_000, 20_000), (20_000, 10_000), (10_000, 60_047)])
def test_a_long_request_that_failed_before_it_was_whole_is_compared_by_its_beginning(ends: tuple[int, int]) -> None:
    story = Story()
    [request] = long(b"1")
    first, again = (request[: end or len(request)] for end in ends)
    asked(story, 1, 10.0, *in_parts(first, 7000)).client_ended("reset", 11.0)
    turns = asked(story, 2, 12.0, *in_parts(again, 7000))
    turns.answer(12.5)
    assert [one.connection for one in story.events if isinstance(one, TurnRepeated)] == [2]


def test_bodies_in_chunks_are_told_apart_too() -> None:
    story = Story()
    head = b"POST /spans HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    one, other = (head + b"2000\r\n" + bytes(8191) + end + b"\r\n0\r\n\r\n" for end in (b"1", b"2"))
    asked(story, 0, 5.0, b"GET / HTTP/1.1\r\n\r\n").client_ended("reset", 6.0)
    asked(story, 1, 10.0, *in_parts(one, 3000)).client_ended("reset", 11.0)
    asked(story, 2, 12.0, *in_parts(other, 3001))
    assert TurnRepeated not in story.kinds()
    asked(story, 3, 13.0, *in_parts(one, 2500))
    assert [one.connection for one in story.events if isinstance(one, TurnRepeated)] == [3]


def test_a_long_request_is_read_a_few_times_only() -> None:
    story, times = Story(), [0]
    [first] = long(b"1")
    asked(story, 1, 10.0, first).client_ended("reset", 11.0)
    turns = story.connection(2, 12.0)

    def read(data: bytes) -> tuple[bytes, str, bool, int, int | None]:
        times[0] += 1
        return fingerprint(data)

    turns.request = Request(read)
    for part in in_parts(first, 1000):
        turns.sent(12.0, part)
    assert TurnRepeated in story.kinds() and times[0] < 15


def test_without_a_failure_no_body_is_digested_nor_kept() -> None:
    story = Story()
    [request] = long(b"1")
    turns = asked(story, 1, 10.0, *in_parts(request, 7000))
    assert turns.request is not None and turns.request.body == ""
    turns.client_ended("reset", 11.0)
    turns = asked(story, 2, 12.0, *in_parts(request, 7000))
    assert turns.request is not None and turns.request.body


def test_a_turn_repeats_none_that_failed_after_it_had_opened() -> None:
    story = Story()
    asked(story, 9, 5.0, b"GET / HTTP/1.1\r\n\r\n").client_ended("reset", 6.0)
    first, second = (asked(story, number, 10.0, HEAD) for number in (1, 2))
    first.client_ended("reset", 11.0)
    second.client_ended("reset", 11.001)
    assert TurnRepeated not in story.kinds()


def test_new_work_after_a_repetition_is_a_first_attempt() -> None:
    story = Story()
    one, two = (b"GET /%s HTTP/1.1\r\n\r\n" % name for name in (b"one", b"two"))
    turns = asked(story, 1, 10.0, one)
    turns.answer(10.5)
    turns.answer_failed(10.5, 503)
    turns.sent(11.0, one)
    turns.answer(11.5)
    turns.sent(12.0, two)
    turns.client_ended("reset", 13.0)
    asked(story, 2, 14.0, two)
    assert [one.attempt for one in story.events if isinstance(one, TurnRepeated)] == [2, 2]


def test_a_longer_answer_is_noted_and_one_that_is_cut_is_told() -> None:
    story = Story()
    story.turns.sent(10.0, b"one")
    story.turns.answer(10.1)
    story.turns.answer_more(10.9)
    story.turns.sent(20.0, b"two")
    story.turns.answer(20.1)
    story.turns.answer_more(20.4)
    assert story.turns.longest_answer_s == pytest.approx(0.9)
    story.turns.faults = ("slow",)
    story.turns.answer_cut("fin", 20.5)
    [cut] = story.events
    assert isinstance(cut, AnswerCut)
    assert (cut.turn, cut.waited_s, cut.how, cut.faults) == (2, 0.5, "fin", ("slow",))
    assert cut.quiet_s == pytest.approx(0.1)


def test_what_a_server_says_first_is_no_answer() -> None:
    story = Story()
    story.turns.answer(0.1)
    story.turns.answer_more(5.0)
    story.turns.answer_cut("fin", 6.0)
    assert story.events == [] and story.turns.longest_answer_s == 0.0


def test_a_client_that_leaves_a_broken_handshake_has_not_given_up() -> None:
    story = Story()
    turns = Turns(story.proxy, 1, "10.0.0.7:99", 10.0)
    turns.client_ended("fin", 10.5)
    turns.connection_ended(Ending("injected", "tls", "bad-cert", during="handshake"), 10.6)
    assert story.events == []
    turns = Turns(story.proxy, 2, "10.0.0.7:99", 20.0)
    turns.client_ended("fin", 20.5)
    turns.connection_ended(Ending("client", "tls", during="handshake"), 20.6)
    assert story.kinds() == [ClientGaveUp], "it was not the fault's work"
