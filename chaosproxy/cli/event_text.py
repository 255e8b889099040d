"""An event of the stream as one line of text."""

from __future__ import annotations

from typing import Any

from chaosproxy.text import value_text
from chaosproxy.units import seconds_text

__all__ = ["event_line"]

Json = dict[str, Any]  # Any: JSON


def event_line(event: Json) -> str:
    """Return an event as the log shows it: `2026-01-31T12:00:00.123Z fault_added proxy=db fault=slow …`

    An event of a reaction is a sentence: `… service_failed_over service db moved from db1 to db2, 1.83 s after …`
    """
    kind = str(event.get("kind"))
    head = f"{event.get('at')} {kind}"
    if kind in _SENTENCES:
        try:
            return f"{head} {_SENTENCES[kind](event)}"
        except (KeyError, TypeError, ValueError):
            pass  # an event of another version
    rest = {key: value for key, value in event.items() if key not in ("kind", "at")}
    return " ".join([head, *(f"{key}={value_text(value)}" for key, value in rest.items())])


def _failed_over(event: Json) -> str:
    noticed = "" if event["detect_s"] is None else f" ({seconds_text(event['detect_s'])} to notice)"
    return (
        f"service {value_text(event['service'])} moved from {value_text(event['from_proxy'])} to "
        f"{value_text(event['to_proxy'])}, {seconds_text(event['after_s'])} after {_faults(event)} began{noticed}, "
        f"{event['share']:.0%} of its load so far"
    )


def _recovered(event: Json) -> str:
    service = "" if event["service"] is None else f" of service {value_text(event['service'])}"
    after = seconds_text(event["recovered_after_s"])
    return f"{value_text(event['proxy'])}{service} was back to normal {after} after {_faults(event)} ended"


def _opened(event: Json) -> str:
    number = event["opened_after"]
    after = "" if number is None else f" after {number:d} failures in a row"
    return (
        f"a circuit breaker of {value_text(event['host'])} at {value_text(event['proxy'])} opened{after}, for "
        f"{seconds_text(event['open_s'])} at a time ({value_text(event['confidence'])}), while {_faults(event)} was on"
    )


def _closed(event: Json) -> str:
    return (
        f"the circuit breaker of {value_text(event['host'])} at {value_text(event['proxy'])} closed "
        f"{seconds_text(event['after_s'])} after it had opened, with trial {event['trials']:d}"
    )


_SENTENCES = {
    "service_failed_over": _failed_over,
    "service_recovered": _recovered,
    "circuit_opened": _opened,
    "circuit_closed": _closed,
}


def _faults(event: Json) -> str:
    return ", ".join(value_text(one) for one in event["faults"])
