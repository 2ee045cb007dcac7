"""Our counts and histograms as Prometheus' client wants them."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from gateway.histogram import Histogram


def counter(name: str, documentation: str, count: float) -> Metric:
    """What only grows; ``_total`` is added to its name."""
    return CounterMetricFamily(name, documentation, count)


def gauge(name: str, documentation: str, value: float) -> Metric:
    """What is so just now."""
    return GaugeMetricFamily(name, documentation, value)


def counters(
    name: str,
    documentation: str,
    labels: tuple[str, ...],
    counts: Iterable[tuple[tuple[str, ...], float]],
) -> Metric:
    """What only grows, by the values of these labels."""
    made = CounterMetricFamily(name, documentation, labels=labels)
    for values, count in counts:
        made.add_metric(values, count)
    return made


def gauges(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    """What is so just now, by a label."""
    made = GaugeMetricFamily(name, documentation, labels=(label,))
    for word, value in values.items():
        made.add_metric((word,), value)
    return made


def histogram(
    name: str, documentation: str, label: str, histograms: Mapping[str, Histogram]
) -> Metric:
    """How long something took, by a label; without one if the label is empty."""
    made = HistogramMetricFamily(name, documentation, labels=(label,) if label else ())
    for word, one in histograms.items():
        bounds = (*map(str, one.bounds_s), "+Inf")
        buckets = list(zip(bounds, accumulate(one.counts), strict=True))
        made.add_metric((word,) if label else (), buckets, one.sum_s)
    return made
