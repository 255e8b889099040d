"""References to the environment, alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.config.environment import escape, expand

ENVIRONMENT = {"NAME": "value", "EMPTY": "", "_A1": "x", "DOLLAR": "${NAME}"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("", ""),
        ("plain", "plain"),
        ("${NAME}", "value"),
        ("a${NAME}b${_A1}c", "avaluebxc"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${NO:-}", ""),
        ("${NO:-a:-b}", "a:-b"),
        ("${NAME:-default}", "value"),
        ("${NAME:?message}", "value"),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("$$$$", "$$"),
        ("$$${NAME}", "$value"),
        ("$NAME $ 5$", "$NAME $ 5$"),
        ("${DOLLAR}", "${NAME}"),  # what a variable holds is not expanded again
    ],
)
def test_references_are_replaced(text: str, expanded: str) -> None:
    assert expand(text, ENVIRONMENT) == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO}", "the environment variable NO is not set; set it, or write ${NO:-default}"),
        ("${NO:?which port}", "the environment variable NO is not set: which port; set it"),
        ("${EMPTY:?}", "the environment variable EMPTY is not set: it is needed here; set it"),
    ],
)
def test_an_unset_variable_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        expand(text, ENVIRONMENT)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text", ["${", "${}", "${NAME", "${1}", "${NA ME}", "${NAME:+x}", "${NAME-x}", "${NO:-${NAME}}"]
)
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="malformed environment reference; write "):
        expand(text, ENVIRONMENT)


@settings(deadline=None)
@given(st.text() | st.text("${}:-?A"))
def test_an_escaped_text_expands_to_itself(text: str) -> None:
    assert expand(escape(text), {}) == text
