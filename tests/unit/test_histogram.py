"""How often something took how long."""

from gateway.histogram import Histogram


def test_a_histogram_counts_up_to_and_with_each_bound() -> None:
    histogram = Histogram(bounds_s=(0.1, 1.0))
    for took_s in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(took_s)
    histogram.observe(1.0, times=10)
    assert histogram.counts == [2, 11, 1]
    assert histogram.total == 14
    assert round(histogram.sum_s, 6) == 17.65
