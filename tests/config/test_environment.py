"""References to the environment, alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.config.environment import escape, expand
from tests.refused import code_of

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
    ("text", "code"),
    [
        ("${NO}", "variable-not-set"),
        ("${NO:?which port}", "variable-not-set"),
        ("${EMPTY:?}", "variable-not-set"),
    ],
)
def test_an_unset_variable_is_refused(text: str, code: str) -> None:
    assert code_of(expand, text, ENVIRONMENT) == code


@pytest.mark.parametrize(
    "text", ["${", "${}", "${NAME", "${1}", "${NA ME}", "${NAME:+x}", "${NAME-x}", "${NO:-${NAME}}"]
)
def test_a_malformed_reference_is_refused(text: str) -> None:
    assert code_of(expand, text, ENVIRONMENT) == "malformed"


@settings(deadline=None)
@given(st.text() | st.text("${}:-?A"))
def test_an_escaped_text_expands_to_itself(text: str) -> None:
    assert expand(escape(text), {}) == text
