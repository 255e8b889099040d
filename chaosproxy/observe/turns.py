"""Metrics of turns: what clients sent until the server answered, and the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from chaosproxy.control.counts import ProxyCounts
from chaosproxy.observe.histogram import histogram

__all__ = ["turn_metrics"]


def turn_metrics(proxies: Sequence[ProxyCounts]) -> Iterator[Metric]:
    """Yield every family, with samples of each proxy."""
    ended = CounterMetricFamily(
        "chaosproxy_turns", "Turns ended, by result: answered, failed or gave_up.", labels=("proxy", "result")
    )
    repeated = CounterMetricFamily(
        "chaosproxy_turns_repeated", "Turns that repeat one that had failed.", labels=("proxy",)
    )
    open_now = GaugeMetricFamily("chaosproxy_turns_open", "Turns open at the last count.", labels=("proxy",))
    used = [proxy for proxy in proxies if proxy.opened]  # thousands without a client need no series
    for proxy in used:
        for result in ("answered", "failed", "gave_up"):
            ended.add_metric((proxy.name, result), proxy.turns.get(result, 0))
        repeated.add_metric((proxy.name,), proxy.turns.get("repeated", 0))
        open_now.add_metric((proxy.name,), proxy.open_turns)
    yield from (ended, repeated, open_now)
    yield histogram(
        "chaosproxy_turn_seconds",
        "Time from the opening of an answered turn to its answer, as the client felt it.",
        ("proxy",),
        [((proxy.name,), proxy.turn_seconds) for proxy in used],
    )
