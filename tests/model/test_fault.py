"""The rules across the settings of a fault and its placement."""

from __future__ import annotations

import pytest

from chaosproxy.declare import Problems
from chaosproxy.model import read_fault
from tests.refused import places


def problems(**fault: object) -> list[str]:
    read_fault(fault, "f", found := Problems(), (), "http")
    return places(found)


OF_RESPONSES = {"path": "/", "status": 503, "content_type": "text/html"}


@pytest.mark.parametrize(
    ("fault", "acts_on"),
    [
        ({"type": "http_abort", "status": 503}, "requests"),
        ({"type": "http_reset"}, "responses"),
        ({"type": "http_delay", "delay": "1s", "on": "request"}, "requests"),
        ({"type": "http_delay", "delay": "1s", "on": "body"}, "responses"),
        ({"type": "http_truncate", "size": "1B", "direction": "upstream"}, "requests"),
        ({"type": "http_truncate", "size": "1B"}, "responses"),
    ],
)
def test_a_fault_on_requests_cannot_know_the_response(fault: dict[str, object], acts_on: str) -> None:
    found = problems(**fault, match=OF_RESPONSES)
    on_requests = ["match.status not-applicable", "match.content_type not-applicable"]
    assert found == (on_requests if acts_on == "requests" else [])
    assert problems(**fault, match={"path": "/"}) == []


def test_a_response_does_not_flow_upstream() -> None:
    assert problems(type="http_reset", direction="upstream") == ["direction not-applicable"]
    assert problems(type="http_reset", direction="both") == []


@pytest.mark.parametrize(
    ("parameter", "allowed", "refused"),
    [("probability", (1, 1.0, "100%", None), (0.5, "0.5", 0, "99%")), ("skip", (0, None), (1,)),
     ("count", (None,), (1, 0)), ("nth", (1, None), (2,))],
)  # fmt: skip
def test_a_fault_on_the_whole_port_exempts_no_connection(parameter: str, allowed: object, refused: object) -> None:
    for value in allowed:
        assert problems(type="partition", **{parameter: value}) == []
    for value in refused:
        assert f"{parameter} not-applicable" in problems(type="partition", **{parameter: value})


def test_no_match_is_the_same_as_none_at_all() -> None:
    assert problems(type="latency", delay="1s", match=None) == []
    assert problems(type="refuse", match=None) == []
