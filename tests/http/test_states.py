"""The states of a connection: the tables are whole, every arrow can happen, and the documentation shows them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from chaosproxy.http.states import EFFECTS, REQUESTS, Event, Requesting, Responding, States, Treatment
from tests.http.corpus import LEGAL_ANSWER, LEGAL_REQUEST
from tests.http.drawing import DOCUMENT, replaced
from tests.http.driving import Aborting, Driven, How
from tests.http.driving import Event as Sent
from tests.http.recording import MACHINES, arrows_of

GARBAGE = b"\x00\x01\x02"
UPGRADE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
REFUSAL = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"


# ── the tables ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", MACHINES)
def test_a_table_has_a_row_for_each_state_and_begins_where_connections_begin(name: str) -> None:
    table = MACHINES[name]
    first = getattr(States(), name)
    assert list(table) == list(type(first)) and next(iter(table)) is first


@pytest.mark.parametrize("name", MACHINES)
def test_an_event_moves_a_machine_as_its_table_says_or_is_a_defect(name: str) -> None:
    table = MACHINES[name]
    concerned = {event for row in table.values() for event in row}
    for state, event in itertools.product(table, Event):
        states = States()
        setattr(states, name, state)
        for other in MACHINES.keys() - {name}:  # so that no other machine refuses the event
            ready = (one for one, row in MACHINES[other].items() if event in row)
            setattr(states, other, next(ready, getattr(states, other)))
        if event in table[state]:
            states.on(event)
            assert getattr(states, name) is table[state][event]
        elif event in concerned:
            with pytest.raises(KeyError):
                states.on(event)
        else:
            states.on(event)
            assert getattr(states, name) is state


def test_every_event_moves_a_machine_or_has_an_effect() -> None:
    moving = {event for table in MACHINES.values() for row in table.values() for event in row}
    assert moving | set(EFFECTS) == set(Event)


def test_bytes_are_framed_until_they_cannot_be_and_never_after() -> None:
    for name in ("requests", "responses"):
        for before, _, after in arrows_of(MACHINES[name]):
            assert isinstance(before, Requesting | Responding) and isinstance(after, Requesting | Responding)
            if before.treatment is not Treatment.FRAME:
                assert after.treatment is not Treatment.FRAME
            if before.treatment is Treatment.DROP:
                assert after.treatment is Treatment.DROP


def test_a_strict_proxy_refuses_in_any_state_in_which_it_might_still_frame() -> None:
    for state, row in REQUESTS.items():
        assert (Event.FORBIDDEN in row) == (state not in (Requesting.STREAM, Requesting.REFUSED))


def test_the_documentation_shows_the_tables() -> None:
    text = DOCUMENT.read_text()
    assert text == replaced(text), "run: python -m tests.http.drawing"


# ── every arrow can happen ────────────────────────────────────────────────────────────


def played(how: How, *events: Sent, strict: bool = False) -> Driven:
    return Driven(how=how, strict=strict).play([*events])


def be_strict(driven: Driven) -> Driven:
    driven.context.configure(replace(driven.context.settings, strict=True), ())
    return driven


def doubtful(data: bytes) -> Driven:
    """Bytes that cannot be framed are still on their way through a fault."""
    driven = Driven(how="frame")
    driven.client.stream.frame(data, 0.0)
    return driven


def losing(*losses: str) -> Driven:
    """Of three requests the last is lost, then the one before, or their responses are."""
    driven = Driven(how="frame").play([("client", LEGAL_REQUEST * 3)])
    conversation = driven.conversation
    for exchange, loss in zip([*conversation.waiting][::-1], losses, strict=False):
        (conversation.lose_request if loss == "request" else conversation.lose_response)(exchange, "fault", 0.0)
    return driven


def broken_while_answered() -> Driven:
    """A fault has responded to a request that is still under way, and the server then sends garbage."""
    return Aborting(1).play([("client", POST + b"a"), ("server", GARBAGE)])


def with_backlog() -> Driven:
    driven = Driven(how="frame", pipeline_limit=1).play([("client", LEGAL_REQUEST * 2)])
    return driven.play([("server", LEGAL_ANSWER * 2)])


SCENARIOS: list[Callable[[], Driven]] = [
    lambda: played("frame", ("client", UPGRADE), ("server", REFUSAL)),
    lambda: played("frame", ("client", UPGRADE), ("server", SWITCH)),
    lambda: played("glance", ("client", UPGRADE + GARBAGE)),
    lambda: played("glance", ("client", UPGRADE + GARBAGE), strict=True),
    lambda: played("frame", ("client", UPGRADE + GARBAGE)),
    lambda: played("glance", ("client", GARBAGE)),
    lambda: played("glance", ("client", GARBAGE), strict=True),
    lambda: played("frame", ("client", GARBAGE)),
    lambda: doubtful(UPGRADE + GARBAGE).play([("server", REFUSAL)]),
    lambda: doubtful(UPGRADE + GARBAGE).play([("server", SWITCH)]),
    lambda: be_strict(doubtful(GARBAGE)).play([("server", GARBAGE)]),
    lambda: Aborting(1).play([("client", LEGAL_REQUEST + UPGRADE + GARBAGE), ("server", REFUSAL)]),
    lambda: Aborting(1).play([("client", LEGAL_REQUEST + UPGRADE + GARBAGE), ("server", SWITCH)]),
    lambda: be_strict(Aborting(1).play([("client", LEGAL_REQUEST + UPGRADE + GARBAGE)])).play([("server", GARBAGE)]),
    lambda: played("frame", ("server", REFUSAL * 2)),
    lambda: played("frame", ("server", REFUSAL * 2), strict=True),
    lambda: Aborting(1).play([("server", REFUSAL), ("client", POST + b"a"), ("server", REFUSAL)]),
    lambda: broken_while_answered().play([("client", b"bc" + GARBAGE)]),
    lambda: be_strict(broken_while_answered()).play([("client", b"bc" + GARBAGE)]),
    lambda: losing("response").play([("client", UPGRADE), ("server", LEGAL_ANSWER * 3 + SWITCH + GARBAGE)]),
    lambda: losing("response", "response"),
    lambda: losing("response", "request"),
    lambda: losing("request", "response"),
    lambda: losing("request", "request"),
    lambda: broken_while_answered().play([("server", None), ("client", None)]),
    lambda: broken_while_answered().play([("client", None), ("server", None)]),
    lambda: played("frame", ("client", None), ("server", None)),
    lambda: played("frame", ("server", None), ("client", None)),
    with_backlog,
]


def test_every_arrow_of_every_table_can_happen() -> None:
    happened = {arrow for scenario in SCENARIOS for arrow in scenario().conversation.states.arrows}
    expected = {arrow for table in MACHINES.values() for arrow in arrows_of(table)}
    assert expected - happened == set()
