"""Events as JSON values, and back."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.events import ClientGaveUp, Event, ProxyAdded, TurnsCounted
from chaosproxy.journal.form import KINDS, event_of, values_of

EVENTS: st.SearchStrategy[Event] = (
    st.sampled_from(sorted(KINDS))
    .flatmap(lambda kind: st.builds(KINDS[kind]))
    .filter(lambda event: not re.search(r"\bnan\b", repr(event)))  # a nan is never measured, and differs from itself
)


@given(EVENTS)
def test_every_kind_survives_a_journal(event: Event) -> None:
    assert event_of(json.loads(json.dumps(values_of(event))), event.at) == event


def test_the_kinds_are_those_of_the_classes() -> None:
    assert KINDS["turns_counted"] is TurnsCounted and KINDS["client_gave_up"] is ClientGaveUp
    assert "event" not in KINDS


GIVEN: dict[str, Any] = {"kind": "proxy_added", "proxy": "db", "listen": "l", "upstream": "u", "by": "file"}


def test_what_another_version_wrote_is_read_as_far_as_it_is_understood() -> None:
    assert event_of(GIVEN | {"colour": "red"}, 1.0) == ProxyAdded(
        at=1.0, proxy="db", listen="l", upstream="u", by="file"
    )
    assert event_of(GIVEN | {"kind": "proxy_painted"}, 1.0) is None
    assert event_of({"kind": "proxy_added", "proxy": "db"}, 1.0) is None
