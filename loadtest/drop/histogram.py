"""How long things took, in bounded memory, so that the times of many processes can be added up.

Buckets grow by 2 %, and that is how far off a percentile may be; it is never too low. Pure.
"""

import math
from dataclasses import dataclass, field

_GROWTH = math.log(1.02)
_LEAST_MS = 0.05
_MOST_MS = 3_600_000.0
"""So there are fewer than 1,300 buckets."""

Wire = tuple[float, list[int], list[int]]
"""Most, buckets, and how many are in each: as a worker sends it."""


def bucket_of(took_ms: float) -> int:
    """Where so long a time is counted."""
    bounded = min(max(took_ms, _LEAST_MS), _MOST_MS)
    return math.ceil(math.log(bounded / _LEAST_MS) / _GROWTH)


@dataclass(slots=True)
class Histogram:
    """Times in ms."""

    buckets: dict[int, int] = field(default_factory=dict)
    max_ms: float = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.buckets.values())

    def add(self, took_ms: float) -> None:
        """It took so long."""
        self.put(bucket_of(took_ms), took_ms)

    def put(self, bucket: int, took_ms: float) -> None:
        """It took so long, which is this bucket's."""
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.max_ms = max(self.max_ms, took_ms)

    def merge(self, other: "Histogram") -> None:
        """Add all that is in another."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.max_ms = max(self.max_ms, other.max_ms)

    def percentile(self, share: float) -> float:
        """What this share took no longer than; 0 when there is nothing."""
        wanted = max(1, math.ceil(share * self.count))
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(self.max_ms, _LEAST_MS * math.exp(bucket * _GROWTH))
        return 0.0

    def to_wire(self) -> Wire:
        """As a worker sends it."""
        return self.max_ms, list(self.buckets), list(self.buckets.values())

    @classmethod
    def from_wire(cls, wire: Wire) -> "Histogram":
        """As the master reads it."""
        max_ms, buckets, counts = wire
        return cls(dict(zip(buckets, counts, strict=True)), max_ms)
