"""Convert histograms of `tallies` to metric families of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric

from chaosproxy.tallies import Histogram

__all__ = ["histogram"]


def histogram(
    name: str, meaning: str, labels: Sequence[str], samples: Iterable[tuple[tuple[str, ...], Histogram]]
) -> Metric:
    """Return a family of histograms, one for each tuple of label values."""
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for values, histogram in samples:
        bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
        family.add_metric(values, list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.sum)
    return family
