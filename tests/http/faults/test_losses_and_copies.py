"""http_drop_request, http_drop_response and http_duplicate: what they ask of the conversation."""

from __future__ import annotations

import pytest

from chaosproxy.http.conversation import Mark
from chaosproxy.http.effects import EndAt, SendCopies
from chaosproxy.http.faults.drop import HttpDropRequest, HttpDropResponse
from chaosproxy.http.faults.duplicate import HttpDuplicate
from chaosproxy.http.states import Losses
from tests.http.driving import effects_of
from tests.http.faults.playing import GET, OK, POST, Talk, content


def test_a_lost_request_silences_the_connection_from_itself_on() -> None:
    talk = Talk(HttpDropRequest())
    assert talk.client(POST) == []
    conversation = talk.conversation
    assert (conversation.states.losses, conversation.outstanding) == (Losses.REQUESTS, 0)
    assert conversation.silence == conversation.loss == Mark(1, "it")
    assert [*effects_of(conversation)] == []
    assert talk.client(GET) == [] and talk.asked == [1], "the next request is lost without asking the fault"


def test_a_lost_response_lets_requests_pass() -> None:
    talk = Talk(HttpDropResponse())
    talk.client(GET)
    assert talk.server(OK) == []
    assert content(talk.client(POST)) == POST
    conversation = talk.conversation
    assert (conversation.states.losses, conversation.silence) == (Losses.RESPONSES, Mark(1, "it"))
    assert not conversation.drops_requests


@pytest.mark.parametrize("fault", [HttpDropRequest(close_after=2.0), HttpDropResponse(close_after=2.0)], ids=repr)
def test_close_after_counts_from_the_loss(fault: HttpDropRequest | HttpDropResponse) -> None:
    talk = Talk(fault)
    talk.client(GET, 1.0)
    talk.server(OK, 1.0)
    assert [*effects_of(talk.conversation)] == [EndAt(3.0, "it")]
    assert talk.conversation.is_treated


@pytest.mark.parametrize("cut", [1, 20, 1000])
def test_copies_are_sent_once_the_request_is_whole(cut: int) -> None:
    talk = Talk(HttpDuplicate(copies=3))
    for start in range(0, len(POST), cut):
        assert [*effects_of(talk.conversation)] == []
        talk.client(POST[start : start + cut])
    assert [*effects_of(talk.conversation)] == [SendCopies(POST, 3)]


@pytest.mark.parametrize("limit", [len(POST), len(POST) - 1])
def test_a_request_longer_than_the_limit_is_not_copied(limit: int) -> None:
    talk = Talk(HttpDuplicate(), hold_limit=limit)
    assert content(talk.client(POST)) == POST
    assert [*effects_of(talk.conversation)] == ([SendCopies(POST, 1)] if limit == len(POST) else [])


def test_an_upgrade_is_not_copied() -> None:
    talk = Talk(HttpDuplicate())
    talk.client(GET.replace(b"Host: x", b"Connection: upgrade\r\nUpgrade: x"))
    assert [*effects_of(talk.conversation)] == []
