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


@pytest.mark.parametrize("value", [1, None, "100%"])
def test_a_fault_on_the_whole_port_exempts_no_connection(value: object) -> None:
    assert problems(type="partition", probability=value) == ["probability not-applicable"]
