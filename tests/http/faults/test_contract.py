"""The rules that every message fault keeps, whatever flows and however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.config import load
from chaosproxy.faults.base import NEVER, Send, Step
from chaosproxy.http.faults import MESSAGE_FAULT_TYPES
from chaosproxy.http.faults.abort import HttpAbort
from chaosproxy.http.faults.clock_skew import HttpClockSkew
from chaosproxy.http.faults.corrupt import HttpCorrupt
from chaosproxy.http.faults.delay import HttpDelay
from chaosproxy.http.faults.drop import HttpDropRequest, HttpDropResponse
from chaosproxy.http.faults.duplicate import HttpDuplicate
from chaosproxy.http.faults.headers import HttpHeaders
from chaosproxy.http.faults.reset import HttpReset
from chaosproxy.http.faults.slow_body import HttpSlowBody
from chaosproxy.http.faults.truncate import HttpTruncate
from chaosproxy.http.stage import MessageFault
from tests.http.faults.playing import CHUNKED, GET, OK, POST, Talk, content, parts

LOSSLESS: tuple[MessageFault, ...] = (
    HttpDelay(delay=0.1),
    HttpDelay(delay=0.1, jitter=0.05, on="response"),
    HttpDelay(delay=0.1, on="body"),
    HttpDelay(delay=0.0, on="body"),
    HttpDuplicate(copies=2),
    HttpTruncate(share=1.0),
    HttpTruncate(size=10),
    HttpSlowBody(rate=100.0),
    HttpSlowBody(rate=1e6, on="request"),
    HttpReset(size=10),
    HttpCorrupt(rate=0.0),
)
"""With these settings they lose and change nothing."""
CHANGING: tuple[MessageFault, ...] = (
    HttpAbort(),
    HttpDropRequest(),
    HttpDropResponse(close_after=1.0),
    HttpTruncate(share=0.5, then="reset"),
    HttpTruncate(size=3),
    HttpCorrupt(rate=0.5),
    HttpCorrupt(rate=1.0, unit="byte", on="request"),
    HttpHeaders(set={"X": "1"}, on="request"),
    HttpHeaders(add={"X": "1"}, remove=("date",)),
    HttpClockSkew(offset=3600.0),
    HttpReset(),
    HttpReset(size=3),
)
FAULTS = LOSSLESS + CHANGING

every_fault = pytest.mark.parametrize("fault", FAULTS, ids=repr)
every_lossless_fault = pytest.mark.parametrize("fault", LOSSLESS, ids=repr)
quick = settings(max_examples=15, deadline=None)

CONFIG = "version: 1\nproxies:\n  web:\n    protocol: http\n    listen: 127.0.0.1:0\n    upstream: 127.0.0.1:9\n"
ASKED = GET + POST + GET + POST + GET
ANSWERED = OK + CHUNKED + b"HTTP/1.1 204 No Content\r\n\r\n" + b"HTTP/1.1 103 Early\r\n\r\n" + OK + CHUNKED

cuts = st.lists(st.tuples(st.integers(1, 60), st.sampled_from((0.0, 0.001, 0.05))), max_size=30)


def flow(talk: Talk, pieces: list[tuple[int, float]]) -> list[list[Step]]:
    """What the stage answers to each part of a whole conversation that comes in such pieces."""
    if talk.on == "response":
        talk.requests.frame(ASKED, 0.0)
    data, stream = (ASKED, talk.requests) if talk.on == "request" else (ANSWERED, talk.responses)
    now, found, place = 0.0, [], 0
    for size, pause in [*pieces, (len(data), 0.0)]:
        now += pause
        for step in stream.frame(data[place : place + size], now):
            arrived = step.due
            answers = [*talk.stage.on_step(step)]
            assert all(one.due >= arrived for one in answers), "earlier than it came"
            if not talk.touches:
                assert len(answers) == 1 and answers[0] is step
            found.append(answers)
        place += size
    return found


def test_every_type_is_examined() -> None:
    assert {fault.type for fault in FAULTS} == set(MESSAGE_FAULT_TYPES)


@pytest.mark.parametrize("name", MESSAGE_FAULT_TYPES)
def test_a_type_describes_itself_and_its_example_works(name: str) -> None:
    fault = MESSAGE_FAULT_TYPES[name]
    assert fault.type == name and fault.depth == "message"
    assert fault.summary and fault.models.endswith(".")
    [proxy] = load((CONFIG + f"    faults: {{it: {fault.example}}}\n").encode(), "chaos.yaml", {}).proxies
    assert type(proxy.faults[0].settings) is fault


@every_fault
@quick
@given(pieces=cuts)
def test_a_message_that_is_not_chosen_passes_as_the_very_same_parts(
    fault: MessageFault, pieces: list[tuple[int, float]]
) -> None:
    talk = Talk(fault)
    talk.touches = False
    flow(talk, pieces)
    assert talk.asked == [1, 2, 3, 4, 5], "asked once of each message"
    assert not talk.conversation.is_treated and talk.conversation.next_effect() is None


@every_lossless_fault
@quick
@given(pieces=cuts)
def test_nothing_is_lost_or_reordered(fault: MessageFault, pieces: list[tuple[int, float]]) -> None:
    talk = Talk(fault)
    found = [one for answers in flow(talk, pieces) for one in answers] + [*talk.stage.let_go()]
    assert content(found) == (ASKED if talk.on == "request" else ANSWERED)
    assert sum(part.last and part.kind != "interim" for part in parts(found)) == 5


@every_lossless_fault
@quick
@given(pieces=cuts, until=st.integers(0, 60))
def test_a_stage_that_goes_has_kept_nothing_but_what_it_lets_go(
    fault: MessageFault, pieces: list[tuple[int, float]], until: int
) -> None:
    talk = Talk(fault)
    if talk.on == "response":
        talk.requests.frame(ASKED, 0.0)
    data, stream = (ASKED, talk.requests) if talk.on == "request" else (ANSWERED, talk.responses)
    seen, found, place = [], [], 0
    for size, _ in pieces[:until]:
        for step in stream.frame(data[place : place + size], 0.0):
            seen.append(step)
            found += talk.stage.on_step(step)
        place += size
    found += talk.stage.let_go()
    assert content(found) == content(seen)


@every_fault
@quick
@given(pieces=cuts, seed=st.integers(0, 100))
def test_the_same_dice_give_the_same_answer(fault: MessageFault, pieces: list[tuple[int, float]], seed: int) -> None:
    one, other = (flow(Talk(fault, seed=seed), pieces) for _ in range(2))
    assert [content(answers) for answers in one] == [content(answers) for answers in other]
    assert [[step.due for step in steps] for steps in one] == [[step.due for step in steps] for steps in other]


@every_fault
@quick
@given(pieces=cuts)
def test_interim_answers_and_those_of_other_faults_are_left_alone(
    fault: MessageFault, pieces: list[tuple[int, float]]
) -> None:
    talk = Talk(fault, on="response")
    talk.requests.frame(GET, 0.0)
    for step in parts(talk.responses.frame(b"HTTP/1.1 100 Continue\r\n\r\n", 0.0)):
        assert [*talk.stage.on_step(step)] == [step]
    [own] = parts(talk.responses.frame(OK[:-10].replace(b"10", b"0"), 0.0))
    own.is_injected = True
    assert [*talk.stage.on_step(own)] == [own]
    assert talk.asked == []


@pytest.mark.parametrize("before", FAULTS, ids=repr)
@quick
@given(after=st.sampled_from(FAULTS), place=st.integers(1, len(OK) + len(CHUNKED) - 1), long=st.booleans())
def test_any_change_in_the_middle_of_a_message_works(
    before: MessageFault, after: MessageFault, place: int, long: bool
) -> None:
    talk = Talk(before)
    if (after.side() or "response") != talk.on:
        return  # which acts on the other direction
    data = (POST + GET if talk.on == "request" else OK + CHUNKED) * (1 + long)
    if talk.on == "response":
        talk.requests.frame(GET * 4, 0.0)
    stream = talk.requests if talk.on == "request" else talk.responses
    found = talk.show(stream.frame(data[:place], 0.0), talk.on)
    found += talk.show(talk.change(after), talk.on)
    found += talk.show(stream.frame(data[place:], 1.0), talk.on)
    found += talk.stage.let_go()
    assert all(step.due < NEVER for step in found)
    if before in LOSSLESS and after in LOSSLESS:
        assert content(found) == data
    assert all(isinstance(step, Send) for step in found) or {before.type, after.type} & {"http_truncate", "http_reset"}
