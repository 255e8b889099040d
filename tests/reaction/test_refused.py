"""The rhythm of attempts to connect that have no bytes: of one client it is told, of several mixed up it is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chaosproxy.reaction.reactions import reactions_of
from chaosproxy.reaction.refused import kept_out, refused_backoff
from chaosproxy.reaction.retries import retries_of
from chaosproxy.reaction.story import proxy_story, window_story
from tests.reaction.counted import Story, window

FAULT = window(10.0, 30.0, "db", type="refuse")


def story_of(gaps: Sequence[float], *, before: Sequence[float] = (1.0,), still_open: bool = False) -> Story:
    """A client that connects at these times before the fault, and after these gaps while it is refused."""
    story = Story(cuts=(10.0, 30.0))
    story.proxy("db")
    connections = [story.open("db", at) for at in before]
    for connection, at in zip(connections, [*before[1:], 10.01], strict=False):
        story.close("db", 29.0 if still_open else at - 0.001, connection)
    at = 10.02
    story.refuse("db", at)
    for gap in gaps:
        at += gap
        story.refuse("db", at)
    return story


def told(story: Story) -> tuple[str, float | None, bool] | None:
    facts = story.facts(45)
    found = refused_backoff(facts.proxies["db"], FAULT, facts)
    return None if found is None else (found.law, found.factor and round(found.factor, 2), found.jittered)


DOUBLING = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


def test_growing_gaps_of_one_client_are_a_back_off() -> None:
    story = story_of(DOUBLING)
    assert told(story) == ("exponential", 2.0, False)
    facts = story.facts(45)
    retries = retries_of(facts.proxies["db"], FAULT, facts)
    assert retries.backoff is None and retries.reconnect_backoff is not None
    assert retries.reconnect_backoff.confidence == "likely", "a single sequence"
    assert reactions_of(facts).windows == (), "the story has no fault event of its own"


@pytest.mark.parametrize("cut", [(0.8,), (0.4, 0.8), ()])
def test_a_fault_may_begin_within_a_piece_of_work(cut: tuple[float, ...]) -> None:
    """The attempt before was made on a connection that the fault has ended, which is no attempt to connect."""
    pieces = [gap for pause in (0.06, 0.07, 0.13, 0.05) for gap in (pause, 0.2, 0.4, 0.8)]
    assert told(story_of((*cut, *pieces))) == ("exponential", 2.0, False)


def test_gaps_before_that_are_not_of_the_same_work_make_it_unclear() -> None:
    pieces = [gap for pause in (0.06, 0.07, 0.13, 0.05) for gap in (pause, 0.2, 0.4, 0.8)]
    assert told(story_of((0.55, 0.3, *pieces))) is None


def test_equal_gaps_are_told_unless_the_client_connects_in_that_rhythm_anyway() -> None:
    assert told(story_of((0.3,) * 8)) == ("constant", None, False)
    assert told(story_of((1.0,) * 8, before=(5.0, 6.0, 7.0, 8.0, 9.0))) is None


@pytest.mark.parametrize(
    ("why", "story"),
    [
        ("three gaps are too few", story_of(DOUBLING[:3])),
        ("two connections at once may be two clients", story_of(DOUBLING, before=(1.0, 2.0), still_open=True)),
        ("a host without a connection before may have any number of clients", story_of(DOUBLING, before=())),
        ("gaps without a law", story_of((0.5, 0.11, 1.3, 0.07, 0.9, 0.31))),
    ],
)
def test_nothing_is_told_of_attempts_that_may_be_mixed_up(why: str, story: Story) -> None:
    assert told(story) is None, why


def test_attempts_without_an_event_of_their_own_make_it_silent() -> None:
    story = story_of(DOUBLING)
    story.refuse("db", 20.0, suppressed=3)
    assert told(story) is None


def test_an_attempt_that_succeeds_ends_the_sequence() -> None:
    story = story_of(DOUBLING)
    story.open("db", 22.72)
    for number in range(6):
        story.refuse("db", 23.0 + 0.1 * number)
    assert told(story) == ("exponential", 2.0, False)


def test_clients_that_are_kept_out_are_counted() -> None:
    story = story_of((0.3, 0.3))
    story.refuse("db", 11.0, suppressed=4)
    story.refuse("db", 12.0, met="unanswered")
    story.refuse("db", 31.0)
    facts = story.facts(45)
    assert kept_out(facts.proxies["db"], FAULT) == 3 + 5


def test_the_story_of_clients_that_are_kept_out() -> None:
    story = Story(cuts=(10.0,))
    story.proxy("db")
    story.steady("db", 0, 10)
    story.fault("db", 10.0, "refuse")
    story.open("db", 10.001)
    story.refuse("db", 10.5)
    story.refuse("db", 10.8)
    [told] = reactions_of(story.facts(30)).windows
    assert proxy_story(told.proxies[0])[0] == "no client could ask anything: 2 attempts to connect failed"


def test_a_fault_that_only_keeps_clients_out_has_touched_something() -> None:
    story = Story(cuts=(10.0,))
    story.proxy("db")
    story.steady("db", 0, 10)
    story.fault("db", 10.0, "refuse")
    story.refuse("db", 10.5)
    [told] = reactions_of(story.facts(30)).windows
    assert [*window_story(told, 30.0)][1] == "  no client could ask anything: 1 attempt to connect failed"
