"""Words of other tools, for errors: a user who writes Toxiproxy's `toxicity` is told of `probability`.

The tables are the only place that knows other tools. They hold plain words, which a test compares with the
declared types and parameters. A hint is a text in parentheses, or empty, like that of `nearest`.
"""

from __future__ import annotations

from collections.abc import Collection

from chaosproxy.declare.kinds import Duration, Kind, Rate, Size, nearest

__all__ = ["KEYS", "TYPES", "UNITS", "bare_hint", "key_hint", "type_hint"]

TYPES: dict[str, tuple[str, str]] = {
    "timeout": ("Toxiproxy", "`blackhole`, with `limit_time` to end the connection"),
    "reset_peer": ("Toxiproxy", "`reset`"),
    "noop": ("Toxiproxy", "no fault at all"),
    "down": ("Toxiproxy", "`refuse`"),
    "loss": ("netem", "`packet_loss`"),
    "rate": ("netem", "`bandwidth`"),
    "reorder": ("netem", "`latency` with `jitter`, since TCP delivers in order"),
    "duplicate": ("netem", "`http_duplicate`, since TCP drops duplicate packets"),
    "delay": ("Envoy", "`http_delay` for messages, or `latency` for every connection"),
    "abort": ("Envoy", "`http_abort`"),
    "response_rate_limit": ("Envoy", "`http_slow_body`"),
    "throttle": ("Envoy", "`bandwidth`"),
    "drop": ("iptables", "`blackhole`, or `packet_loss` for a share"),
    "patch": ("Chaos Mesh", "`http_headers` or `http_corrupt`"),
    "replace": ("Chaos Mesh", "`http_headers` or `http_corrupt`"),
}
"""Types of faults: the tool, and our types for the same."""

KEYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "toxicity": ("Toxiproxy", ("probability",)),
    "stream": ("Toxiproxy", ("direction",)),
    "toxics": ("Toxiproxy", ("faults",)),
    "latency": ("Toxiproxy", ("delay",)),
    "timeout": ("Toxiproxy", ("time", "delay", "for")),
    "delay": ("Toxiproxy", ("gap", "time")),
    "bytes": ("Toxiproxy", ("size",)),
    "average_size": ("Toxiproxy", ("size",)),
    "size_variation": ("Toxiproxy", ("variation",)),
    "loss_rate": ("Toxiproxy", ("rate",)),
    "loss": ("Chaos Mesh", ("rate",)),
    "corrupt": ("Chaos Mesh", ("rate",)),
    "percent": ("Pumba", ("rate", "probability")),
    "percentage": ("Envoy", ("probability", "rate")),
    "duration": ("Chaos Mesh", ("ttl",)),
    "buffer": ("Chaos Mesh", ("burst",)),
    "limit": ("tc", ("size",)),
    "time": ("Pumba", ("delay",)),
    "probability_percent": ("Pumba", ("probability",)),
    "fixed_delay": ("Envoy", ("delay",)),
    "fixedDelay": ("Istio", ("delay",)),
    "http_status": ("Envoy", ("status",)),
    "httpStatus": ("Istio", ("status",)),
    "limit_kbps": ("Envoy", ("rate",)),
    "code": ("Chaos Mesh", ("status",)),
}
"""Keys: the tool, and our keys for the same. The first that the mapping at hand knows is named."""

_BESIDE = "attributes"
UNITS: dict[type[Kind], str] = {Duration: "ms", Rate: "KB/s", Size: "B"}
"""The units of Toxiproxy's numbers, by the kind of our parameter."""
_MICROSECONDS = "gap"
"""The parameter whose number Toxiproxy counts in microseconds: the `delay` of its slicer."""


def type_hint(given: object, known: Collection[str]) -> str:
    """Return the hint for an unknown fault type: our word for that of another tool, or else a similar word."""
    if isinstance(given, str) and given.lower() in TYPES:
        tool, ours = TYPES[given.lower()]
        return f" (for {tool}'s {given.lower()}, use {ours})"
    return nearest(given, known)


def key_hint(given: object, known: Collection[str]) -> str:
    """Return the hint for an unknown key: our word for that of another tool, or else a similar word."""
    if given == _BESIDE and "probability" in known:
        return " (Toxiproxy's attributes stand next to `type` here)"
    if isinstance(given, str) and given in KEYS:
        tool, ours = KEYS[given]
        for one in ours:
            if one in known:
                return f" ({tool}'s {given} is `{one}` here)"
    return nearest(given, known)


def bare_hint(kind: Kind, key: object, number: object) -> str:
    """Return the hint for a number without a unit, the value of the parameter `key` of a fault."""
    unit = "us" if key == _MICROSECONDS else UNITS.get(type(kind))
    text = str(number).strip()
    return "" if unit is None or len(text) > 20 else f" (Toxiproxy's {text} is {text}{unit} here)"
