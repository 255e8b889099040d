"""Hypothesis strategies for legal conversations."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from tests.http.driving import HOWS, Event, How
from tests.http.talk import Talk, make_events, make_talks

dice: st.SearchStrategy[random.Random] = st.randoms(use_true_random=False)

hows: st.SearchStrategy[How] = st.sampled_from(HOWS)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Talk], list[Event]]:
    """Exchanges, and their bytes in pieces as both sides send them."""
    source = draw(dice)
    talks = make_talks(source)
    return talks, make_events(source, talks)
