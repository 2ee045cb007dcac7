"""How often something took how long, cheap enough to be counted in the hot path.

Prometheus' own client takes a lock and finds its child by labels; this is a list and a bisection.
``metrics`` turns it into what Prometheus reads, when it is asked.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)
"""For what a person waits for."""
QUICK_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""For a round trip within a data centre."""
SLOW_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""For what somebody else's servers do for us."""


@dataclass(slots=True)
class Histogram:
    """How often something took how long."""

    bounds_s: tuple[float, ...] = BOUNDS_S
    counts: list[int] = field(init=False)
    """Of what took no longer than each bound, but longer than the one before; then the rest."""
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds_s) + 1)

    @property
    def total(self) -> int:
        """How often it was observed."""
        return sum(self.counts)

    def observe(self, took_s: float, times: int = 1) -> None:
        """It took so long, so many times."""
        self.counts[bisect_left(self.bounds_s, took_s)] += times
        self.sum_s += took_s * times
