"""Failed attempts, each counted once."""

from __future__ import annotations

from chaosproxy.events import DialFailed, TurnFailed
from chaosproxy.reaction.attempts import failed_attempts
from tests.reaction.counted import APP, Story


def test_give_ups_and_failures_in_the_order_of_their_ends() -> None:
    story = Story()
    story.proxy("db")
    story.give_up("db", 5.0, 2.0, connection=7)
    story.fail("db", 4.0, 0.5, connection=8)
    found = failed_attempts(story.facts(9).proxies["db"])
    assert [(one.opened, one.ended, one.host, one.connection, one.gave_up) for one in found] == [
        (3.5, 4.0, APP, 8, False), (3.0, 5.0, APP, 7, True),
    ]  # fmt: skip


def test_refused_connections_with_those_that_have_no_event() -> None:
    story = Story()
    story.proxy("db")
    story.refuse("db", 1.0, suppressed=4)
    story.refuse("db", 2.0, met="unanswered")
    assert [(one.ended, one.number) for one in failed_attempts(story.facts(9).proxies["db"])] == [(1.0, 5)]


def test_a_dial_that_failed_counts_once() -> None:
    story = Story()
    story.proxy("db")
    story.events += [
        DialFailed(at=2.0, proxy="db", connection=5, upstream="u", reason="r", after_s=0.5),
        DialFailed(at=3.0, proxy="db", connection=6, upstream="u", reason="r", after_s=0.5),
        TurnFailed(
            at=2.0, proxy="db", connection=5, turn=0, client=f"{APP}:9", digest="", waited_s=0.5, reason="dial_failed"
        ),
    ]
    found = failed_attempts(story.facts(9).proxies["db"])
    assert [(one.ended, one.connection, one.host) for one in found] == [(2.0, 5, APP), (3.0, 6, "")]


def test_a_pending_give_up_is_skipped() -> None:
    story = Story()
    story.proxy("db")
    story.give_up("db", 5.0, 2.0)
    story.give_up("db", 5.0, 2.0)
    facts = story.facts(9)
    facts.proxies["db"].gave_up[0].is_pending = True
    assert len(failed_attempts(facts.proxies["db"])) == 1


def test_conversations_in_which_a_turn_has_no_clear_answer_are_skipped() -> None:
    story = Story()
    story.proxy("db")
    for at in (1.0, 2.0, 3.0):
        story.fail("db", at)
    facts = story.facts(9)
    facts.proxies["db"].failed[0].shape = "push"
    facts.proxies["db"].failed[1].shape = "server-first"
    assert [one.ended for one in failed_attempts(facts.proxies["db"])] == [2.0, 3.0]
